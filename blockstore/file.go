package blockstore

import (
	"errors"
	"io"
	"os"
	"syscall"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// hostFS is the seam through which the store touches the host: everything
// below a store's directory goes through it, so that a test can put a file
// system beneath that fails or crashes on demand. Paths are absolute.
type hostFS interface {
	Create(path string) (file, error) // O_EXCL, read and write
	Open(path string, write bool) (file, error)
	OpenDirect(path string) (file, error)       // read-only, past the page cache; EINVAL where that cannot be
	Map(path string, size int) (mapping, error) // made if need be, with its room allocated
	// MapExisting maps a file that is there, and takes no room. Errors:
	// os.ErrNotExist, ErrCorrupt (it is shorter than size).
	MapExisting(path string, size int) (mapping, error)
	Mkdir(path string) error // with parents; existing is fine
	SyncDir(path string) error
	Remove(path string) error
	RemoveAll(path string) error // with everything below; missing is fine
	Rename(from, to string) error
	List(path string) ([]string, error) // names; none if the directory does not exist
	ReadFile(path string) ([]byte, error)
	// Free returns what a user that is not root may still take of the file
	// system, and what it may take of an empty one, in bytes.
	Free(path string) (free, total int64, err error)
	// Lock makes the caller the only owner of path until the lock is closed,
	// and writes who that is into the file. If another has it, the error is
	// ErrLocked and held is what that one wrote.
	Lock(path string, who []byte) (l io.Closer, held []byte, err error)
	// LockShared keeps out whoever wants to Lock path until it is closed. It
	// changes nothing. Where there is no such file nobody can, and nothing is locked.
	LockShared(path string) (l io.Closer, held []byte, err error)
	Pebble() vfs.FS
}

// file is a segment of a layer. Offsets and lengths are bytes.
type file interface {
	ReadAt(p []byte, off int64) error // all of p or an error
	// TryReadAt reads all of p if it is in the page cache.
	TryReadAt(p []byte, off int64) bool
	WriteAt(p []byte, off int64) error
	Punch(off, length int64) error
	Truncate(size int64) error
	StartWriteback(off, length int64) error
	Datasync() error
	Prefetch(off, length int64) error
	// DropCache has the kernel forget what it holds of a range in memory and
	// does not have to write; length 0: to the end.
	DropCache(off, length int64) error
	// NextData returns the first run of allocated data at or after off, or
	// io.EOF. It serves to free space and is never taken for the map.
	NextData(off int64) (start, end int64, err error)
	Size() (int64, error)
	Allocated() (int64, error)
	Close() error
}

// mapping is a small shared mapping of a file: what is stored in it outlives
// the process.
type mapping interface {
	Bytes() []byte
	Sync() error
	Close() error
}

// osFS is the real host file system.
type osFS struct{}

func (osFS) Pebble() vfs.FS { return vfs.Default }

func (osFS) Create(path string) (file, error) {
	return openOS(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (osFS) Open(path string, write bool) (file, error) {
	if write {
		return openOS(path, os.O_RDWR)
	}
	return openOS(path, os.O_RDONLY)
}

func (osFS) OpenDirect(path string) (file, error) {
	return openOS(path, os.O_RDONLY|unix.O_DIRECT)
}

func (osFS) Mkdir(path string) error              { return os.MkdirAll(path, 0o700) }
func (osFS) Remove(path string) error             { return os.Remove(path) }
func (osFS) RemoveAll(path string) error          { return os.RemoveAll(path) }
func (osFS) Rename(from, to string) error         { return os.Rename(from, to) }
func (osFS) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

func (osFS) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (osFS) List(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (osFS) Free(path string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := uninterrupted(func() error { return unix.Statfs(path, &st) }); err != nil {
		return 0, 0, os.NewSyscallError("statfs", err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks-st.Bfree+st.Bavail) * st.Bsize, nil
}

func (osFS) Lock(path string, who []byte) (l io.Closer, held []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, err
	}
	if err := uninterrupted(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		held, _ = io.ReadAll(f)
		f.Close()
		return nil, held, ErrLocked
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(who, 0)
	}
	if err != nil && !isFull(err) { // on a full disk it is locked without saying by whom
		f.Close()
		return nil, nil, err
	}
	return osLock{f}, nil, nil
}

func (osFS) LockShared(path string) (l io.Closer, held []byte, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return io.NopCloser(nil), nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if err := uninterrupted(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) }); err != nil {
		held, _ = io.ReadAll(f)
		f.Close()
		return nil, held, ErrLocked
	}
	return f, nil, nil
}

type osLock struct{ f *os.File }

func (l osLock) Close() error { return errors.Join(l.f.Truncate(0), l.f.Close()) }

func (osFS) Map(path string, size int) (mapping, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	// Blocks are allocated now: a store to a hole of a full disk is SIGBUS.
	if err := uninterrupted(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, int64(size)) }); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "fallocate", Path: path, Err: err}
	}
	return mapOS(f, size)
}

