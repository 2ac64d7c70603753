package blockstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// A store that is open for reading only serves what can still be read, and
// changes nothing below its directory: neither is anything written, nor does
// anything run in the background. It is for one that is damaged, or on a disk
// that is full or mounted read-only.
//
//   - Records that are damaged, or name what does not exist, are passed over, and
//     so are the disks that they are of; the log names them. Metadata that lost
//     its tail is read as far as it goes.
//   - A volume that was not closed reads as its intent ring proves; that is kept
//     in memory only.
//   - The lock is shared with others that read only, and keeps those out that
//     write.
//
// That nothing changes is seen to here, beneath everything else.

// openReadOnly is open for a store that is not to be changed.
func (s *Store) openReadOnly() error {
	s.space = newSpace(s.fs, s.dir, &s.o)
	if !s.exists() {
		return errf(ErrNotFound, "there is no store in %s", s.dir)
	}
	if err := prepare(s); err != nil {
		return err
	}
	if _, err := s.fs.ReadFile(filepath.Join(s.dir, "restoring")); err == nil {
		return errf(ErrCorrupt, "a restore of the metadata in %s was cut off: open the store for writing once, which finishes it", s.dir)
	}
	o := s.pebbleOptions()
	o.ReadOnly = true
	// Without a listener Pebble ends the process on a damaged table, which here
	// is what the read that found it returns.
	o.EventListener = &pebble.EventListener{DataCorruption: func(d pebble.DataCorruptionInfo) {
		s.o.Logger.Error("the metadata is damaged; what stands there cannot be read", "damage", d.String())
	}}
	var err error
	if s.db, err = pebble.Open(s.metaDir(), o); err != nil {
		return explainOpen(s.metaDir(), err)
	}
	if s.sequence, err = s.storedSequence(); err != nil && !s.tolerate(err) {
		return err
	}
	if want, err := (&offline{s}).witnessed(); err != nil || s.sequence < want {
		s.o.Logger.Warn("metadata lost its tail: what was made or written last is not seen", "commit", s.sequence, "durable", want, "err", err)
	}
	s.openCaches()
	refusal := errf(ErrReadOnly, "the store in %s is open for reading only: nothing of it can be changed", s.dir)
	s.bad.Store(&refusal)
	if s.cat, err = loadCatalogue(s); err != nil {
		return err
	}
	s.startBackground()
	return nil
}

// Changeable returns why the store takes no changes, if so.
func (s *Store) Changeable() error { return s.usable() }

// tolerate tells that a damaged record may be passed over, and logs it.
func (s *Store) tolerate(err error) bool {
	if !s.o.ReadOnly || !errors.Is(err, ErrCorrupt) {
		return false
	}
	s.o.Logger.Warn("passed over: "+err.Error(), "dir", s.dir)
	return true
}

// dropOrphans takes out the lineages whose parents are damaged or gone, and
// those that stand on them: what is not their own would read as zero.
func (c *catalogue) dropOrphans() {
	for again := true; again; {
		again = false
		for id, l := range c.mu.lineages {
			if l.rec.Parent == 0 {
				continue
			}
			p := c.mu.lineages[l.rec.Parent]
			if p != nil && p.at(l.rec.ParentVersion) != nil {
				continue
			}
			c.s.o.Logger.Warn("passed over: a lineage has lost its parent", "lineage", fmt.Sprintf("%016x", id))
			delete(c.mu.lineages, id)
			again = true
		}
	}
}

// readRing takes what a volume's ring proves into the maps in memory.
func (v *volume) readRing(seq uint64, entries []intent) error {
	t := v.top.Load()
	pins, err := t.layer.pinAll()
	if err != nil {
		return err
	}
	d, _, err := v.replay(entries, seq, pins, func(e intent, i int) (bool, error) { return e.holds(pins, i) })
	if err != nil {
		return fmt.Errorf("volume %q cannot be read as its intent ring has it: %w", v.entry.name, err)
	}
	releasePins(d.pins)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.taken = d.regions
	return nil
}

// readOnlyFS refuses every change of the host's file system.
type readOnlyFS struct{ hostFS }

