package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"goldstream/blockstore"
	"goldstream/daemon"
)

func dumpStore(c *call) error {
	dir, dest := c.String("data"), c.arg(0)
	if err := checkOwner(dir); err != nil {
		return err
	}
	var info blockstore.DumpInfo
	write := func(w io.Writer) (err error) {
		buffered := bufio.NewWriterSize(w, 1<<20)
		if info, err = daemon.Dump(c.ctx, dir, buffered); err != nil {
			return explainOwner(dir, err)
		}
		return buffered.Flush()
	}
	if dest == "-" {
		return write(c.out)
	}
	if fi, err := os.Stat(dest); err == nil && !fi.Mode().IsRegular() {
		return usagef("%s: %s is no file; name one, or - for standard output", commandName(c.Context), dest)
	}
	if err := wholeFile(dest, func(f *os.File) error { return write(f) }); err != nil {
		return err
	}
	return c.print(info, func(w io.Writer) {
		fmt.Fprintf(w, "dumped commit %d to %s: %d records\n", info.Sequence, dest, info.Records)
	})
}

func restoreDump(c *call) error {
	in, closeIn := c.in, func() error { return nil }
	if path := c.arg(0); path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		in, closeIn = f, f.Close
	}
	req := blockstore.RestoreRequest{Apply: c.Bool("yes"), AcceptMissing: c.Bool("accept-missing")}
	err := offline(c, func(ctx context.Context, dir string) (blockstore.RestoreReport, error) {
		return daemon.RestoreDump(ctx, dir, in, req)
	}, showRestore)
	return errors.Join(err, closeIn())
}
