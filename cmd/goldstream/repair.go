package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func repairImage(c *call) error {
	r, err := c.openSource(c.arg(1))
	if err != nil {
		return err
	}
	if f, ok := r.(*os.File); ok && r != c.in {
		defer f.Close()
	}
	return c.with(false, func(client *v1.Client) error {
		m := newMeter(c.err, "repair "+c.arg(0))
		rep, err := c.repairFrom(client, r, m.show)
		m.done()
		if err != nil {
			return err
		}
		return errors.Join(c.printRepair(rep), unrepaired(rep))
	})
}

// repairFrom has the daemon read the file by itself where it sees the same one,
// and otherwise sends the content.
func (c *call) repairFrom(client *v1.Client, r io.Reader, progress v1.ProgressFunc) (rep blockstore.RepairReport, err error) {
	if f, ok := r.(*os.File); ok && r != c.in {
		file, ok, err := hostFile(f)
		if err != nil {
			return rep, err
		}
		if ok {
			rep, err = client.RepairFile(c.ctx, c.arg(0), v1.RepairRequest{HostFile: file}, progress)
			if !errors.Is(err, fs.ErrPermission) {
				return rep, err
			}
		}
	}
	return client.RepairStream(c.ctx, c.arg(0), r, remaining(r), progress)
}

func (c *call) printRepair(rep blockstore.RepairReport) error {
	return c.print(rep, func(w io.Writer) {
		if rep.Cached {
			fmt.Fprintln(w, cachedWarning)
		}
		if len(rep.Repaired)+len(rep.Unrepaired) == 0 {
			fmt.Fprintf(w, "%s: nothing to repair, %s compared with its checksums\n", rep.Image, humanSize(rep.Checked))
			return
		}
		fmt.Fprintln(w, "OFFSET\tLENGTH\tRESULT\tREASON")
		for _, b := range rep.Repaired {
			fmt.Fprintf(w, "%d\t%d\trepaired\t%s\n", b.Offset, b.Length, b.Reason)
		}
		for _, b := range rep.Unrepaired {
			fmt.Fprintf(w, "%d\t%d\tstill damaged\t%s\n", b.Offset, b.Length, b.Reason)
		}
	})
}

// unrepaired is the error of a report of which something is still damaged.
func unrepaired(rep blockstore.RepairReport) error {
	if len(rep.Unrepaired) == 0 {
		return nil
	}
	return &v1.Error{
		Code:    v1.CodeDamaged,
		Message: fmt.Sprintf("golden image %s is still damaged in %d places", rep.Image, len(rep.Unrepaired)),
		Advice:  "Try another copy of the image: it takes only what has the right checksum from each.",
	}
}
