package runner

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

// bundleVariable names a directory of artifact bundles (zip) whose build plans
// TestPublished runs.
const bundleVariable = "GOLDSTREAM_BUNDLES"

// TestPublished runs every build plan of other people's bundles on a disk as theirs,
// with plausible values, and prints what became of each.
func TestPublished(t *testing.T) {
	dir := os.Getenv(bundleVariable)
	if dir == "" {
		t.Skip("needs a directory of artifact bundles in " + bundleVariable)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.zip"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	disks := map[string]string{}
	for _, file := range files {
		for _, p := range readBundle(t, file) {
			for _, layout := range layoutsFor(p) {
				if disks[layout] == "" {
					disks[layout] = published(t, layout)
				}
				out, took, err := p.run(t, disks[layout])
				verdict := "run"
				if err != nil {
					verdict = "NOT: " + err.Error()
				}
				t.Logf("| %s | %s | %d steps | %s | %.2f s | %s |", filepath.Base(file), p.name, len(p.steps), layout, took.Seconds(), verdict)
				name := strings.NewReplacer("/", "_", " ", "_").Replace(filepath.Base(file) + "-" + p.name + "-" + layout)
				require.NoError(t, os.WriteFile(filepath.Join(dir, name+".log"), []byte(out), 0o600))
			}
		}
	}
}

type publishedPlan struct {
	name  string
	steps []personalize.Step
	defs  []attribute.Definition
}

// readBundle reads the plans of one.
func readBundle(t *testing.T, file string) (plans []publishedPlan) {
	t.Helper()
	z, err := zip.OpenReader(file)
	require.NoError(t, err)
	defer z.Close()
	read := func(f *zip.File, into any) {
		in, err := f.Open()
		require.NoError(t, err)
		text, err := io.ReadAll(in)
		require.NoError(t, errors.Join(err, in.Close()))
		require.NoError(t, json.Unmarshal(text, into), f.Name)
	}
	scripts := map[string]personalize.Step{}
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "_planscript.json") {
			var s struct {
				ID, Name, Content, PlanType string
			}
			read(f, &s)
			scripts[s.ID] = personalize.Step{Name: s.Name, Script: personalize.PlanScript{Type: personalize.Type(s.PlanType), Content: s.Content}}
		}
	}
	for _, f := range z.File {
		if !strings.HasSuffix(f.Name, "_buildplan.json") {
			continue
		}
		var b struct {
			Name      string
			BuildStep []struct{ SerialNumber, PlanScriptUri string }
			Custom    []attribute.Definition `json:"customAttributes"`
		}
		read(f, &b)
		sort.Slice(b.BuildStep, func(i, j int) bool {
			x, _ := strconv.Atoi(b.BuildStep[i].SerialNumber)
			y, _ := strconv.Atoi(b.BuildStep[j].SerialNumber)
			return x < y
		})
		p := publishedPlan{name: b.Name, defs: b.Custom}
		for _, s := range b.BuildStep {
			step, found := scripts[filepath.Base(s.PlanScriptUri)]
			require.True(t, found, "%s: %s", b.Name, s.PlanScriptUri)
			p.steps = append(p.steps, step)
		}
		plans = append(plans, p)
	}
	return plans
}

// run plays the plan on a copy of the disk.
func (p publishedPlan) run(t *testing.T, disk string) (log string, took time.Duration, err error) {
	t.Helper()
	plan, err := personalize.Compile(p.steps, p.values())
	if err != nil {
		return "", 0, err
	}
	volume := filepath.Join(t.TempDir(), "disk")
	tool(t, "cp", "--sparse=always", disk, volume)
	c := boot(t, volume)
	var j journalText
	began := time.Now()
	err = Run(patience(t), c, plan, Options{Local: startLocal, Log: j.hear})
	took = time.Since(began)
	if e := c.Close(patience(t)); err == nil {
		err = e
	}
	return j.String(), took, err
}

// values are what an operator might give.
func (p publishedPlan) values() attribute.Inputs {
	in := attribute.Inputs{Definitions: p.defs, System: map[string]string{
		"_Initiator1.ip": "192.0.2.5", "_Initiator1.mac": "52:54:00:00:00:05", "_Initiator1.netmask": "255.255.255.0",
		"_Initiator2.ip": "192.0.2.6", "_Initiator2.mac": "52:54:00:00:00:06", "_Initiator2.netmask": "255.255.255.0",
	}}
	n := 10
	give := func(name string, kind attribute.Type, text string) {
		in.Profile = append(in.Profile, attribute.NewValue(name, kind, text))
	}
	for _, d := range p.defs {
		n++
		switch d.Type {
		case attribute.NIC:
			give(d.Name+".mac", attribute.NIC, fmt.Sprintf("52:54:00:00:00:%02x", n))
			if strings.Contains(strings.ReplaceAll(d.Constraints.String(), " ", ""), `"ipv4static":false`) {
				continue
			}
			give(d.Name+".ipaddress", attribute.NIC, fmt.Sprintf("192.0.2.%d", n))
			for member, text := range map[string]string{"netmask": "255.255.255.0", "gateway": "192.0.2.1", "dns1": "192.0.2.2", "dns2": "192.0.2.3", "domain": "example.com"} {
				give(d.Name+"."+member, attribute.NIC, text)
			}
		case attribute.Password:
			give(d.Name, d.Type, "Secret-12")
		case attribute.FQDN:
			give(d.Name, d.Type, "web.example.com")
		case attribute.Hostname:
			give(d.Name, d.Type, "web")
		case attribute.IPv4:
			give(d.Name, d.Type, fmt.Sprintf("192.0.2.%d", n))
		}
	}
	return in
}

