package netboot

import (
	"fmt"
	"io"

	"goldstream/netboot/initramfs"
)

// MostModules bounds the modules of a segment together: each initrd request has them
// in memory. Those for NBD have some 100 KiB.
const MostModules = 8 << 20

// toolsScript finds its network by itself: ip= on the command line would have
// systemd's network generator take the NIC from under the root file system. For the same reason it
// tells networkd and NetworkManager, in /run, to leave the NIC alone.
//
// toolsScript is a boot script of initramfs-tools, for boot=goldstream: a local root
// whose disk is attached before it is looked for.
const toolsScript = `# The root file system is on a volume that goldstream serves over NBD.
. /scripts/local

mount_top()
{
	IP=dhcp
	configure_networking
	mac=$(cat "/sys/class/net/${DEVICE}/address")
	mkdir -p /run/systemd/network /run/NetworkManager/conf.d
	printf '[Match]\nMACAddress=%s\n\n[Link]\nUnmanaged=yes\n' "$mac" >/run/systemd/network/00-goldstream.network
	printf '[keyfile]\nunmanaged-devices=mac:%s\n' "$mac" >/run/NetworkManager/conf.d/00-goldstream.conf
	/` + initramfs.Helper + ` netboot || panic "goldstream: the volume cannot be attached"
	wait_for_udev 10
	local_top
}
`

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
	a.add("scripts/goldstream", modeFile|0o644, []byte(toolsScript))
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
