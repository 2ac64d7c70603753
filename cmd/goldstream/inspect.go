package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"goldstream/api/v1"
	"goldstream/fuse"
	"goldstream/jail"
	"goldstream/personalize/inspect"
	"goldstream/personalize/sandbox"
)

func inspectCommand() *cli.Command {
	return verb{
		name: "inspect", args: "NAME", usage: "tell what is on the disk of a golden image or volume: file systems, operating systems, kernels, whether it can boot from the network",
		examples: []string{"goldstream inspect debian", "goldstream inspect web-1 --json"},
		flags:    sandboxFlags(), action: inspectDisk, complete: names{diskNames},
	}.command()
}

func diskNames(c *call) []string { return append(imageNames(c), volumeNames(c)...) }

func inspectDisk(c *call) error {
	tools, err := c.cellTools()
	if err != nil {
		return err
	}
	var report inspect.Report
	err = c.with(false, func(client *v1.Client) error {
		file, err := diskFile(c.ctx, client, c.arg(0))
		if err != nil {
			return err
		}
		return withMount(c.ctx, client, func(dir string) error {
			report, err = inspectFile(c.ctx, tools, dir, file)
			return err
		})
	})
	if err != nil {
		return err
	}
	return c.print(report, func(w io.Writer) { showReport(w, report) })
}

// cellTools finds what a disk cell needs, to which a disk goes through a mount.
func (c *call) cellTools() (t sandbox.Tools, err error) {
	if err := c.here(); err != nil {
		return t, err
	}
	return sandbox.Find(c.ctx, c.sandboxOptions())
}

// diskFile is where a mount shows the image or volume of that name.
func diskFile(ctx context.Context, client *v1.Client, name string) (string, error) {
	_, volumeErr := client.Volume(ctx, name)
	if volumeErr == nil {
		return filepath.Join("volumes", name, "disk"), nil
	}
	if _, err := client.Image(ctx, name); err != nil {
		return "", err
	}
	return filepath.Join("images", name, "disk"), nil
}

// withMount runs f while the disks are mounted, read-only, on a directory that only
// root and programs in jails may look into.
func withMount(ctx context.Context, client *v1.Client, f func(dir string) error) (err error) {
	outer, err := os.MkdirTemp("", "goldstream-inspect-")
	if err != nil {
		return err
	}
	dir := filepath.Join(outer, "disks")
	defer func() { err = errors.Join(err, os.Remove(dir), os.Remove(outer)) }()
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	id := uint32(jail.HostID())
	ready, ended := make(chan struct{}), make(chan error, 1)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go func() {
		ended <- client.Mount(serving, v1.MountRequest{UID: id, GID: id}, func() (*os.File, error) {
			return fuse.Mount(ctx, dir, fuse.MountOptions{ReadOnly: true, AllowOther: os.Geteuid() == 0})
		}, func() { close(ready) })
	}()
	select {
	case err := <-ended:
		return errors.Join(err, unmountLeft(ctx, dir))
	case <-ctx.Done():
		stop()
		err := cancelled(<-ended)
		return errors.Join(context.Cause(ctx), err, unmountLeft(ctx, dir))
	case <-ready:
	}
	err = f(dir)
	_, unmountErr := fuse.Unmount(context.WithoutCancel(ctx), dir)
	stop()
	return errors.Join(err, unmountErr, cancelled(<-ended))
}

// unmountLeft unmounts what was perhaps mounted, but never ready.
func unmountLeft(ctx context.Context, dir string) error {
	_, err := fuse.Unmount(context.WithoutCancel(ctx), dir)
	if errors.Is(err, fuse.ErrNotMounted) {
		return nil
	}
	return err
}

// cancelled leaves out the end that we asked for.
func cancelled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// startOn boots a cell with a file of a mount, of which this process looks at nothing:
// where no daemon runs it serves the mount itself.
func startOn(ctx context.Context, tools sandbox.Tools, mount, file string) (*sandbox.Cell, error) {
	return sandbox.Start(ctx, sandbox.Config{Tools: tools, Disk: filepath.Join(mount, file), DiskMount: mount, ReadOnly: true})
}

func inspectFile(ctx context.Context, tools sandbox.Tools, dir, file string) (inspect.Report, error) {
	cell, err := startOn(ctx, tools, dir, file)
	if err != nil {
		return inspect.Report{}, err
	}
	report, err := inspect.Disk(ctx, cell)
	cell.Kill() // nothing was written
	_ = cell.Wait()
	return report, err
}

func showReport(w io.Writer, r inspect.Report) {
	fmt.Fprintln(w, "DEVICE\tTYPE\tLABEL\tUUID\tSIZE")
	for _, f := range r.Filesystems {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.Device, f.Type, orDash(f.Label), orDash(f.UUID), humanSize(f.Size))
	}
	for _, s := range r.Systems {
		fmt.Fprintf(w, "\n%s (%s %s) on %s\n", s.Name, s.ID, s.Version, s.Root)
		for _, k := range s.Kernels {
			fmt.Fprintf(w, "  kernel %s, initrd %s\n", k.Version, orDash(k.Initrd))
		}
		if s.NetBoot {
			fmt.Fprintln(w, "  can boot from the network")
		} else {
			fmt.Fprintf(w, "  cannot boot from the network: %s\n", strings.Join(s.WhyNot, "; "))
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\nnote: %s\n", note)
	}
}