// layoutsFor tells the disks that a plan is for, by what it mounts.
func layoutsFor(p publishedPlan) []string {
	var text strings.Builder
	for _, s := range p.steps {
		text.WriteString(s.Script.Content + "\n")
	}
	mounts := func(device string) bool { return strings.Contains(text.String(), "\nmount "+device) }
	switch {
	case strings.Contains(p.name, "Xen"):
		return []string{"xen"}
	case strings.Contains(text.String(), "\ninspect-os"):
		return []string{"ext4", "xfs", "lvm"}
	case mounts("/dev/rhel/"), mounts("/dev/@"):
		return []string{"lvm"}
	case mounts("/dev/sda3"):
		return []string{"ext4", "xfs"}
	}
	return []string{"efi"}
}

// published makes a disk of a layout that published plans expect.
func published(t *testing.T, layout string) string {
	t.Helper()
	root := linux(t)
	for name, text := range map[string]string{
		"etc/rc.local": "#!/bin/bash\nexit 0\n", "etc/sysconfig/network": "", "etc/sysconfig/network-scripts/ifcfg-lo": "DEVICE=lo\n", "etc/hosts": "127.0.0.1 localhost\n",
		"etc/shadow": "root:x:1::::::\n", "etc/passwd": "root:x:0:0::/root:/bin/bash\n", "etc/group": "root:x:0:\n", "etc/iscsi/initiatorname.iscsi": "InitiatorName=x\n",
		"etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=targeted\n", "var/log/messages": "x\n", "etc/machine-id": "x\n", "etc/resolv.conf": "", "root/.bash_history": "x\n",
		"ImageStreamerCapture": "", "etc/ssh/sshd_config": "Port 22\n", "etc/rc.d/rc.local": "#!/bin/bash\n", "var/lib/dhclient/x": "x", "etc/udev/rules.d/70.rules": "x", "etc/sysconfig/selinux": "SELINUX=enforcing\n",
		"lib/systemd/system/rescue.service": "x\n", "etc/systemd/system/multi-user.target.wants/x": "x\n", "usr/lib/systemd/system/rescue.service": "x\n",
	} {
		full := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(full), 0o755))
		require.NoError(t, os.WriteFile(full, []byte(text), 0o755))
	}
	for _, name := range []string{"boot/EFI/BOOT", "boot/EFI/centos", "boot/EFI/xenserver", "boot/efi/EFI/centos", "boot/efi/EFI/BOOT", "boot/efi/EFI/xenserver", "var/mail", "var/spool/mail", "home", "opt", "etc/firstboot.d/data", "etc/init.d"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, name), 0o755))
		if base := filepath.Base(name); base == "centos" || base == "xenserver" {
			require.NoError(t, os.WriteFile(filepath.Join(root, name, "grubx64.efi"), []byte("x"), 0o644))
		}
	}
	efi := partition{64, "vfat", tree(t, map[string]string{"EFI/BOOT/grub.cfg": "set timeout=1\n", "EFI/HPE/isdeploy/HPE-ImageStreamer.bash": "x\n", "EFI/HPE/isdeploy/scripts/": "", "EFI/HPE/isdeploy/data/": "", "EFI/HPE/isdeploy/tmp/": "",
		"EFI/centos/grubx64.efi": "x\n", "ImageStreamerCapture": ""})}
	switch layout {
	case "xen":
		release := "NAME=\"XenServer\"\nID=\"xenenterprise\"\nPRETTY_NAME=\"XenServer 7\"\nVERSION_ID=\"7.1\"\n"
		require.NoError(t, os.WriteFile(filepath.Join(root, "etc/os-release"), []byte(release), 0o644))
		return makeDisk(t, partition{128, "ext4", root}, partition{16, "", ""})
	case "efi", "ext4":
		return makeDisk(t, efi, partition{16, "", ""}, partition{128, "ext4", root})
	}
	if layout == "lvm" {
		return volumeDisk(t, efi, root)
	}
	disk := makeDisk(t, efi, partition{16, "", ""}, partition{320, "xfs", ""})
	fill(t, disk, "/dev/sda3", root)
	return disk
}

// fill unpacks a tree in a cell: this host mounts nothing.
func fill(t *testing.T, disk, device, root string) {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "root.tgz")
	tool(t, "tar", "czf", archive, "-C", root, ".")
	c := boot(t, disk)
	ctx := patience(t)
	in, err := os.Open(archive)
	require.NoError(t, err)
	defer in.Close()
	local, err := startLocal(ctx)
	require.NoError(t, err)
	require.NoError(t, local.Write(ctx, "root.tgz", in, 0o600))
	plan := compile(t, attribute.Inputs{}, "mount "+device+" /\ntgz-in ./root.tgz /\n")
	require.NoError(t, Run(ctx, c, plan, Options{Local: func(context.Context) (Local, error) { return local, nil }}))
	require.NoError(t, c.Close(ctx))
}
