package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"goldstream/personalize/sandbox"
)

// subvolume takes the name of a btrfs subvolume apart: btrfsvol:/dev/sda2/root, or
// btrfsvol:/dev/GROUP/VOLUME/root.
func subvolume(mountable string) (device, name string) {
	rest, found := strings.CutPrefix(mountable, "btrfsvol:/dev/")
	if !found {
		return mountable, ""
	}
	parts := strings.Split(rest, "/")
	n := 1
	if !strings.HasPrefix(wholeDisk("/dev/"+parts[0]), "/dev/sda") {
		n = 2
	}
	n = min(n, len(parts))
	return wholeDisk("/dev/" + strings.Join(parts[:n], "/")), strings.Join(parts[n:], "/")
}

func mounting(mode sandbox.MountMode) handler {
	return func(s *Session, ctx context.Context, c call) error {
		return s.mount(ctx, c.args[0], c.args[1], mode, "")
	}
}

func (s *Session) mountOptions(ctx context.Context, c call) error {
	return s.mount(ctx, c.args[1], c.args[2], sandbox.ReadWrite, c.args[0])
}

func (s *Session) mount(ctx context.Context, mountable, dir string, mode sandbox.MountMode, options string) error {
	device, name := subvolume(mountable)
	if strings.Contains(name, ",") {
		return failf("the name of subvolume %q has a comma", name)
	}
	if name != "" {
		options = strings.TrimPrefix(options+",subvol="+name, ",")
	}
	_, err := s.disk.Mount(ctx, device, dir, mode, options)
	return err
}

// unmountEach unmounts the last one first. UnmountAll would put logical volumes at
// rest too, which they would be woken from soon, and LVM takes its time for both.
func (s *Session) unmountEach(ctx context.Context) error {
	list, err := s.disk.Mounts(ctx)
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(list) {
		if err := s.disk.Unmount(ctx, m.Dir); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) mounts(ctx context.Context, c call) error {
	list, err := s.disk.Mounts(ctx)
	var devices []string
	for _, m := range list {
		devices = append(devices, m.Device)
	}
	return c.printList(devices, err)
}

func (s *Session) mountpoints(ctx context.Context, c call) error {
	list, err := s.disk.Mounts(ctx)
	var rows []pair
	for _, m := range list {
		rows = append(rows, pair{m.Device, m.Dir})
	}
	if err != nil {
		return err
	}
	return c.printPairs(rows)
}

func (s *Session) statvfs(ctx context.Context, c call) error {
	i, err := s.disk.StatFS(ctx, c.args[0])
	if err != nil {
		return err
	}
	return c.printPairs([]pair{
		{"bsize", i.BlockSize}, {"frsize", i.BlockSize}, {"blocks", i.Blocks}, {"bfree", i.Free}, {"bavail", i.Available},
		{"files", i.Files}, {"ffree", i.FreeFiles}, {"favail", i.FreeFiles}, {"fsid", 0}, {"flag", 0}, {"namemax", i.NameMax},
	})
}

// df makes a command that shows all mounts; show turns bytes into what a column has.
func df(unit uint64, title string, show func(bytes, unit uint64) string) handler {
	return func(s *Session, ctx context.Context, c call) error {
		list, err := s.disk.Mounts(ctx)
		if err != nil {
			return err
		}
		const row = "%-24s %12s %12s %12s %4s %s\n"
		var out strings.Builder
		fmt.Fprintf(&out, row, "Filesystem", title, "Used", "Available", "Use%", "Mounted on")
		for _, m := range list {
			i, err := s.disk.StatFS(ctx, m.Dir)
			if err != nil {
				return err
			}
			used := (i.Blocks - i.Free) * i.BlockSize
			free := i.Available * i.BlockSize
			percent := "-"
			if used+free > 0 {
				percent = fmt.Sprintf("%d%%", (used*100+used+free-1)/(used+free))
			}
			fmt.Fprintf(&out, row, m.Device, show(i.Blocks*i.BlockSize, unit), show(used, unit), show(free, unit), percent, "/sysroot"+m.Dir)
		}
		return c.print(out.String())
	}
}

func plainSize(bytes, unit uint64) string { return fmt.Sprint((bytes + unit - 1) / unit) }

func humanSize(bytes, _ uint64) string {
	size, units := float64(bytes), "BKMGTP"
	for size >= 1024 && len(units) > 1 {
		size, units = size/1024, units[1:]
	}
	if size < 10 && units[0] != 'B' {
		return fmt.Sprintf("%.1f%c", size, units[0])
	}
	return fmt.Sprintf("%.0f%c", size, units[0])
}
