package fuse

import (
	"context"
	"log/slog"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// file is an open dataFile: a part of an open disk.
type file struct {
	calls       *calls
	path        string
	entry       Entry
	disk        Disk
	writable    WritableDisk // the same disk, or nil
	lender      lender       // the same disk, or nil
	start, size int64
	release     func() error
	released    func(*file) // told of the last close
}

// What is logged of a call that failed, and counted by.
const (
	opRead, opWrite, opFlush, opAllocate, opSeek = "read", "write", "fsync", "fallocate", "lseek"
)

var (
	_ gofs.FileReader    = (*file)(nil)
	_ gofs.FileWriter    = (*file)(nil)
	_ gofs.FileLseeker   = (*file)(nil)
	_ gofs.FileFsyncer   = (*file)(nil)
	_ gofs.FileAllocater = (*file)(nil)
	_ gofs.FileReleaser  = (*file)(nil)
)

func (f *file) close() {
	if err := f.release(); err != nil {
		f.calls.log.Warn("a disk of the mount cannot be closed", slog.String("file", f.path), slog.Any("error", err))
	}
}

func (f *file) Release(context.Context) syscall.Errno {
	f.released(f)
	return 0
}

// clip cuts a range to the file.
func (f *file) clip(off, length int64) int64 { return max(0, min(length, f.size-off)) }

// Read ends at the end of the file; beyond it there is nothing to read. Past the page
// cache the kernel asks for that too.
func (f *file) Read(_ context.Context, dest []byte, off int64) (gofuse.ReadResult, syscall.Errno) {
	ctx, end, errno := f.calls.begin()
	if errno != 0 {
		return nil, errno
	}
	dest = dest[:f.clip(off, int64(len(dest)))]
	if f.lender != nil && len(dest) >= minLent {
		if fd, at, release, ok := f.lender.Borrow(ctx, f.start+off, int64(len(dest))); ok {
			return &lent{fd, at, len(dest), func() { release(); end() }}, 0
		}
	}
	defer end()
	if len(dest) == 0 {
		return gofuse.ReadResultData(nil), 0
	}
	if err := f.disk.ReadAt(ctx, dest, f.start+off); err != nil {
		return nil, f.calls.errno(opRead, f.path, err)
	}
	return gofuse.ReadResultData(dest), 0
}

// Write ends at the end of the file; beyond it there is no space, as on a disk.
func (f *file) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if f.writable == nil {
		return 0, syscall.EROFS
	}
	ctx, end, errno := f.calls.begin()
	if errno != 0 {
		return 0, errno
	}
	defer end()
	n := f.clip(off, int64(len(data)))
	if n == 0 && len(data) > 0 {
		return 0, syscall.ENOSPC
	}
	if err := f.writable.WriteAt(ctx, data[:n], f.start+off, false); err != nil {
		return 0, f.calls.errno(opWrite, f.path, err)
	}
	return uint32(n), 0
}

func (f *file) Fsync(_ context.Context, _ uint32) syscall.Errno {
	if f.writable == nil {
		return 0
	}
	ctx, end, errno := f.calls.begin()
	if errno != 0 {
		return errno
	}
	defer end()
	return f.calls.errno(opFlush, f.path, f.writable.Flush(ctx))
}

// Allocate punches and zeroes. Space for blocks that keep what they read as is
// not promised: there is no such call, and tools do without.
func (f *file) Allocate(_ context.Context, off, size uint64, mode uint32) syscall.Errno {
	if f.writable == nil {
		return syscall.EROFS
	}
	hole := mode&unix.FALLOC_FL_PUNCH_HOLE != 0
	if !hole && mode&unix.FALLOC_FL_ZERO_RANGE == 0 {
		return syscall.EOPNOTSUPP
	}
	if off > uint64(f.size) || size > uint64(f.size)-off {
		if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
			return syscall.ENOSPC // the file would grow
		}
		off = min(off, uint64(f.size))
		size = min(size, uint64(f.size)-off)
	}
	ctx, end, errno := f.calls.begin()
	if errno != 0 {
		return errno
	}
	defer end()
	return f.calls.errno(opAllocate, f.path, f.writable.WriteZeroes(ctx, f.start+int64(off), int64(size), !hole, false))
}

// Lseek finds data and holes. Behind the last hole, which may be empty, there is
// the end of the file.
func (f *file) Lseek(_ context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	if whence != unix.SEEK_DATA && whence != unix.SEEK_HOLE {
		return 0, syscall.EINVAL
	}
	if off >= uint64(f.size) {
		return 0, syscall.ENXIO
	}
	ctx, end, errno := f.calls.begin()
	if errno != 0 {
		return 0, errno
	}
	defer end()
	at, found := int64(off), false
	err := f.disk.Extents(ctx, f.start+at, f.size-at, func(length int64, zero, _ bool) bool {
		if found = zero == (whence == unix.SEEK_HOLE); !found {
			at += length
		}
		return !found
	})
	switch {
	case err != nil:
		return 0, f.calls.errno(opSeek, f.path, err)
	case !found && whence == unix.SEEK_DATA:
		return 0, syscall.ENXIO
	}
	return uint64(min(at, f.size)), 0
}
