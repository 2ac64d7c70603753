package sandbox

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"goldstream/personalize/sandbox/wire"
)

// ErrCannotGrow is a disk whose root file system cannot be made larger, and why.
var ErrCannotGrow = errors.New("the root file system cannot grow")

// GrowRoot makes what is mounted on "/" as large as the disk allows: its partition,
// physical and logical volume, and file system, whichever there are. It returns
// the size of the file system before and after, in bytes. What is so already stays.
func (c *Cell) GrowRoot(ctx context.Context) (before, after int64, err error) {
	list, err := c.Mounts(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, m := range list {
		if m.Dir != "/" {
			continue
		}
		if err := c.growDevice(ctx, m.Device); err != nil {
			return 0, 0, err
		}
		return c.Grow(ctx, "/")
	}
	return 0, 0, fmt.Errorf("%w: nothing is mounted on /", ErrCannotGrow)
}

func (c *Cell) growDevice(ctx context.Context, device string) error {
	switch {
	case device == "/dev/sda": // a file system without partitions
		return nil
	case strings.HasPrefix(device, "/dev/sda"):
		return c.GrowPartition(ctx, device)
	}
	group := path.Base(path.Dir(device))
	out, err := c.LVM(ctx, "pvs", "--noheadings", "-o", "pv_name", "--select", "vg_name="+group)
	if err != nil {
		return err
	}
	physical := strings.Fields(out)
	if len(physical) != 1 {
		return fmt.Errorf("%w: the volume group of %s has %d physical volumes, and which of them should is not known", ErrCannotGrow, field(device), len(physical))
	}
	if physical[0] != "/dev/sda" {
		if err := c.GrowPartition(ctx, physical[0]); err != nil {
			return err
		}
	}
	if _, err := c.LVM(ctx, "pvresize", "-q", physical[0]); err != nil {
		return err
	}
	if out, err = c.LVM(ctx, "vgs", "--noheadings", "-o", "vg_free_count", group); err != nil {
		return err
	}
	if free, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64); err != nil || free == 0 {
		return err
	}
	_, err = c.LVM(ctx, "lvextend", "-q", "-l", "+100%FREE", device)
	return err
}

// GrowPartition makes a partition, which may be mounted, end at the end of the disk.
// It fails where another one stands behind it.
func (c *Cell) GrowPartition(ctx context.Context, device string) error {
	return c.do(ctx, wire.OpGrowPartition, device)
}
