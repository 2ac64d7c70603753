package netboot

import (
	"fmt"
	"slices"
	"strings"
)

// asker is the first script. netX is the NIC that iPXE booted from.
// A colon would make iPXE take what is before it for a scheme: addresses have dashes.
const asker = `#!ipxe
:ask
chain --replace --autofree script?mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring} ||
echo The boot server does not answer, trying again
sleep 5
goto ask
`

// volumeScript starts the kernel of a volume. The name of the initrd on the command line
// is how UEFI hands it over.
func volumeScript(boot, volume, options string) string {
	return fmt.Sprintf(`#!ipxe
echo goldstream: volume %s
kernel b/%s/kernel initrd=initrd %s || goto failed
initrd --name initrd b/%s/initrd || goto failed
boot || goto failed
:failed
echo The kernel of volume %s cannot be started, trying again
sleep 10
chain --replace --autofree boot.ipxe
`, volume, boot, options, boot, volume)
}

// localScript leaves the network: UEFI goes on with its next device by itself.
const localScript = `#!ipxe
echo goldstream: booting from the local disk, as asked
iseq ${platform} efi && exit ||
sanboot --no-describe --drive 0x80 || exit
`

// screen tells people why nothing boots, and asks again after a while.
func screen(lines ...string) string {
	var b strings.Builder
	b.WriteString("#!ipxe\necho\n")
	for _, l := range lines {
		b.WriteString("echo " + plain(l) + "\n")
	}
	b.WriteString("echo Asking again in 15 seconds\nsleep 15\nchain --replace --autofree boot.ipxe\n")
	return b.String()
}

// plain is a text that iPXE prints as it is: it has no quoting.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune("${}\\#", r) {
			return '?'
		}
		return r
	}, s)
	words := strings.Fields(s)
	for i, w := range words {
		if separator(w) {
			words[i] = "?"
		}
	}
	return strings.Join(words, " ")
}

// separator tells a word that ends a command for iPXE.
func separator(w string) bool { return w == "||" || w == "&&" || w == ";" }

// ours are options that a boot from here sets, or that make no sense in one.
var ours = []string{"boot", "ip", "BOOTIF", "nbdroot", "initrd", "BOOT_IMAGE", "resume", "root", "netroot"}

// mostOptions is what kernels take.
const mostOptions = 2048

// commandLine joins the options of the volume's boot loader with ours and with those
// of the record, which win by being last.
func commandLine(f Files, r Record, mac string) (string, error) {
	root := f.Root
	var words []string
	for _, w := range strings.Fields(f.Options) {
		name, value, _ := strings.Cut(w, "=")
		if name == "root" && anyDisk(value) {
			root = value
		}
		if !slices.Contains(ours, name) && safeWord(w) {
			words = append(words, w)
		}
	}
	if root == "" || !safeWord(root) {
		return "", fmt.Errorf("%w: neither its boot loader nor its file systems say what root= is", ErrNotBootable)
	}
	words = append(words, "root="+root, "boot=goldstream")
	if mac != "" {
		words = append(words, "BOOTIF=01-"+strings.ReplaceAll(mac, ":", "-"))
	}
	if r.Mode == ModeRescue {
		words = append(words, "systemd.unit=rescue.target")
	}
	for _, w := range strings.Fields(r.Options) {
		if safeWord(w) {
			words = append(words, w)
		}
	}
	line := strings.Join(words, " ")
	if len(line) > mostOptions {
		return "", fmt.Errorf("%w: its kernel's command line has %d bytes, and kernels take %d", ErrNotBootable, len(line), mostOptions)
	}
	return line, nil
}

// anyDisk tells a root= that is true whatever the disk is called: it was sda or vda
// when the image was made, and is nbd0 now.
func anyDisk(root string) bool {
	for _, prefix := range []string{"UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/dev/mapper/", "/dev/disk/by-"} {
		if strings.HasPrefix(root, prefix) {
			return true
		}
	}
	return false
}

// safeWord tells a word that iPXE passes on as it is.
func safeWord(w string) bool {
	return !separator(w) && !strings.HasPrefix(w, "#") && !strings.Contains(w, "${") &&
		!strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r > '~' })
}

// CheckOptions refuses options that no script can carry.
func CheckOptions(options string) error {
	for _, w := range strings.Fields(options) {
		if name, _, _ := strings.Cut(w, "="); slices.Contains(ours, name) {
			return fmt.Errorf("the option %.40q is set by the boot itself: leave it out", w)
		}
		if !safeWord(w) {
			return fmt.Errorf("the option %.40q cannot be in a boot script: use printable ASCII without ${ and #", w)
		}
	}
	if len(options) > mostOptions/2 {
		return fmt.Errorf("the options have %d bytes: kernels take few more", len(options))
	}
	return nil
}
