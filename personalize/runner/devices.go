package runner

import (
	"context"
	"fmt"
	"path"
	"strings"

	"goldstream/personalize/sandbox"
)

// deviceCommands are about devices, partitions, volumes and mounts.
func deviceCommands() map[string]handler {
	return map[string]handler{
		"list-devices":       (*Session).listDevices,
		"list-partitions":    (*Session).listPartitions,
		"list-filesystems":   (*Session).listFilesystems,
		"part-list":          (*Session).partList,
		"part-get-parttype":  (*Session).partType,
		"blockdev-getsize64": (*Session).deviceSize,
		"vfs-type":           vfs(func(f sandbox.Filesystem) string { return f.Type }),
		"vfs-label":          vfs(func(f sandbox.Filesystem) string { return f.Label }),
		"vfs-uuid":           vfs(func(f sandbox.Filesystem) string { return f.UUID }),
		"blkid":              (*Session).blkid,
		"vgs":                lvmList("vgs", "vg_name", func(row []string) string { return row[0] }),
		"pvs":                lvmList("pvs", "pv_name", func(row []string) string { return row[0] }),
		"lvs":                lvmList("lvs", "vg_name,lv_name", func(row []string) string { return "/dev/" + strings.Join(row, "/") }),
		"vgrename":           lvmRun("vgrename"),
		"lvrename":           (*Session).lvrename,
		"vg-activate-all":    (*Session).activate,
		"mount":              mounting(sandbox.ReadWrite),
		"mount-ro":           mounting(sandbox.ReadOnly),
		"mount-options":      (*Session).mountOptions,
		"umount":             func(s *Session, ctx context.Context, c call) error { return s.disk.Unmount(ctx, c.args[0]) },
		"umount-all":         func(s *Session, ctx context.Context, _ call) error { return s.unmountEach(ctx) },
		"mounts":             (*Session).mounts,
		"mountpoints":        (*Session).mountpoints,
		"statvfs":            (*Session).statvfs,
		"df":                 df(1024, "1K-blocks", plainSize),
		"df-h":               df(1, "Size", humanSize),
	}
}

func (s *Session) listDevices(ctx context.Context, c call) error {
	list, err := s.disk.Devices(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	return c.print(list[0].Path)
}

func (s *Session) listPartitions(ctx context.Context, c call) error {
	list, err := s.disk.Devices(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	for _, d := range list[1:] {
		if err := c.print(d.Path); err != nil {
			return err
		}
	}
	return nil
}

// listFilesystems leaves out what only carries others, as libguestfs does.
func (s *Session) listFilesystems(ctx context.Context, c call) error {
	list, err := s.disk.Filesystems(ctx)
	if err != nil {
		return err
	}
	var rows []pair
	for _, f := range list {
		if f.Type != physicalVolume && f.Type != "crypto_LUKS" {
			rows = append(rows, pair{f.Device, f.Type})
		}
	}
	return c.printPairs(rows)
}

// physicalVolume is what a part of a volume group is called.
const physicalVolume = "LVM2_member"

func (s *Session) partList(ctx context.Context, c call) error {
	list, _, err := s.partitions(ctx, c.args[0])
	if err != nil {
		return err
	}
	for i, p := range list {
		err := c.print(fmt.Sprintf("[%d] = {\n  part_num: %d\n  part_start: %d\n  part_end: %d\n  part_size: %d\n}", i, p.Number, p.Start, p.Start+p.Size-1, p.Size))
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) partType(ctx context.Context, c call) error {
	_, table, err := s.partitions(ctx, c.args[0])
	return c.printText(table, err)
}

func (s *Session) partitions(ctx context.Context, device string) ([]sandbox.Partition, string, error) {
	if wholeDisk(device) != "/dev/sda" {
		return nil, "", failf("%s is no disk: the disk is /dev/sda", device)
	}
	list, table, err := s.disk.Partitions(ctx)
	if err == nil && table == "" {
		err = failf("%s has no partition table", device)
	}
	return list, table, err
}

// wholeDisk gives the names that other buses give the disk their meaning.
func wholeDisk(device string) string {
	for _, other := range []string{"/dev/vda", "/dev/hda", "/dev/xvda"} {
		if rest, found := strings.CutPrefix(device, other); found {
			return "/dev/sda" + rest
		}
	}
	return device
}

func (s *Session) deviceSize(ctx context.Context, c call) error {
	list, err := s.disk.Devices(ctx)
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.Path == wholeDisk(c.args[0]) {
			return c.printNumber(d.Size, nil)
		}
	}
	f, err := s.filesystem(ctx, c.args[0])
	return c.printNumber(f.Size, err)
}

// filesystem finds what a device holds.
func (s *Session) filesystem(ctx context.Context, device string) (sandbox.Filesystem, error) {
	device, _ = subvolume(wholeDisk(device))
	list, err := s.disk.Filesystems(ctx)
	if err != nil {
		return sandbox.Filesystem{}, err
	}
	for _, f := range list {
		if f.Device == device {
			return f, nil
		}
	}
	return sandbox.Filesystem{}, failf("%s is no partition or logical volume of the disk", device)
}

func (s *Session) blkid(ctx context.Context, c call) error {
	f, err := s.filesystem(ctx, c.args[0])
	if err != nil {
		return err
	}
	var rows []pair
	for _, p := range []pair{{"DEVNAME", f.Device}, {"LABEL", f.Label}, {"UUID", f.UUID}, {"TYPE", f.Type}} {
		if p.value != "" && p.value != "unknown" {
			rows = append(rows, p)
		}
	}
	return c.printPairs(rows)
}

// vfs makes a command that prints one fact of a file system.
func vfs(fact func(sandbox.Filesystem) string) handler {
	return func(s *Session, ctx context.Context, c call) error {
		f, err := s.filesystem(ctx, c.args[0])
		if err != nil {
			return err
		}
		text := fact(f)
		if text == "unknown" {
			text = ""
		}
		return c.print(text)
	}
}

// matchDevices is glob for devices.
func (s *Session) matchDevices(ctx context.Context, pattern string) ([]string, error) {
	list, err := s.disk.Devices(ctx)
	if err != nil {
		return nil, err
	}
	var names, matches []string
	for _, d := range list {
		names = append(names, d.Path)
	}
	volumes, err := s.logicalVolumes(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range append(names, volumes...) {
		if ok, err := path.Match(wholeDisk(pattern), name); err != nil {
			return nil, failf("%q is no pattern", pattern)
		} else if ok {
			matches = append(matches, name)
		}
	}
	return matches, nil
}
