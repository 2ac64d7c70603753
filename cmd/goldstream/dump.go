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
	dest := c.arg(0)
	var info blockstore.DumpInfo
	write := func(w io.Writer) (err error) {
		buffered := bufio.NewWriterSize(w, 1<<20)
		if info, err = dumpTo(c, buffered); err != nil {
			return err
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

// dumpTo has the daemon dump its metadata, or dumps that of a store that nobody
// has open.
func dumpTo(c *call, w io.Writer) (blockstore.DumpInfo, error) {
	dir := c.String("data")
	conn, err := c.reachDaemon(dir)
	if err != nil {
		return blockstore.DumpInfo{}, err
	}
	if conn != nil {
		info, err := conn.Dump(c.ctx, w)
		return info, errors.Join(err, conn.close())
	}
	if err := checkOwner(dir); err != nil {
		return blockstore.DumpInfo{}, err
	}
	info, err := daemon.Dump(c.ctx, dir, w)
	if err != nil {
		err = explainOwner(dir, err)
	}
	return info, err
}

func restoreDump(c *call) error {
	if err := c.here(); err != nil {
		return err
	}
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
