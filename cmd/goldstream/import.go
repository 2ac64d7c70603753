package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

func importImage(c *call) error {
	if err := blockstore.CheckName("a golden image", c.arg(0)); err != nil {
		return err
	}
	r, err := c.openSource(c.arg(1))
	if err != nil {
		return err
	}
	if f, ok := r.(*os.File); ok && r != c.in {
		defer f.Close()
	}
	return c.with(true, func(client *v1.Client) error {
		m := newMeter(c.err, "import "+c.arg(0))
		i := importing{call: c, client: client, progress: m.show}
		info, err := i.from(r)
		m.done()
		if err != nil {
			return err
		}
		return c.printImage(info)
	})
}

// openSource opens what is imported: here and not in the daemon, for which the
// same path may be another file.
func (c *call) openSource(source string) (io.Reader, error) {
	if source == "-" {
		return c.in, nil
	}
	if fi, err := os.Stat(source); err == nil && fi.IsDir() {
		return nil, usagef("%s is a directory; name the disk image in it", source)
	}
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() { // waits for the writer of a pipe
		f, err := os.Open(source)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		if errors.Is(o.err, fs.ErrPermission) {
			o.err = &cured{err: o.err, cure: "Run it as a user who may read it, or pipe it in with - as the source."}
		}
		if o.err != nil {
			return nil, o.err
		}
		return o.f, nil
	case <-c.ctx.Done():
		return nil, c.ctx.Err() // what waits ends with the process
	}
}

type importing struct {
	*call
	client   *v1.Client
	progress v1.ProgressFunc
}

// from has the daemon read the file by itself where it sees the same one, and
// otherwise sends the content.
func (i importing) from(r io.Reader) (blockstore.ImageInfo, error) {
	f, ok := r.(*os.File)
	if !ok || r == i.in {
		return i.stream(r)
	}
	file, ok, err := hostFile(f)
	if err != nil {
		return blockstore.ImageInfo{}, err
	}
	if !ok {
		return i.stream(f)
	}
	req := v1.ImportRequest{HostFile: file, Owner: i.String("owner")}
	info, err := i.client.ImportFile(i.ctx, i.arg(0), req, i.progress, i.requestID())
	if errors.Is(err, fs.ErrPermission) {
		return i.stream(f) // it sees another file there, or may not read it
	}
	return info, err
}

// hostFile says which file f is; ok is false for what only this process has.
func hostFile(f *os.File) (file v1.HostFile, ok bool, err error) {
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() && fi.Mode().Type() != os.ModeDevice {
		return file, false, err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return file, false, nil
	}
	path, err := filepath.Abs(f.Name())
	return v1.HostFile{Path: path, Device: st.Dev, Inode: st.Ino}, err == nil, err
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
