package runner

import (
	"bytes"
	"context"
	"strings"

	"goldstream/personalize/sandbox"
)

// system is an operating system that inspect-os found.
type system struct {
	root, kind, distro, product string
	major, minor                string
	arch, hostname              string
	mounts                      []pair // directory: device
	filesystems                 []string
}

// inspectCommands look for operating systems.
func inspectCommands() map[string]handler {
	return map[string]handler{
		"inspect-os":                (*Session).inspect,
		"inspect-get-type":          fact(func(y system) string { return y.kind }),
		"inspect-get-distro":        fact(func(y system) string { return y.distro }),
		"inspect-get-product-name":  fact(func(y system) string { return y.product }),
		"inspect-get-major-version": fact(func(y system) string { return y.major }),
		"inspect-get-minor-version": fact(func(y system) string { return y.minor }),
		"inspect-get-arch":          fact(func(y system) string { return y.arch }),
		"inspect-get-hostname":      fact(func(y system) string { return y.hostname }),
		"inspect-get-osinfo":        fact(osinfo),
		"inspect-get-mountpoints":   (*Session).inspectMountpoints,
		"inspect-get-filesystems":   (*Session).inspectFilesystems,
	}
}

// found is the system with a root device.
func (s *Session) found(root string) (system, error) {
	for _, y := range s.systems {
		if y.root == root || y.root == wholeDisk(root) {
			return y, nil
		}
	}
	return system{}, failf("nothing is known of %s: inspect-os must come before, and list it", root)
}

func fact(of func(system) string) handler {
	return func(s *Session, _ context.Context, c call) error {
		y, err := s.found(c.args[0])
		if err != nil {
			return err
		}
		return c.print(of(y))
	}
}

// osinfo is the short name of the database of that name, as far as it follows from
// distribution and version.
func osinfo(y system) string {
	switch {
	case y.distro == "unknown":
		return "unknown"
	case y.distro == "centos" && y.major >= "8" || y.distro == "debian" || y.distro == "fedora":
		return y.distro + y.major
	case y.minor == "":
		return y.distro + y.major
	}
	return y.distro + y.major + "." + y.minor
}

func (s *Session) inspectMountpoints(_ context.Context, c call) error {
	y, err := s.found(c.args[0])
	if err != nil {
		return err
	}
	return c.printPairs(y.mounts)
}

func (s *Session) inspectFilesystems(_ context.Context, c call) error {
	y, err := s.found(c.args[0])
	return c.printList(y.filesystems, err)
}

// inspect looks at each file system, and lists the roots. As in libguestfs, nothing
// is mounted afterwards.
func (s *Session) inspect(ctx context.Context, c call) error {
	s.systems = nil
	if err := s.unmountEach(ctx); err != nil {
		return err
	}
	list, err := s.disk.Filesystems(ctx)
	if err != nil {
		return err
	}
	for _, f := range list {
		switch f.Type {
		case "ext2", "ext3", "ext4", "xfs", "btrfs":
		default:
			continue
		}
		root := f.Device
		if f.Type == "btrfs" {
			if name := s.rootSubvolume(ctx, f.Device); name != "" {
				root = "btrfsvol:" + f.Device + "/" + name
			}
		}
		if err := s.inspectOne(ctx, root, list); err != nil && !soft(err) {
			return err
		} else if err != nil {
			s.log.line(Failure, "left out: "+err.Error())
		}
	}
	var roots []string
	for _, y := range s.systems {
		roots = append(roots, y.root)
	}
	return c.printList(roots, nil)
}

// rootSubvolume is the one that Fedora and Ubuntu have their root in.
func (s *Session) rootSubvolume(ctx context.Context, device string) string {
	for _, name := range []string{"root", "@"} {
		if s.mount(ctx, "btrfsvol:"+device+"/"+name, "/", sandbox.Peek, "") == nil {
			_ = s.unmountEach(ctx)
			return name
		}
	}
	return ""
}

func (s *Session) inspectOne(ctx context.Context, root string, all []sandbox.Filesystem) error {
	if err := s.mount(ctx, root, "/", sandbox.Peek, ""); err != nil {
		return err
	}
	y, found, err := s.describe(ctx, root, all)
	if e := s.unmountEach(ctx); err == nil {
		err = e
	}
	if found && err == nil {
		s.systems = append(s.systems, y)
	}
	return err
}

// describe reads what the system whose root is mounted says of itself.
func (s *Session) describe(ctx context.Context, root string, all []sandbox.Filesystem) (system, bool, error) {
	y := system{root: root, kind: "linux"}
	release, err := s.first(ctx, "/etc/os-release", "/usr/lib/os-release")
	if err != nil {
		return y, false, err
	}
	old, err := s.first(ctx, "/etc/centos-release", "/etc/redhat-release", "/etc/SuSE-release", "/etc/xensource-inventory")
	if err != nil || release == "" && old == "" {
		return y, false, err
	}
	y.release(assignments(release), old)
	if y.hostname, err = s.first(ctx, "/etc/hostname", "/etc/HOSTNAME"); err != nil {
		return y, false, err
	}
	if y.hostname, _, _ = strings.Cut(strings.TrimSpace(y.hostname), "\n"); y.hostname == "" {
		y.hostname = "unknown"
	}
	y.arch = "unknown"
	for _, program := range []string{"/bin/bash", "/bin/ls", "/bin/sh", "/bin/rpm", "/usr/bin/dpkg"} {
		var out bytes.Buffer
		if s.architecture(ctx, call{args: []string{program}, out: &out}) == nil {
			y.arch = strings.TrimSpace(out.String())
			break
		}
	}
	fstab, err := s.first(ctx, "/etc/fstab")
	y.fstab(fstab, all)
	return y, true, err
}

// first reads the first of the files that exists.
func (s *Session) first(ctx context.Context, paths ...string) (string, error) {
	for _, name := range paths {
		text, err := s.disk.ReadPart(ctx, name, 0, 64<<10)
		if err == nil {
			return string(text), nil
		}
		if !soft(err) {
			return "", err
		}
	}
	return "", nil
}
