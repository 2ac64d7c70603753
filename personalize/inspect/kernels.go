package inspect

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"goldstream/personalize/sandbox"
)

// mostKernels bounds how many a disk is believed to have.
const mostKernels = 64

const kernelPrefix = "/boot/vmlinuz-"

// kernels lists what is installed, the newest version by name first.
func kernels(ctx context.Context, c *sandbox.Cell) ([]Kernel, error) {
	found, err := c.Glob(ctx, kernelPrefix+"*")
	if err != nil {
		return nil, err
	}
	list := []Kernel{}
	for _, version := range versions(found) {
		k := Kernel{Version: version, Path: kernelPrefix + version}
		if err := complete(ctx, c, &k); err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, nil
}

// versions names the kernels among paths that came from the guest.
func versions(paths []string) (list []string) {
	for _, p := range slices.Backward(paths) {
		version, is := strings.CutPrefix(p, kernelPrefix)
		if !is || version == "" || strings.ContainsRune(version, '/') || strings.Contains(version, "rescue") || clean(version) != version {
			continue
		}
		if list = append(list, version); len(list) == mostKernels {
			break
		}
	}
	return list
}

// complete looks for what a kernel needs to boot from the network.
func complete(ctx context.Context, c *sandbox.Cell, k *Kernel) error {
	for _, name := range []string{"/boot/initrd.img-" + k.Version, "/boot/initramfs-" + k.Version + ".img", "/boot/initrd-" + k.Version} {
		is, err := c.IsFile(ctx, name)
		if err != nil && !absent(err) {
			return err
		}
		if is {
			k.Initrd = name
			break
		}
	}
	if k.Initrd == "" {
		k.WhyNot = append(k.WhyNot, "it has no initrd")
	}
	nbd, err := hasNBD(ctx, c, k.Version)
	if err != nil {
		return err
	}
	if !nbd {
		k.WhyNot = append(k.WhyNot, "it has no NBD client (module nbd)")
	}
	k.NetBoot = len(k.WhyNot) == 0
	return nil
}

func hasNBD(ctx context.Context, c *sandbox.Cell, version string) (bool, error) {
	for _, dir := range []string{"/lib/modules/", "/usr/lib/modules/"} {
		for _, ending := range []string{"", ".xz", ".zst", ".gz"} {
			is, err := c.IsFile(ctx, dir+version+"/kernel/drivers/block/nbd.ko"+ending)
			if err != nil && !absent(err) {
				return false, err
			}
			if is {
				return true, nil
			}
		}
		builtin, found, err := readFirst(ctx, c, dir+version+"/modules.builtin")
		if err != nil {
			return false, err
		}
		if found && strings.Contains(builtin, "/block/nbd.ko") {
			return true, nil
		}
	}
	return false, nil
}

// mountBoot mounts what fstab says of /boot, if it says anything.
func mountBoot(ctx context.Context, c *sandbox.Cell, all []sandbox.Filesystem, root string) (string, error) {
	fstab, found, err := readFirst(ctx, c, "/etc/fstab")
	if err != nil || !found {
		return "", err
	}
	for line := range strings.Lines(fstab) {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") || f[1] != "/boot" {
			continue
		}
		device := resolve(f[0], all)
		if device == "" || device == root { // a subvolume of the root's
			return "", nil
		}
		if _, err := c.Mount(ctx, device, "/boot", sandbox.Peek, ""); err != nil {
			return "", err
		}
		return device, nil
	}
	return "", nil
}

// resolve finds the device that fstab means.
func resolve(spec string, all []sandbox.Filesystem) string {
	key, value, tagged := strings.Cut(spec, "=")
	value = strings.Trim(value, `"`)
	for _, f := range all {
		switch {
		case !tagged && (f.Device == spec || mapperName(f.Device) == spec):
			return f.Device
		case key == "UUID" && value != "" && strings.EqualFold(f.UUID, value), key == "LABEL" && value != "" && f.Label == value:
			return f.Device
		}
	}
	return ""
}

// mapperName is the other name of a logical volume: dashes are doubled in it.
func mapperName(device string) string {
	parts := strings.Split(strings.TrimPrefix(device, "/dev/"), "/")
	if len(parts) != 2 {
		return ""
	}
	double := strings.NewReplacer("-", "--")
	return "/dev/mapper/" + double.Replace(parts[0]) + "-" + double.Replace(parts[1])
}

// assignments reads os-release(5).
func assignments(text string) map[string]string {
	facts := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(name, "#") {
			facts[name] = clean(strings.Trim(value, `"'`))
		}
	}
	return facts
}

// mostName bounds a text of the disk that people get to see.
const mostName = 200

func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	return strings.ToValidUTF8(s[:min(len(s), mostName)], "?")
}
