package blockstore

import (
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// simVFS is a simDisk as Pebble sees it.
type simVFS struct{ d *simDisk }

func (fs simVFS) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	var made *simInode
	err := fs.d.at(simCreate, "create", name, func(parent *simInode, base string, in *simInode) error {
		made = newSimFile()
		if in != nil {
			parent.change(dirChange{name: base})
		}
		parent.change(dirChange{name: base, in: made})
		return nil
	})
	return fs.open(name, made, err)
}

func (fs simVFS) open(name string, in *simInode, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &simVFile{simFile: simFile{fs.d, in, name}}, nil
}

func (fs simVFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	var found *simInode
	err := fs.d.existing(simOpen, "open", name, func(in *simInode) error { found = in; return nil })
	return fs.open(name, found, err)
}

func (fs simVFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := fs.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return fs.Create(name, c)
	}
	return f, err
}

func (fs simVFS) OpenDir(name string) (vfs.File, error) { return fs.Open(name) }

func (fs simVFS) Link(from, to string) error {
	var linked *simInode
	if err := fs.d.existing(simRead, "link", from, func(in *simInode) error { linked = in; return nil }); err != nil {
		return err
	}
	return fs.d.at(simCreate, "link", to, func(parent *simInode, base string, in *simInode) error {
		if in != nil {
			return unix.EEXIST
		}
		parent.change(dirChange{name: base, in: linked})
		return nil
	})
}

func (fs simVFS) Remove(name string) error {
	return fs.d.at(simRemove, "remove", name, func(parent *simInode, base string, in *simInode) error {
		switch {
		case in == nil:
			return unix.ENOENT
		case in.dir != nil && len(in.dir.entries) > 0:
			return unix.ENOTEMPTY
		}
		parent.change(dirChange{name: base})
		return nil
	})
}

func (fs simVFS) RemoveAll(name string) error {
	names, err := fs.List(name)
	if err == nil {
		for _, child := range names {
			if err := fs.RemoveAll(path.Join(name, child)); err != nil {
				return err
			}
		}
	}
	if err := fs.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (fs simVFS) Rename(from, to string) error {
	return fs.d.at(simRename, "rename", from, func(parent *simInode, base string, in *simInode) error {
		if in == nil {
			return unix.ENOENT
		}
		if path.Dir(path.Clean(from)) != path.Dir(path.Clean(to)) {
			// It is there at once, and may come back where it was: no file
			// system loses it on the way.
			_, _, dir, err := fs.d.find(path.Dir(path.Clean(to)))
			if err != nil || dir == nil || dir.dir == nil {
				return unix.ENOENT
			}
			dir.dir.entries[path.Base(to)], dir.dir.synced[path.Base(to)] = in, in
			parent.change(dirChange{name: base})
			return nil
		}
		parent.change(dirChange{name: path.Base(to), in: in, from: base})
		return nil
	})
}

func (fs simVFS) ReuseForWrite(from, to string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.Rename(from, to); err != nil {
		return nil, err
	}
	return fs.Open(to)
}

func (fs simVFS) MkdirAll(name string, _ os.FileMode) error { return simFS(fs).Mkdir(name) }

func (fs simVFS) Lock(name string) (io.Closer, error) {
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	fs.d.mu.Lock()
	defer fs.d.mu.Unlock()
	if fs.d.locks[name] {
		return nil, pathError("lock", name, unix.EAGAIN)
	}
	fs.d.locks[name] = true
	return &simLock{f, fs.d, name}, nil
}

type simLock struct {
	vfs.File
	d    *simDisk
	name string
}

func (l *simLock) Close() error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	delete(l.d.locks, l.name)
	return l.File.Close()
}

func (fs simVFS) List(name string) (names []string, err error) {
	err = fs.d.existing(simList, "list", name, func(in *simInode) error {
		if in.dir == nil {
			return unix.ENOTDIR
		}
		names = slices.Sorted(maps.Keys(in.dir.entries))
		return nil
	})
	return names, err
}

func (fs simVFS) Stat(name string) (info vfs.FileInfo, err error) {
	err = fs.d.existing(simRead, "stat", name, func(in *simInode) error {
		info = simInfo{path.Base(name), in.size, in.dir != nil}
		return nil
	})
	return info, err
}

func (simVFS) PathBase(name string) string    { return path.Base(name) }
func (simVFS) PathJoin(elem ...string) string { return path.Join(elem...) }
func (simVFS) PathDir(name string) string     { return path.Dir(name) }
func (simVFS) Unwrap() vfs.FS                 { return nil }

func (simVFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 50, TotalBytes: 1 << 50}, nil
}

// simInfo describes a file.
type simInfo struct {
	name string
	size int64
	dir  bool
}

func (i simInfo) Name() string           { return i.name }
func (i simInfo) Size() int64            { return i.size }
func (i simInfo) IsDir() bool            { return i.dir }
func (i simInfo) ModTime() time.Time     { return time.Time{} }
func (i simInfo) Sys() any               { return nil }
func (i simInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
func (i simInfo) Mode() os.FileMode {
	if i.dir {
		return os.ModeDir | 0o700
	}
	return 0o600
}

// simVFile is a file that Pebble has open. Pebble uses one from one goroutine.
type simVFile struct {
	simFile
	pos int64
}

func (f *simVFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.run(simRead, "read", 1, func(int) {
		n = int(max(0, min(int64(len(p)), f.in.size-off)))
		f.in.read(p[:n], off)
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f *simVFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *simVFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.simFile.WriteAt(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *simVFile) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *simVFile) Sync() error {
	kind := simSync
	if f.in.dir != nil {
		kind = simSyncDir
	}
	return f.run(kind, "fsync", 1, func(int) {
		switch {
		case f.in.dir != nil:
			f.d.syncDir(f.in, f.name)
		case f.d.broken&mutantLogSyncLies != 0 && strings.HasSuffix(f.name, ".log"):
		default:
			f.in.sync()
		}
		if strings.HasSuffix(f.name, ".log") {
			f.d.syncLate()
		}
	})
}

func (f *simVFile) SyncData() error                { return f.Sync() }
func (f *simVFile) SyncTo(int64) (bool, error)     { return false, nil }
func (f *simVFile) Preallocate(int64, int64) error { return nil }
func (f *simVFile) Prefetch(int64, int64) error    { return nil }
func (f *simVFile) Fd() uintptr                    { return vfs.InvalidFd }
func (f *simVFile) Stat() (info vfs.FileInfo, err error) {
	err = f.run(simRead, "stat", 1, func(int) { info = simInfo{path.Base(f.name), f.in.size, f.in.dir != nil} })
	return info, err
}
