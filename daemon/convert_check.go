package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// A truncated image must not pass: qemu reads what a table maps beyond the end
// of the file as zeroes, without an error (measured with qemu 7.2: qcow2, qed,
// vdi; vhdx and vpc notice when they open). Three looks, as none sees all:
//
//   - qcow2: our own walk over its tables, which alone sees a compressed
//     cluster that is cut in its middle (convert_qcow2.go)
//   - the others: qemu-img map says where in the file each run stands
//   - qemu-img check, where the format has one, finds tables that contradict
//     each other
//
// A streamOptimized VMDK has a checksum for each compressed grain.
func (c *converter) check(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.checkTables(ctx) })
	if c.format == "qcow2" {
		g.Go(func() error { return c.walkQcow2(ctx) })
	} else {
		g.Go(func() error { return c.checkMap(ctx) })
	}
	return g.Wait()
}

// Exit statuses of qemu-img check (qemu-img(1)).
const (
	checkFailed      = 1
	checkCorrupt     = 2
	checkLeaks       = 3 // clusters that nothing uses: harmless
	checkUnsupported = 63
)

func (c *converter) checkTables(ctx context.Context) error {
	if c.format == "vpc" || c.format == "qcow" {
		return nil // have no check
	}
	var said tail
	read := func(r io.Reader) error { _, err := io.Copy(&said, r); return err }
	exit, stderr, err := c.runTool(ctx, read, c.img, "check", "--format="+c.format, imagePath)
	if err != nil {
		return err
	}
	switch exit {
	case 0, checkLeaks, checkUnsupported:
		return nil
	case checkCorrupt, checkFailed:
		return c.refuse("damaged or cut short"+quote(stderr+" "+said.String()), fetchAgain, nil)
	}
	return c.refuse(fmt.Sprintf("qemu-img check ended with status %d%s", exit, quote(stderr)), fetchAgain, nil)
}

const fetchAgain = "fetch it again and compare its checksum with the publisher's"

// mapped is one run as qemu-img map --output=json prints it. A run of data
// that is also zero is one that lies in a hole or behind the end of the file.
type mapped struct {
	Start, Length int64
	Data          bool
	Offset        *int64
}

func (c *converter) checkMap(ctx context.Context) error {
	read := func(r io.Reader) error { return c.readMap(r) }
	exit, stderr, err := c.runTool(ctx, read, c.img, "map", "--output=json", "--format="+c.format, imagePath)
	if err != nil {
		return err
	}
	if exit != 0 {
		return c.refuse("qemu-img cannot read its tables"+quote(stderr), fetchAgain, nil)
	}
	return nil
}

// readMap reads run by run: the list of a large image has millions.
func (c *converter) readMap(r io.Reader) error {
	d := json.NewDecoder(r)
	if _, err := d.Token(); err == io.EOF {
		return nil // the exit status says more
	} else if err != nil {
		return fmt.Errorf("reading the output of qemu-img map: %w", err)
	}
	for d.More() {
		var m mapped
		if err := d.Decode(&m); err != nil {
			return fmt.Errorf("reading the output of qemu-img map: %w", err)
		}
		if m.Data && m.Offset != nil && *m.Offset+m.Length > c.size {
			return c.truncated(m.Start, *m.Offset+m.Length)
		}
	}
	_, err := io.Copy(io.Discard, d.Buffered())
	return err
}

// truncated names the first byte of the disk found to be missing.
func (c *converter) truncated(at, end int64) error {
	return c.refuse(fmt.Sprintf("cut short: the disk's data at %d reaches to byte %d of the file, which has only %d",
		at, end, c.size), fetchAgain, nil)
}
