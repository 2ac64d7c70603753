package netboot

import (
	"fmt"
	"io"

	"goldstream/netboot/initramfs"
)

// MostModules bounds the modules of a segment together: each initrd request has them
// in memory. Those for NBD have some 100 KiB.
const MostModules = 8 << 20

// The helper finds its network by itself: ip= on the command line would have
// systemd's network generator take the NIC from under the root file system.
//
// toolsScript is a boot script of initramfs-tools, for boot=goldstream: a local root
// whose disk is attached before it is looked for.
const toolsScript = `# The root file system is on a volume that goldstream serves over NBD.
. /scripts/local

mount_top()
{
	/` + initramfs.Helper + ` netboot || panic "goldstream: the volume cannot be attached"
	wait_for_udev 10
	local_top
}

mount_bottom()
{
	local_bottom
	/` + initramfs.Helper + ` ` + initramfs.MountedCommand + `
}
`

// The hooks of dracut: a job of its queue, which goes on until the root file system's
// device is there, and one before the roots change.
const (
	dracutHooks  = "usr/lib/dracut/hooks"
	dracutQueue  = "usr/lib/dracut/need-initqueue" // it is not skipped
	dracutAttach = `/` + initramfs.Helper + ` netboot && rm -f -- "$job" && udevadm settle
`
	dracutMounted = `/` + initramfs.Helper + ` ` + initramfs.MountedCommand + `
`
	networkdDir = "etc/systemd/network"
)

// addHooks adds what each kind of initramfs runs; the other kinds do not look there. Of
// the directories none is a link in any of them.
func (a *archive) addHooks(mac string) {
	for _, dir := range []string{"scripts", "etc", "etc/systemd", networkdDir, "usr", "usr/lib", "usr/lib/dracut", dracutHooks, dracutHooks + "/initqueue", dracutHooks + "/pre-pivot"} {
		a.add(dir, modeDir|0o755, nil)
	}
	a.add("scripts/goldstream", modeFile|0o644, []byte(toolsScript))
	a.add(dracutQueue, modeFile|0o644, nil)
	a.add(dracutHooks+"/initqueue/goldstream.sh", modeFile|0o755, []byte(dracutAttach))
	a.add(dracutHooks+"/pre-pivot/50-goldstream.sh", modeFile|0o755, []byte(dracutMounted))
	if mac != "" { // networkd runs in the initramfs that dracut makes
		a.add(networkdDir+"/00-goldstream.network", modeFile|0o644, []byte(initramfs.Unmanaged(mac)))
	}
}

// segment is what a boot gets behind the volume's own initrd.
func segment(f Files, c initramfs.Config, secret string, helper []byte) (*archive, error) {
	a := &archive{}
	a.add(initramfs.Dir, modeDir|0o700, nil)
	a.add(initramfs.Dir+"/modules", modeDir|0o700, nil)
	a.add(initramfs.Helper, modeFile|0o755, helper)
	a.add(initramfs.ConfigFile, modeFile|0o600, c.Append(nil))
	a.add(initramfs.TokenFile, modeFile|0o600, []byte(secret+"\n"))
	left := int64(MostModules)
	for i, name := range f.Modules {
		p, err := readModule(f, name, left)
		if err != nil {
			return nil, err
		}
		left -= int64(len(p))
		a.add(fmt.Sprintf("%s/modules/%02d.ko", initramfs.Dir, i), modeFile|0o600, p)
	}
	a.addHooks(c.NIC)
	a.end()
	return a, nil
}

func readModule(f Files, name string, most int64) ([]byte, error) {
	r, size, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size > most {
		return nil, fmt.Errorf("module %s of %d bytes: the modules are too large together, there may be %d MiB", name, size, MostModules>>20)
	}
	p := make([]byte, size)
	_, err = io.ReadFull(r, p)
	return p, err
}
