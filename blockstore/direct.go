package blockstore

import (
	"errors"

	"golang.org/x/sys/unix"
)

// directFiles reads data files past the page cache, so that the disk is looked
// at and not memory, and so that what it reads does not push out what volumes
// need. A file system that refuses O_DIRECT is read through the cache, out of
// which the range goes before and after; then a page that somebody else uses
// may be looked at instead of the disk.
//
// It is used by one goroutine.
type directFiles struct {
	fs   hostFS
	open map[string]directFile
	// cached is set once a file was read through the cache.
	cached bool
}

type directFile struct {
	file
	direct bool
}

// directOpen is how many files stay open.
const directOpen = 16

func newDirectFiles(fs hostFS) *directFiles {
	return &directFiles{fs: fs, open: map[string]directFile{}}
}

// read fills p, which is aligned to blocks like off, from a layer's data.
func (d *directFiles) read(l *layer, p []byte, off int64) error {
	s, at := l.segmentAt(off)
	f, err := d.file(s.path())
	if err != nil {
		return err
	}
	if f.direct {
		// Some file systems take the flag and refuse the read.
		if err := f.ReadAt(p, at); !errors.Is(err, unix.EINVAL) {
			return err
		}
		if f, err = d.reopen(s.path()); err != nil {
			return err
		}
	}
	d.cached = true
	if err := f.DropCache(at, int64(len(p))); err != nil {
		return err
	}
	return errors.Join(f.ReadAt(p, at), f.DropCache(at, int64(len(p))))
}

func (d *directFiles) file(path string) (directFile, error) {
	if f, ok := d.open[path]; ok {
		return f, nil
	}
	if len(d.open) == directOpen {
		d.close()
	}
	f, err := d.fs.OpenDirect(path)
	if errors.Is(err, unix.EINVAL) {
		return d.reopen(path)
	}
	if err != nil {
		return directFile{}, err
	}
	d.open[path] = directFile{f, true}
	return d.open[path], nil
}

// reopen opens a file without O_DIRECT.
func (d *directFiles) reopen(path string) (directFile, error) {
	if f, ok := d.open[path]; ok {
		f.Close()
		delete(d.open, path)
	}
	f, err := d.fs.Open(path, false)
	if err != nil {
		return directFile{}, err
	}
	d.open[path] = directFile{f, false}
	return d.open[path], nil
}

func (d *directFiles) close() {
	for path, f := range d.open {
		f.Close() // only read
		delete(d.open, path)
	}
}
