package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"goldstream/api/v1"
)

// exported is what an export prints as JSON.
type exported struct {
	Image    string `json:"image,omitempty"`
	Snapshot string `json:"snapshot,omitempty"` // VOLUME/NAME
	Dest     string `json:"dest"`
	Format   string `json:"format"`
	Size     int64  `json:"size"` // of the disk, in bytes
}

func formatFlag() cli.Flag {
	return &cli.StringFlag{Name: "format", Usage: "`FORMAT`: raw or zstd (default: zstd if DEST ends in .zst, else raw)"}
}

func exportImage(c *call) error {
	name := c.arg(0)
	return c.export(exported{Image: name, Dest: c.arg(1)}, func(client *v1.Client, start startFunc) (int64, error) {
		return client.ExportImage(c.ctx, name, start)
	})
}

// startFunc returns the sink for a disk of a size.
type startFunc = func(size int64) (v1.Sink, error)

// export writes the disk that read reads to out's destination.
func (c *call) export(out exported, read func(*v1.Client, startFunc) (int64, error)) error {
	name, dest := out.Image+out.Snapshot, out.Dest // one of them is set
	format, err := exportFormat(c.String("format"), dest)
	if err != nil {
		return err
	}
	return c.with(false, func(client *v1.Client) error {
		m := newMeter(c.err, "export "+name)
		e := exporting{call: c, meter: m, compress: format == "zstd", read: func(start startFunc) (int64, error) { return read(client, start) }}
		size, err := e.to(dest)
		m.done()
		if err != nil || dest == "-" {
			return err
		}
		out.Format, out.Size = format, size
		return c.print(out, func(w io.Writer) {
			fmt.Fprintf(w, "exported %s to %s: %s, %s\n", name, dest, format, humanSize(size))
		})
	})
}

func exportFormat(format, dest string) (string, error) {
	switch {
	case format == "raw", format == "zstd":
		return format, nil
	case format != "":
		return "", usagef("--format %q: there are raw and zstd", format)
	case strings.HasSuffix(dest, ".zst"):
		return "zstd", nil
	}
	return "raw", nil
}

type exporting struct {
	*call
	meter    *meter
	compress bool
	read     func(startFunc) (int64, error)
}

// to writes the disk to dest: a regular file appears when it is complete, or
// never; a device or pipe is written in place.
func (e exporting) to(dest string) (int64, error) {
	if dest == "-" {
		return e.write(e.out, false)
	}
	fi, err := os.Stat(dest)
	switch {
	case err == nil && fi.IsDir():
		return 0, usagef("%s: %s is a directory; name a file in it", commandName(e.Context), dest)
	case err == nil && !fi.Mode().IsRegular():
		return e.inPlace(dest)
	}
	return e.toFile(dest)
}

// destError names dest in an error of this side, and says what to do.
func destError(dest string, err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	default:
		return err // the daemon's, or a signal
	}
	cure := ""
	switch {
	case errors.Is(err, fs.ErrPermission):
		cure = "Name a file in a directory that you may write to, or run it as a user who may."
	case errors.Is(err, fs.ErrNotExist):
		cure = "Make its directory first."
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		cure = "Free some space there, choose another place, or compress: --format zstd."
	case errors.Is(err, unix.EBUSY):
		cure = "It is in use on this host, such as mounted: unmount it first."
	}
	return &cured{err: fmt.Errorf("cannot write %s: %w", dest, err), cure: cure}
}

func (e exporting) inPlace(dest string) (size int64, err error) {
	defer func() { err = destError(dest, err) }()
	flag := os.O_WRONLY
	if fi, err := os.Stat(dest); err == nil && fi.Mode().Type() == os.ModeDevice {
		flag |= os.O_EXCL // refuses a disk that is mounted
	}
	f, err := os.OpenFile(dest, flag, 0)
	if err != nil {
		return 0, err
	}
	size, err = e.write(f, false)
	if err == nil {
		if err = f.Sync(); errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
			err = nil // a pipe or terminal
		}
	}
	return size, errors.Join(err, f.Close())
}

func (e exporting) toFile(dest string) (size int64, err error) {
	defer func() { err = destError(dest, err) }()
	err = wholeFile(dest, func(f *os.File) error {
		size, err = e.write(f, true)
		return err
	})
	return size, err
}

// wholeFile has write fill a file that stands at dest once it is complete and
// durable, and not before.
func wholeFile(dest string, write func(f *os.File) error) error {
	// A name that nobody can have put there before; only ours until it is done.
	f, err := os.CreateTemp(filepath.Dir(dest), "."+filepath.Base(dest)+".partial-*")
	if err != nil {
		return err
	}
	partial := f.Name()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = f.Chmod(exportMode(dest))
	}
	if err == nil {
		err = os.Rename(partial, dest)
	}
	if err != nil {
		err = errors.Join(err, os.Remove(partial))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dest))
}

// exportMode is the mode of the file that dest replaces, else the usual one.
func exportMode(dest string) os.FileMode {
	if fi, err := os.Stat(dest); err == nil {
		return fi.Mode().Perm()
	}
	mask := unix.Umask(0)
	unix.Umask(mask)
	return 0o666 &^ os.FileMode(mask)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// write passes the disk to w; with holes, w is an empty regular file.
func (e exporting) write(w io.Writer, holes bool) (int64, error) {
	if e.compress {
		return e.writeCompressed(w)
	}
	var sink v1.Sink
	size, err := e.read(func(size int64) (v1.Sink, error) {
		if f, ok := w.(*os.File); ok && holes {
			sink = &holeSink{f: f}
			return e.counted(sink, size), f.Truncate(size)
		}
		sink = v1.NewFlatSink(w)
		return e.counted(sink, size), nil
	})
	return size, err
}

// writeCompressed compresses on this side: the daemon has volumes to serve.
func (e exporting) writeCompressed(w io.Writer) (size int64, err error) {
	buffered := bufio.NewWriterSize(w, 1<<20)
	z := &zstdSink{w: buffered}
	size, err = e.read(func(size int64) (v1.Sink, error) {
		return e.counted(z, size), z.start(size)
	})
	if err = z.end(err); err != nil {
		return size, err
	}
	return size, buffered.Flush()
}