func (osFS) MapExisting(path string, size int) (mapping, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && st.Size() < int64(size) {
		err = errf(ErrCorrupt, "%s has %d bytes instead of %d", path, st.Size(), size)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return mapOS(f, size)
}

// mapOS maps a file and takes it over.
func mapOS(f *os.File, size int) (mapping, error) {
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	return &osMapping{f: f, b: b}, nil
}

type osMapping struct {
	f *os.File
	b []byte
}

func (m *osMapping) Bytes() []byte { return m.b }
func (m *osMapping) Sync() error   { return unix.Fdatasync(int(m.f.Fd())) }
func (m *osMapping) Close() error {
	return errors.Join(unix.Munmap(m.b), m.f.Close())
}

// osFile keeps the os.File beside its descriptor: whoever uses fd holds the
// osFile, through a counted handle, until the call has returned.
type osFile struct {
	f  *os.File
	fd int
}

func openOS(path string, flag int) (file, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f, fd: int(f.Fd())}, nil
}

// uninterrupted makes a call again that a signal cut short: the runtime's own
// signals do. Not for fdatasync, of which no failure is ever tried again.
func uninterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func (f *osFile) Fd() uintptr { return uintptr(f.fd) }

func (f *osFile) fault(op string, err error) error {
	return &os.PathError{Op: op, Path: f.f.Name(), Err: err}
}

func (f *osFile) ReadAt(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pread(f.fd, p, off)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return f.fault("read", err)
		case n == 0:
			return f.fault("read", io.ErrUnexpectedEOF)
		}
		if n > 0 {
			p, off = p[n:], off+int64(n)
		}
	}
	return nil
}

// TryReadAt is preadv2(RWF_NOWAIT), Linux 4.14. It cannot block, so it is
// made without telling the scheduler.
func (f *osFile) TryReadAt(p []byte, off int64) bool {
	iov := unix.Iovec{Base: unsafe.SliceData(p), Len: uint64(len(p))}
	n, _, errno := syscall.RawSyscall6(unix.SYS_PREADV2, uintptr(f.fd), uintptr(unsafe.Pointer(&iov)), 1,
		uintptr(off), 0, unix.RWF_NOWAIT)
	if errno == unix.EOPNOTSUPP { // tmpfs: everything is in memory
		return f.ReadAt(p, off) == nil
	}
	return errno == 0 && int(n) == len(p)
}

// maxWrite is the longest write to a file, in bytes. The kernel keeps what one
// call wrote in folios as large as the call (ext4 from Linux 6.16), and then each
// small write, and each sync after it, looks at every block of its folio.
const maxWrite = 64 << 10

func (f *osFile) WriteAt(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(f.fd, p[:min(len(p), maxWrite)], off)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return f.fault("write", err)
		case n == 0:
			return f.fault("write", io.ErrShortWrite)
		}
		if n > 0 {
			p, off = p[n:], off+int64(n)
		}
	}
	return nil
}

func (f *osFile) Punch(off, length int64) error {
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	if err := uninterrupted(func() error { return unix.Fallocate(f.fd, mode, off, length) }); err != nil {
		return f.fault("punch hole", err)
	}
	return nil
}

func (f *osFile) Truncate(size int64) error { return f.f.Truncate(size) }

func (f *osFile) StartWriteback(off, length int64) error {
	err := uninterrupted(func() error { return unix.SyncFileRange(f.fd, off, length, unix.SYNC_FILE_RANGE_WRITE) })
	if err != nil {
		return f.fault("sync_file_range", err)
	}
	return nil
}

func (f *osFile) Datasync() error {
	if err := unix.Fdatasync(f.fd); err != nil {
		return f.fault("fdatasync", err)
	}
	return nil
}

func (f *osFile) Prefetch(off, length int64) error {
	return unix.Fadvise(f.fd, off, length, unix.FADV_WILLNEED)
}

func (f *osFile) DropCache(off, length int64) error {
	if err := unix.Fadvise(f.fd, off, length, unix.FADV_DONTNEED); err != nil {
		return f.fault("fadvise", err)
	}
	return nil
}

func (f *osFile) NextData(off int64) (start, end int64, err error) {
	if start, err = unix.Seek(f.fd, off, unix.SEEK_DATA); err == unix.ENXIO {
		return 0, 0, io.EOF
	} else if err != nil {
		return 0, 0, f.fault("seek", err)
	}
	if end, err = unix.Seek(f.fd, start, unix.SEEK_HOLE); err != nil {
		return 0, 0, f.fault("seek", err)
	}
	return start, end, nil
}

func (f *osFile) Size() (int64, error) {
	st, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (f *osFile) Allocated() (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, f.fault("stat", err)
	}
	return st.Blocks * 512, nil
}

func (f *osFile) Close() error { return f.f.Close() }
