package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// appliancePatience is how long a peer may take for what it does in a minute.
const appliancePatience = 4 * time.Minute

// peers has virt-customize and guestfish make the same edits on a clone of the image.
// Both boot a kernel in qemu for it, and are compared with ours cold, which boots one
// too, and warm.
func (d *deploys) peers(ctx context.Context, cold, warm float64) error {
	if _, err := exec.LookPath("virt-customize"); err != nil {
		note("deploy: no virt-customize: apt-get install libguestfs-tools")
		return nil
	}
	note("deploy: virt-customize and guestfish")
	env, remove, err := d.appliance(ctx)
	defer remove()
	if err != nil {
		return fmt.Errorf("a kernel for libguestfs: %w", err)
	}
	overlay := filepath.Join(d.dir, "peer.qcow2")
	for _, peer := range []struct {
		name string
		argv []string
	}{
		{"virt-customize", []string{"virt-customize", "-q", "-a", overlay, "--no-network", "--hostname", "web-1",
			"--write", "/etc/network/interfaces.d/nic1:auto eth0\niface eth0 inet dhcp\n",
			"--append-line", "/etc/passwd:deploy:x:1000:1000::/home/deploy:/bin/sh", "--append-line", "/etc/shadow:deploy:!:19000:0:99999:7:::",
			"--append-line", "/etc/group:deploy:x:1000:", "--mkdir", "/home/deploy", "--copy-in", filepath.Join(d.dir, "tree/etc/skel/.bashrc") + ":/home/deploy",
			"--ssh-inject", "root:string:" + deployKey, "--run-command", "echo 'release of web-1' > /etc/issue"}},
		{"guestfish", []string{"guestfish", "-a", overlay, "run", ":", "mount", "/dev/sda1", "/", ":", "write", "/etc/hostname", "web-1\n",
			":", "write", "/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 web-1\n", ":", "mkdir-p", "/etc/network/interfaces.d",
			":", "write", "/etc/network/interfaces.d/nic1", "auto eth0\niface eth0 inet dhcp\n",
			":", "write-append", "/etc/passwd", "deploy:x:1000:1000::/home/deploy:/bin/sh\n", ":", "write-append", "/etc/shadow", "deploy:!:19000:0:99999:7:::\n",
			":", "write-append", "/etc/group", "deploy:x:1000:\n", ":", "mkdir-p", "/home/deploy", ":", "cp", "/etc/skel/.bashrc", "/home/deploy/.bashrc",
			":", "mkdir-p", "/root/.ssh", ":", "write", "/root/.ssh/authorized_keys", deployKey + "\n",
			":", "write", "/etc/issue", "release of web-1\n", ":", "umount", "/"}},
	} {
		// The first builds the appliance.
		if _, err := d.peer(ctx, env, overlay, peer.argv); err != nil {
			return fmt.Errorf("%s: %w", peer.name, err)
		}
		theirs, err := d.peer(ctx, env, overlay, peer.argv)
		if err != nil {
			return fmt.Errorf("%s: %w", peer.name, err)
		}
		for _, ours := range []struct {
			what string
			ms   float64
		}{{"warm", warm}, {"cold", cold}} {
			d.report.add(line{What: "deploy, 7 steps, " + ours.what + ", beside the same edits", Unit: "ms", Ours: ours.ms, Peer: peer.name, Theirs: theirs,
				Bar: fmt.Sprintf("≤ %gx", peerBar), Missed: ours.ms > peerBar*theirs})
		}
	}
	return nil
}

// peer edits a fresh clone and returns how long that took, in ms.
func (d *deploys) peer(ctx context.Context, env []string, overlay string, argv []string) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, appliancePatience)
	defer cancel()
	return timed(func() error {
		if err := command(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", d.systemImage(), overlay); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}

// appliance is the environment in which libguestfs finds a kernel: the host's, or, in a
// container that has none, that of a Debian package. qemu is without KVM, which not
// every machine has that shows it.
func (d *deploys) appliance(ctx context.Context) (env []string, remove func(), err error) {
	remove = func() {}
	env = []string{"LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_CACHEDIR=" + d.dir}
	if os.Getenv("LIBGUESTFS_BACKEND_SETTINGS") == "" {
		env = append(env, "LIBGUESTFS_BACKEND_SETTINGS=force_tcg")
	}
	if kernels, _ := filepath.Glob("/boot/vmlinuz*"); len(kernels) > 0 || os.Getenv("SUPERMIN_KERNEL") != "" {
		return env, remove, nil
	}
	const modules = "/lib/modules" // supermin looks there, whatever it is told
	if err := os.Mkdir(modules, 0o755); err == nil {
		remove = func() { _ = os.Remove(modules) }
	} else if !errors.Is(err, os.ErrExist) {
		return nil, remove, err
	}
	root := filepath.Join(d.dir, "kernel")
	script := `mkdir "$1" && cd "$1" && apt-get download -q "$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p')" &&
		dpkg -x linux-image-*.deb . && depmod -b . "$(ls lib/modules)"`
	if err := command(ctx, "sh", "-c", script, "sh", root); err != nil {
		return nil, remove, err
	}
	found, err := filepath.Glob(filepath.Join(root, "lib/modules/*"))
	if err != nil || len(found) != 1 {
		return nil, remove, errors.Join(err, fmt.Errorf("the package linux-image-cloud-amd64 has %d kernels", len(found)))
	}
	version := filepath.Base(found[0])
	return append(env, "SUPERMIN_KERNEL="+filepath.Join(root, "boot/vmlinuz-"+version), "SUPERMIN_MODULES="+found[0], "SUPERMIN_KERNEL_VERSION="+version), remove, nil
}
