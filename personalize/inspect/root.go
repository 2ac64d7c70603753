package inspect

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"goldstream/personalize/sandbox"
)

// ErrNoRoot is a disk that has no operating system, or several.
var ErrNoRoot = errors.New("the disk's operating system cannot be told")

// ErrNoLinux is the ErrNoRoot of a disk that has no Linux system: nothing on it stayed
// unseen that could be one. Windows can not.
var ErrNoLinux = fmt.Errorf("%w: no file system has an os-release file", ErrNoRoot)

// MountRoot mounts the one operating system of a disk for writing, with the other
// file systems of the disk that its fstab names, and returns the device of its root.
func MountRoot(ctx context.Context, c *sandbox.Cell) (device string, err error) {
	all, err := c.Filesystems(ctx)
	if err != nil {
		return "", err
	}
	var roots []System
	var notes []string
	unseen := false
	for _, f := range all {
		if note := unreadable[f.Type]; note != "" {
			notes = append(notes, f.Device+": "+note)
			unseen = unseen || f.Type != "ntfs"
		}
		for _, options := range rootOptions[f.Type] {
			is, err := isRoot(ctx, c, f.Device, options)
			if !commandFailed(err) {
				return "", err
			}
			if err != nil && options == "" {
				notes = append(notes, err.Error())
				unseen = true
			}
			if is {
				roots = append(roots, System{Root: f.Device, Options: options})
				break
			}
		}
	}
	if len(roots) != 1 {
		return "", whichRoot(roots, notes, unseen)
	}
	if _, err := c.Mount(ctx, roots[0].Root, "/", sandbox.ReadWrite, roots[0].Options); err != nil {
		return "", err
	}
	return roots[0].Root, mountRest(ctx, c, all, roots[0])
}

func whichRoot(roots []System, notes []string, unseen bool) error {
	if len(roots) == 0 {
		text := ""
		for _, n := range notes {
			text += "; " + n
		}
		if unseen {
			return fmt.Errorf("%w: no file system that can be read has an os-release file%s", ErrNoRoot, text)
		}
		return fmt.Errorf("%w%s", ErrNoLinux, text)
	}
	var devices []string
	for _, r := range roots {
		devices = append(devices, r.Root)
	}
	return fmt.Errorf("%w: there are %d, on %s: let a plan script mount the one that is meant", ErrNoRoot, len(roots), strings.Join(devices, ", "))
}

func isRoot(ctx context.Context, c *sandbox.Cell, device, options string) (is bool, err error) {
	if _, err := c.Mount(ctx, device, "/", sandbox.Peek, options); err != nil {
		return false, err
	}
	_, is, err = readFirst(ctx, c, "/etc/os-release", "/usr/lib/os-release")
	if e := c.UnmountAll(ctx); err == nil {
		err = e
	}
	return is, err
}

// fstabLine is one file system of the disk's own fstab.
type fstabLine struct{ device, dir, options string }

// mountRest mounts what stands below the root: what is written to such a directory
// would be hidden otherwise.
func mountRest(ctx context.Context, c *sandbox.Cell, all []sandbox.Filesystem, root System) error {
	text, found, err := readFirst(ctx, c, "/etc/fstab")
	if err != nil || !found {
		return err
	}
	for _, l := range fstabLines(text, all, root.Root) {
		if _, err := c.Mount(ctx, l.device, l.dir, sandbox.ReadWrite, l.options); err != nil {
			return fmt.Errorf("%s, which fstab has on %s: %w", l.device, l.dir, err)
		}
	}
	return nil
}

// mostMounts bounds what an fstab is followed in.
const mostMounts = 32

// fstabLines lists what can be mounted of an fstab, parents first.
func fstabLines(text string, all []sandbox.Filesystem, root string) (list []fstabLine) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || strings.HasPrefix(f[0], "#") || f[1] == "/" || !strings.HasPrefix(f[1], "/") || path.Clean(f[1]) != f[1] {
			continue
		}
		device := resolve(f[0], all)
		subvolume := ""
		for option := range strings.SplitSeq(f[3], ",") {
			if strings.HasPrefix(option, "subvol=") {
				subvolume = option
			}
		}
		if device == "" || device == root && subvolume == "" || f[2] == "swap" || strings.Contains(","+f[3]+",", ",noauto,") {
			continue
		}
		list = append(list, fstabLine{device, f[1], subvolume})
	}
	slices.SortStableFunc(list, func(a, b fstabLine) int { return strings.Count(a.dir, "/") - strings.Count(b.dir, "/") })
	return list[:min(len(list), mostMounts)]
}