func readOnlyFault(op, path string) error { return &os.PathError{Op: op, Path: path, Err: unix.EROFS} }

func (fs readOnlyFS) Create(path string) (file, error) { return nil, readOnlyFault("create", path) }

// Open presents a data file that is written to and of which a power loss left
// nothing but the name as what it would be made: a hole of full length.
func (fs readOnlyFS) Open(path string, write bool) (file, error) {
	f, err := fs.hostFS.Open(path, false)
	if err != nil {
		return nil, err
	}
	if !write {
		return readOnlyFile{f, path}, nil
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if size == 0 {
		return emptyFile{readOnlyFile{f, path}}, nil
	}
	return readOnlyFile{f, path}, nil
}

func (fs readOnlyFS) Map(path string, _ int) (mapping, error) { return nil, readOnlyFault("map", path) }

func (fs readOnlyFS) MapExisting(path string, size int) (mapping, error) {
	b, err := fs.hostFS.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < size {
		return nil, errf(ErrCorrupt, "%s has %d bytes instead of %d", path, len(b), size)
	}
	return copiedFile(b[:size]), nil
}

func (fs readOnlyFS) Mkdir(path string) error     { return readOnlyFault("mkdir", path) }
func (fs readOnlyFS) SyncDir(path string) error   { return readOnlyFault("sync", path) }
func (fs readOnlyFS) Remove(path string) error    { return readOnlyFault("remove", path) }
func (fs readOnlyFS) RemoveAll(path string) error { return readOnlyFault("remove", path) }
func (fs readOnlyFS) Rename(from, _ string) error { return readOnlyFault("rename", from) }
func (fs readOnlyFS) Pebble() vfs.FS              { return readOnlyVFS{fs.hostFS.Pebble()} }
func (fs readOnlyFS) Lock(path string, _ []byte) (io.Closer, []byte, error) {
	return fs.hostFS.LockShared(path)
}

// copiedFile is a mapping of a file that is in memory only.
type copiedFile []byte

func (c copiedFile) Bytes() []byte { return c }
func (c copiedFile) Sync() error   { return nil }
func (c copiedFile) Close() error  { return nil }

type readOnlyFile struct {
	file
	path string
}

func (f readOnlyFile) WriteAt([]byte, int64) error       { return readOnlyFault("write", f.path) }
func (f readOnlyFile) Punch(int64, int64) error          { return readOnlyFault("punch hole", f.path) }
func (f readOnlyFile) Truncate(int64) error              { return readOnlyFault("truncate", f.path) }
func (f readOnlyFile) Datasync() error                   { return readOnlyFault("fdatasync", f.path) }
func (f readOnlyFile) StartWriteback(int64, int64) error { return readOnlyFault("write", f.path) }

// emptyFile is a file of length zero that reads as one of full length.
type emptyFile struct{ readOnlyFile }

func (emptyFile) Size() (int64, error) { return segmentSize, nil }

func (emptyFile) ReadAt(p []byte, _ int64) error {
	clear(p)
	return nil
}

func (emptyFile) TryReadAt(p []byte, _ int64) bool {
	clear(p)
	return true
}

// readOnlyVFS is readOnlyFS for Pebble, which has a lock of its own that it
// would make or write.
type readOnlyVFS struct{ vfs.FS }

func (fs readOnlyVFS) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (fs readOnlyVFS) Create(path string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, readOnlyFault("create", path)
}

func (fs readOnlyVFS) OpenReadWrite(path string, _ vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	return nil, readOnlyFault("open", path)
}

func (fs readOnlyVFS) ReuseForWrite(_, path string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, readOnlyFault("open", path)
}

func (fs readOnlyVFS) Link(_, path string) error                 { return readOnlyFault("link", path) }
func (fs readOnlyVFS) Remove(path string) error                  { return readOnlyFault("remove", path) }
func (fs readOnlyVFS) RemoveAll(path string) error               { return readOnlyFault("remove", path) }
func (fs readOnlyVFS) Rename(path, _ string) error               { return readOnlyFault("rename", path) }
func (fs readOnlyVFS) MkdirAll(path string, _ os.FileMode) error { return readOnlyFault("mkdir", path) }
