package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"goldstream/personalize/sandbox/wire"
)

// Device is the disk, one of its partitions, or a logical volume.
type Device struct {
	Path string // /dev/sda, /dev/sda1, /dev/VG/LV
	Size int64  // bytes
}

// Devices lists the disk and its partitions, the disk first.
func (c *Cell) Devices(ctx context.Context) ([]Device, error) {
	fields, err := c.list(ctx, wire.OpDevices, 2)
	if err != nil {
		return nil, err
	}
	var list []Device
	for ; len(fields) > 0; fields = fields[2:] {
		size, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: a size of %q", wire.ErrProtocol, printable(fields[1]))
		}
		list = append(list, Device{Path: fields[0], Size: size})
	}
	return list, nil
}

// list makes a call whose output is rows of NUL-terminated fields.
func (c *Cell) list(ctx context.Context, op wire.Op, columns int, args ...string) ([]string, error) {
	var out bytes.Buffer
	if _, err := c.call(ctx, request{op: op, args: args, output: &out}); err != nil {
		return nil, err
	}
	if out.Len() == 0 {
		return nil, nil
	}
	text, ended := strings.CutSuffix(out.String(), "\x00")
	fields := strings.Split(text, "\x00")
	if !ended || len(fields)%columns != 0 {
		return nil, fmt.Errorf("%v: %w: a list with a part of a row", op, wire.ErrProtocol)
	}
	return fields, nil
}
