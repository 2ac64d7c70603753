package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func importImage(c *call) error {
	source := c.arg(1)
	if source != "-" {
		if _, err := os.Stat(source); err != nil {
			return err
		}
	}
	return c.with(true, func(client *v1.Client) error {
		m := newMeter(c.err, "import "+c.arg(0))
		i := importing{call: c, client: client, progress: m.show}
		info, err := i.from(source)
		m.done()
		if err != nil {
			return err
		}
		return c.printImage(info)
	})
}

type importing struct {
	*call
	client   *v1.Client
	progress v1.ProgressFunc
}

func (i importing) from(source string) (blockstore.ImageInfo, error) {
	if source == "-" {
		return i.stream(i.in)
	}
	path, err := filepath.Abs(source)
	if err != nil {
		return blockstore.ImageInfo{}, err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return blockstore.ImageInfo{}, err
	}
	if !fi.Mode().IsRegular() && fi.Mode().Type() != os.ModeDevice {
		return i.file(path) // a pipe: only this process has it
	}
	req := v1.ImportRequest{Path: path, Owner: i.String("owner")}
	info, err := i.client.ImportFile(i.ctx, i.arg(0), req, i.progress, i.requestID())
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, blockstore.ErrNotFound) {
		// The daemon may not read it, or sees another file system (a service
		// with a /tmp of its own); we may.
		return i.file(path)
	}
	return info, err
}

func (i importing) file(path string) (blockstore.ImageInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return blockstore.ImageInfo{}, err
	}
	defer f.Close()
	return i.stream(f)
}

func (i importing) stream(r io.Reader) (blockstore.ImageInfo, error) {
	return i.client.ImportStream(i.ctx, i.arg(0), r, remaining(r), i.String("owner"), i.progress, i.requestID())
}

// remaining returns how many bytes r has left if it is a regular file, and
// otherwise -1.
func remaining(r io.Reader) int64 {
	f, ok := r.(*os.File)
	if !ok {
		return -1
	}
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return -1
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return -1
	}
	return max(fi.Size()-at, 0)
}
