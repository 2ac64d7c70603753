package blockstore

import (
	"cmp"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// crashDir is where a store is made on a simulated disk.
const crashDir = "/host/blocks"

// simRing is the usual size of intent rings there: each crash compares them in
// full.
const simRing = 64 << 10

// newHost makes a disk with an empty directory for crashDir to be made in.
func newHost(seed uint64) *simDisk {
	d := newSimDisk(seed)
	_ = simFS{d}.Mkdir("/host")
	d.root.sync()
	return d
}

// simFS is a simDisk as the store sees it.
type simFS struct{ d *simDisk }

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

// at runs an operation on a path.
func (d *simDisk) at(kind simOp, op, name string, fn func(parent *simInode, base string, in *simInode) error) error {
	var err error
	fault := d.do(kind, name, nil, 1, func(int) {
		var parent, in *simInode
		var base string
		if parent, base, in, err = d.find(name); err == nil {
			err = fn(parent, base, in)
		}
	})
	return pathError(op, name, cmp.Or(fault, err))
}

// existing runs an operation on what a path names.
func (d *simDisk) existing(kind simOp, op, name string, fn func(in *simInode) error) error {
	return d.at(kind, op, name, func(_ *simInode, _ string, in *simInode) error {
		if in == nil {
			return unix.ENOENT
		}
		return fn(in)
	})
}

func (fs simFS) Create(name string) (file, error) {
	var made *simInode
	err := fs.d.at(simCreate, "open", name, func(parent *simInode, base string, in *simInode) error {
		if in != nil {
			return unix.EEXIST
		}
		made = newSimFile()
		parent.change(dirChange{name: base, in: made})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &simFile{fs.d, made, name}, nil
}

func (fs simFS) Open(name string, write bool) (file, error) {
	f := &simFile{d: fs.d, name: name}
	err := fs.d.existing(simOpen, "open", name, func(in *simInode) error { f.in = in; return nil })
	if err != nil {
		return nil, err
	}
	if write {
		return f, nil
	}
	return simReadOnly{f}, nil
}

func (fs simFS) OpenDirect(name string) (file, error) { return fs.Open(name, false) }

func (fs simFS) Mkdir(name string) error {
	var err error
	fault := fs.d.do(simMkdir, name, nil, 1, func(int) {
		in := fs.d.root
		for _, part := range strings.Split(strings.Trim(path.Clean(name), "/"), "/") {
			child := in.dir.entries[part]
			if child == nil {
				child = newSimDir()
				child.dir.ordered = strings.HasPrefix(part, "meta") // meta.restoring becomes meta
				in.change(dirChange{name: part, in: child})
			}
			if child.dir == nil {
				err = unix.ENOTDIR
				return
			}
			in = child
		}
	})
	return pathError("mkdir", name, cmp.Or(fault, err))
}

func (fs simFS) SyncDir(name string) error {
	return fs.d.existing(simSyncDir, "fsync", name, func(in *simInode) error {
		fs.d.syncDir(in, name)
		return nil
	})
}

func (d *simDisk) syncDir(in *simInode, name string) {
	if d.broken&mutantDirSyncLies == 0 || !strings.Contains(name, "/layers") {
		in.sync()
	}
}

func (fs simFS) Remove(name string) error { return simVFS(fs).Remove(name) }

func (fs simFS) RemoveAll(name string) error { return simVFS(fs).RemoveAll(name) }

func (fs simFS) Rename(from, to string) error { return simVFS(fs).Rename(from, to) }

func (fs simFS) List(name string) ([]string, error) {
	names, err := simVFS(fs).List(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return names, err
}

func (fs simFS) ReadFile(name string) (b []byte, err error) {
	err = fs.d.existing(simRead, "read", name, func(in *simInode) error {
		for _, m := range in.maps {
			m.absorb()
		}
		b = make([]byte, in.size)
		in.read(b, 0)
		return nil
	})
	return b, err
}

func (simFS) Free(string) (free, total int64, err error) { return 1 << 50, 1 << 50, nil }

func (fs simFS) Lock(name string, _ []byte) (io.Closer, []byte, error) {
	l, err := simVFS(fs).Lock(name)
	if err != nil {
		return nil, nil, ErrLocked
	}
	return l, nil, nil
}

func (fs simFS) LockShared(name string) (io.Closer, []byte, error) { return fs.Lock(name, nil) }

func (fs simFS) Map(name string, size int) (mapping, error) {
	return fs.mapFile(name, size, func(parent *simInode, base string, in *simInode) (*simInode, error) {
		if in == nil {
			in = newSimFile()
			parent.change(dirChange{name: base, in: in})
		}
		if in.size < int64(size) {
			in.resize(int64(size))
		}
		return in, nil
	})
}

func (fs simFS) MapExisting(name string, size int) (mapping, error) {
	return fs.mapFile(name, size, func(_ *simInode, _ string, in *simInode) (*simInode, error) {
		if in == nil {
			return nil, os.ErrNotExist
		}
		if in.size < int64(size) {
			return nil, ErrCorrupt
		}
		return in, nil
	})
}

func (fs simFS) mapFile(name string, size int, find func(parent *simInode, base string, in *simInode) (*simInode, error)) (mapping, error) {
	var m *simMapping
	err := fs.d.at(simMap, "mmap", name, func(parent *simInode, base string, in *simInode) error {
		in, err := find(parent, base, in)
		if err != nil {
			return err
		}
		m = &simMapping{d: fs.d, in: in, b: make([]byte, size)}
		in.read(m.b, 0)
		if fs.d.broken&mutantNoMappings == 0 {
			in.maps = append(in.maps, m)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (fs simFS) Pebble() vfs.FS { return simVFS(fs) }

// simFile is an open file of a layer.
type simFile struct {
	d    *simDisk
	in   *simInode
	name string
}

func (f *simFile) run(kind simOp, op string, parts int, part func(i int)) error {
	return pathError(op, f.name, f.d.do(kind, f.name, f.in, parts, part))
}

func (f *simFile) ReadAt(p []byte, off int64) error {
	var short bool
	err := f.run(simRead, "read", 1, func(int) {
		if short = off+int64(len(p)) > f.in.size; !short {
			f.in.read(p, off)
		}
	})
	if err == nil && short {
		return pathError("read", f.name, io.ErrUnexpectedEOF)
	}
	return err
}

func (f *simFile) TryReadAt(p []byte, off int64) bool { return f.ReadAt(p, off) == nil }

// WriteAt may be cut off by a crash at each border of the file's pages and, as
// the kernel does it, of the pages of memory that p lies in. Those of Pebble's
// writes are left out, which it sums anyhow: they lie elsewhere in each run.
func (f *simFile) WriteAt(p []byte, off int64) error {
	source := off
	if strings.Contains(f.name, "/layers/") {
		source = int64(uintptr(unsafe.Pointer(unsafe.SliceData(p))))
		if f.d.mutant()&mutantOutOfStep != 0 {
			source += 1376
		}
	}
	left := func(at int64) int { return int(simPageSize - at%simPageSize) }
	cuts := []int{0}
	for at := 0; at < len(p); {
		at = min(len(p), at+min(left(off+int64(at)), left(source+int64(at))))
		cuts = append(cuts, at)
	}
	return f.run(simWrite, "write", max(1, len(cuts)-1), func(i int) {
		f.in.writePart(p[cuts[i]:cuts[min(i+1, len(cuts)-1)]], off+int64(cuts[i]), 0)
	})
}

func (f *simFile) Punch(off, length int64) error {
	return f.run(simPunch, "punch hole", 1, func(int) {
		if f.d.broken&mutantLatePunch != 0 {
			f.d.late = append(f.d.late, lateOp{in: f.in, off: off, length: length, due: f.d.ops + f.d.rng.IntN(12)})
			return
		}
		f.in.punch(off, length)
	})
}

func (f *simFile) Truncate(size int64) error {
	return f.run(simTruncate, "truncate", 1, func(int) { f.in.resize(size) })
}

func (f *simFile) Datasync() error {
	return f.run(simSync, "fdatasync", 1, func(int) {
		switch data := strings.Contains(f.name, "/layers/"); {
		case data && f.d.broken&mutantDataSyncLies != 0:
		case data && f.d.broken&mutantDataSyncLate != 0:
			f.d.late = append(f.d.late, lateOp{in: f.in, sync: true})
		default:
			f.in.sync()
		}
	})
}

func (f *simFile) StartWriteback(int64, int64) error { return nil }
func (f *simFile) Prefetch(int64, int64) error       { return nil }

// DropCache lets what a failed sync has left turn into what the disk has.
func (f *simFile) DropCache(int64, int64) error {
	return f.run(simRead, "fadvise", 1, func(int) { f.in.settleLoose(f.d.rng) })
}

func (f *simFile) NextData(off int64) (start, end int64, err error) {
	var found bool
	err = f.run(simRead, "seek", 1, func(int) { start, end, found = f.in.nextData(off) })
	if err == nil && !found {
		return 0, 0, io.EOF
	}
	return start, end, err
}

func (f *simFile) Size() (n int64, err error) {
	err = f.run(simRead, "stat", 1, func(int) { n = f.in.size })
	return n, err
}

func (f *simFile) Allocated() (n int64, err error) {
	err = f.run(simRead, "stat", 1, func(int) { n = f.in.allocated() })
	return n, err
}

func (f *simFile) Close() error { return nil }

// simReadOnly refuses changes.
type simReadOnly struct{ *simFile }

func (f simReadOnly) WriteAt([]byte, int64) error { return pathError("write", f.name, unix.EBADF) }
func (f simReadOnly) Punch(int64, int64) error    { return pathError("punch hole", f.name, unix.EBADF) }
func (f simReadOnly) Truncate(int64) error        { return pathError("truncate", f.name, unix.EINVAL) }
