package blockstore

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// metaFS is the file system given to Pebble, on which the disk is never full:
// what fails for want of space is tried again, first with the ballast given
// up, then when there is space. To Pebble a full disk is a slow one. It would
// otherwise end the process, or stand still for good.
//
// A table that is being made takes space itself, and Pebble can begin it
// anew: its writes wait a second only.
//
// Syncs are not tried again. Their error may mean that data which the kernel
// had taken is lost, and a second sync would not tell.
type metaFS struct {
	vfs.FS
	s *Store
}

const tableWait = time.Second

// persist runs fn, which writes to path, until the disk is not full. It gives
// up while the store is being opened, where nobody has to be kept waiting,
// and when the waiting for space has ended, with which the store has too.
func (fs metaFS) persist(path string, fn func() error) error {
	if !fs.s.inMeta(path) { // a checkpoint, which fails and is made later
		return fn()
	}
	sp := fs.s.space
	err := sp.withBallast(fn)
	if !isFull(err) || !fs.s.ready.Load() {
		return err
	}
	if sp.metaWaits.Add(1) == 1 {
		sp.log.Error("disk full and no ballast: flushes and deletes wait until there is space; reads go on", "dir", sp.dir, "err", err)
	}
	defer func() {
		if sp.metaWaits.Add(-1) == 0 {
			sp.log.Info("metadata goes on", "dir", sp.dir)
		}
	}()
	for since := time.Now(); isFull(err) && !(isTable(path) && time.Since(since) > tableWait); err = sp.withBallast(fn) {
		select {
		case <-sp.quit:
			fs.s.giveUp(fmt.Errorf("metadata found no space to the end: %w", err))
			time.Sleep(stallTick) // Pebble tries again at once
			return err
		case <-time.After(stallTick):
		}
	}
	return err
}

func isTable(path string) bool { return strings.HasSuffix(path, ".sst") }

func (fs metaFS) file(path string, open func() (vfs.File, error)) (f vfs.File, err error) {
	err = fs.persist(path, func() error { f, err = open(); return err })
	if err != nil {
		return nil, err
	}
	return metaFile{f, path, fs}, nil
}

func (fs metaFS) Create(path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file(path, func() (vfs.File, error) { return fs.FS.Create(path, c) })
}

func (fs metaFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.file(to, func() (vfs.File, error) { return fs.FS.ReuseForWrite(from, to, c) })
}

func (fs metaFS) OpenReadWrite(path string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return fs.file(path, func() (vfs.File, error) { return fs.FS.OpenReadWrite(path, c, o...) })
}

func (fs metaFS) Link(from, to string) error {
	return fs.persist(to, func() error { return fs.FS.Link(from, to) })
}

func (fs metaFS) Rename(from, to string) error {
	return fs.persist(to, func() error { return fs.FS.Rename(from, to) })
}

func (fs metaFS) Remove(path string) error {
	return fs.persist(path, func() error { return fs.FS.Remove(path) })
}

func (fs metaFS) MkdirAll(path string, mode os.FileMode) error {
	return fs.persist(path, func() error { return fs.FS.MkdirAll(path, mode) })
}

type metaFile struct {
	vfs.File
	path string
	fs   metaFS
}

func (f metaFile) Write(p []byte) (n int, err error) {
	err = f.fs.persist(f.path, func() error {
		m, err := f.File.Write(p[n:])
		n += m
		return err
	})
	return n, err
}

func (f metaFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.fs.persist(f.path, func() error {
		m, err := f.File.WriteAt(p[n:], off+int64(n))
		n += m
		return err
	})
	return n, err
}

// Preallocate reserves room for a log ahead of its writes, which only makes
// them quicker: not where it would use up what the ballast has left.
func (f metaFile) Preallocate(off, n int64) error {
	free, _, l, err := f.fs.s.space.host()
	if err != nil || free < l.reserve {
		return err
	}
	return f.File.Preallocate(off, n)
}
