package fuse

import (
	"context"
	"time"
)

// Disk is an open disk. Its methods may be called from many goroutines; Close
// once, after all others returned. Offsets and lengths are in bytes.
//
// An error may carry a syscall.Errno, or fs.ErrNotExist, for errors.As and Is;
// without, the caller sees EIO.
type Disk interface {
	Size() int64
	ReadAt(ctx context.Context, p []byte, off int64) error
	// Extents calls yield with consecutive runs that cover the range; zero runs
	// read as zero and take no room.
	Extents(ctx context.Context, off, length int64, yield func(length int64, zero, own bool) bool) error
	Close() error
}

// WritableDisk is an open disk that can be written.
type WritableDisk interface {
	Disk
	WriteAt(ctx context.Context, p []byte, off int64, fua bool) error
	// WriteZeroes makes a range read as zero; with noHole it stays allocated.
	WriteZeroes(ctx context.Context, off, length int64, noHole, fua bool) error
	// Flush makes every change that returned before durable.
	Flush(ctx context.Context) error
}

// Entry describes one disk of a collection.
type Entry struct {
	Name string // no slash in it, not . or ..
	// ID is never used again for a disk of other content or history.
	ID        string
	Size      int64
	Allocated int64 // bytes that take room; an estimate will do
	Created   time.Time
	Info      any // what info.json tells, as JSON
}

// Collection is a directory of disks.
type Collection interface {
	List(ctx context.Context) ([]Entry, error)
	Entry(ctx context.Context, name string) (Entry, error)
	// Open opens a disk whose content stays as it is now while it is open.
	Open(ctx context.Context, name string) (Disk, error)
	// Peek opens a disk for a glance at its partition table. It may change
	// meanwhile.
	Peek(ctx context.Context, name string) (Disk, error)
	// Sealed says that disks of one ID always read the same.
	Sealed() bool
}
