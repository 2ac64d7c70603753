package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/fuse"
)

func mountCommand() *cli.Command {
	return verb{
		name: "mount", args: "DIR", usage: "show golden images and volumes, and their partitions, as files until interrupted",
		examples: []string{
			"goldstream mount /mnt",
			"goldstream mount /mnt --write web-1",
		},
		flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "write", Usage: "let `VOLUME` be written, which must not be in service; may be repeated"},
		},
		action: mountDisks,
	}.command()
}

func unmountCommand() *cli.Command {
	return verb{
		name: "unmount", args: "DIR", usage: "end a mount, also one whose goldstream was killed",
		examples: []string{"goldstream unmount /mnt"},
		action: func(c *call) error {
			err := c.unmount(c.arg(0))
			if errors.Is(err, fuse.ErrNotMounted) {
				return usagef("%v", err)
			}
			return err
		},
	}.command()
}

// unmount is not cut short by a signal: it may be what the signal asked for.
func (c *call) unmount(dir string) error {
	lazy, err := fuse.Unmount(context.WithoutCancel(c.ctx), dir)
	if lazy && err == nil {
		c.note("files on " + dir + " are still open; they can be used until they are closed")
	}
	return err
}

// mountPoint is what mount prints as JSON once the files are there.
type mountPoint struct {
	Mounted string   `json:"mounted"`
	Write   []string `json:"write"` // volumes that can be written
}

func mountDisks(c *call) error {
	dir := c.arg(0)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no directory %s to mount on; make it first: %w", dir, err)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	format := "text"
	if c.Bool("json") {
		format = "json"
	}
	if c.log, err = newLogger(c.err, format, "warn"); err != nil {
		return err
	}
	err = c.with(false, func(client *v1.Client) error { return holdMount(c, client, abs) })
	if err != nil && c.ctx.Err() != nil {
		return &lasting{err} // the signal asked for a clean end
	}
	return err
}

// holdMount mounts, and returns when the mount has ended. The first signal
// unmounts; a second one kills this process, which cuts off who still has files
// open.
func holdMount(c *call, client *v1.Client, dir string) error {
	req := v1.MountRequest{Write: c.StringSlice("write"), UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	ended, cancel := context.WithCancel(context.WithoutCancel(c.ctx))
	defer cancel()
	unmounted := make(chan error, 1) // what mounted has to be unmounted, once
	mounted := false
	err := client.Mount(ended, req, func() (*os.File, error) {
		dev, err := fuse.Mount(c.ctx, dir, fuse.MountOptions{ReadOnly: len(req.Write) == 0})
		if err != nil {
			return nil, err
		}
		mounted = true
		go func() {
			select {
			case <-c.ctx.Done():
				unmounted <- c.unmount(dir)
			case <-ended.Done():
				unmounted <- nil
			}
		}()
		return dev, nil
	}, func() {
		if err := fuse.ReadAhead(dir); err != nil {
			c.log.Debug("the mount keeps the kernel's read-ahead", "error", err)
		}
		showMount(c, dir, req.Write)
	})
	cancel()
	if !mounted {
		return err
	}
	if e := <-unmounted; e != nil {
		return errors.Join(err, e)
	}
	if err == nil {
		return nil
	}
	// The server is gone: nobody answers on what is still mounted.
	if e := c.unmount(dir); e != nil && !errors.Is(e, fuse.ErrNotMounted) {
		err = errors.Join(err, e)
	}
	return err
}

func showMount(c *call, dir string, write []string) {
	p := mountPoint{Mounted: dir, Write: append([]string{}, write...)}
	_ = c.print(p, func(w io.Writer) { // nobody to tell
		what := "read-only"
		if len(write) > 0 {
			what = "read-only but for " + strings.Join(write, ", ")
		}
		fmt.Fprintf(w, "%s: images and volumes, %s, until Ctrl-C or 'goldstream unmount %s'\n", dir, what, dir)
	})
}

// lasting is an error that a signal does not explain.
type lasting struct{ error }

func (l *lasting) Unwrap() error { return l.error }
