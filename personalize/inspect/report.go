package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"goldstream/personalize/sandbox"
)

// Report is what is known of a disk.
type Report struct {
	Size        int64                `json:"size"` // of the disk, in bytes
	Filesystems []sandbox.Filesystem `json:"filesystems"`
	Systems     []System             `json:"systems"`
	Notes       []string             `json:"notes"` // what could not be looked at, and why
}

// System is one operating system.
type System struct {
	Root    string   `json:"root"`              // device of its "/"
	Options string   `json:"options,omitempty"` // that its mount needs
	ID      string   `json:"id"`                // of os-release: debian, rhel …
	Version string   `json:"version"`
	Name    string   `json:"name"`
	Boot    string   `json:"boot,omitempty"` // device of /boot, if it has one of its own
	Kernels []Kernel `json:"kernels"`
	NetBoot bool     `json:"netBoot"` // one of the kernels can
	WhyNot  []string `json:"whyNot"`
}

// Kernel is one that is installed.
type Kernel struct {
	Version string   `json:"version"`
	Path    string   `json:"path"`   // on the disk
	Initrd  string   `json:"initrd"` // on the disk; empty: none
	NetBoot bool     `json:"netBoot"`
	WhyNot  []string `json:"whyNot,omitempty"`
}

// Disk looks at the disk of a cell, on which nothing is mounted.
func Disk(ctx context.Context, c *sandbox.Cell) (Report, error) {
	r := Report{Systems: []System{}, Notes: []string{}}
	devices, err := c.Devices(ctx)
	if err != nil {
		return r, err
	}
	if len(devices) > 0 {
		r.Size = devices[0].Size
	}
	if r.Filesystems, err = c.Filesystems(ctx); err != nil {
		return r, err
	}
	for _, f := range r.Filesystems {
		if note := unreadable[f.Type]; note != "" {
			r.Notes = append(r.Notes, f.Device+": "+note)
		}
		for _, options := range rootOptions[f.Type] {
			system, found, err := look(ctx, c, r.Filesystems, f.Device, options)
			if !commandFailed(err) {
				return r, err
			}
			if err != nil && options == "" {
				r.Notes = append(r.Notes, err.Error())
			}
			if found {
				r.Systems = append(r.Systems, system)
				break
			}
		}
	}
	return r, nil
}

// rootOptions are the file systems that can be a root, and what their mounts may
// need: openSUSE's default subvolume is its root, Fedora and Ubuntu name theirs.
var rootOptions = map[string][]string{
	"ext2": {""}, "ext3": {""}, "ext4": {""}, "xfs": {""},
	"btrfs": {"", "subvol=root", "subvol=@"},
}

// unreadable are kinds of content with something behind them that stays unseen.
var unreadable = map[string]string{
	"ntfs":        "NTFS (Windows) cannot be looked into",
	"crypto_LUKS": "it is encrypted, and cannot be looked into nor personalized",
}

// commandFailed tells an error of one command, or none, from the end of the cell.
func commandFailed(err error) bool {
	var failed *sandbox.Error
	return err == nil || errors.As(err, &failed)
}

// look mounts one file system and describes the system on it, if there is one.
func look(ctx context.Context, c *sandbox.Cell, all []sandbox.Filesystem, device, options string) (s System, found bool, err error) {
	if _, err := c.Mount(ctx, device, "/", sandbox.Peek, options); err != nil {
		return s, false, err
	}
	s, found, err = describe(ctx, c, all, device, options)
	if e := c.UnmountAll(ctx); err == nil {
		err = e
	}
	return s, found, err
}

func describe(ctx context.Context, c *sandbox.Cell, all []sandbox.Filesystem, device, options string) (System, bool, error) {
	s := System{Root: device, Options: options, Kernels: []Kernel{}, WhyNot: []string{}}
	release, found, err := readFirst(ctx, c, "/etc/os-release", "/usr/lib/os-release")
	if err != nil || !found {
		return s, false, err
	}
	facts := assignments(release)
	s.ID, s.Version, s.Name = facts["ID"], facts["VERSION_ID"], facts["PRETTY_NAME"]
	if s.Boot, err = mountBoot(ctx, c, all, device); err != nil {
		s.WhyNot = append(s.WhyNot, err.Error())
		if !commandFailed(err) {
			return s, true, err
		}
	}
	if s.Kernels, err = kernels(ctx, c); err != nil {
		return s, true, err
	}
	judge(&s)
	return s, true, nil
}

// judge says whether the system can boot from the network.
func judge(s *System) {
	for _, k := range s.Kernels {
		if k.NetBoot {
			s.NetBoot, s.WhyNot = true, []string{}
			return
		}
		s.WhyNot = append(s.WhyNot, fmt.Sprintf("kernel %s: %s", k.Version, strings.Join(k.WhyNot, ", ")))
	}
	if len(s.Kernels) == 0 {
		s.WhyNot = append(s.WhyNot, "there is no /boot/vmlinuz-VERSION")
	}
}

// mostText bounds the files that are read as text.
const mostText = 1 << 20

// readFirst reads the first of the files that exists.
func readFirst(ctx context.Context, c *sandbox.Cell, paths ...string) (string, bool, error) {
	for _, path := range paths {
		text, err := c.ReadPart(ctx, path, 0, mostText)
		if err == nil {
			return string(text), true, nil
		}
		if !absent(err) {
			return "", false, err
		}
	}
	return "", false, nil
}

// absent is a path that leads to no regular file.
func absent(err error) bool {
	for _, e := range []error{fs.ErrNotExist, syscall.ENOTDIR, syscall.ELOOP, syscall.EINVAL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
