package nbd

import "context"

// Device is the disk behind an export. The server calls it from many
// goroutines at once. Offsets and lengths are in bytes and already checked
// against Size; any alignment is allowed.
//
// Errors: an error that wraps a syscall.Errno is mapped by section 2.9 of the
// design (ENOSPC, EPERM, EINVAL …); every other one becomes EIO.
type Device interface {
	Size() int64
	ReadOnly() bool

	ReadAt(ctx context.Context, p []byte, off int64) error

	// TryReadAt fills p only if that needs no waiting: map and data in
	// memory. It reports whether it did; false means nothing is known and
	// ReadAt shall be called on a worker.
	TryReadAt(p []byte, off int64) bool

	// WriteAt has taken the data out of the process when it returns (a kill
	// does not lose it); with fua it is durable.
	WriteAt(ctx context.Context, p []byte, off int64, fua bool) error

	// Flush makes every write, trim and zeroing that returned before durable,
	// whichever connection it came by.
	Flush(ctx context.Context) error

	// Trim may round inward to blocks.
	Trim(ctx context.Context, off, length int64, fua bool) error

	// WriteZeroes makes the range read as zero. With noHole it stays
	// allocated. It is fast (metadata only) unless noHole is set.
	WriteZeroes(ctx context.Context, off, length int64, noHole, fua bool) error

	// Prefetch asks for the range to be in memory soon.
	Prefetch(ctx context.Context, off, length int64) error

	// Extents calls yield with consecutive runs that cover [off, off+length),
	// until yield returns false. Neighbouring runs may be alike.
	Extents(ctx context.Context, off, length int64, yield func(length int64, zero, own bool) bool) error

	// Close ends this connection's use of the device.
	Close() error
}

// ExportInfo is one line of LIST.
type ExportInfo struct {
	Name        string
	Description string
	Size        int64
	ReadOnly    bool
}

// Exports finds devices by export name. Implementations say with
// fs.ErrNotExist that there is none of that name, and with a *Refusal why this
// client may not have it.
type Exports interface {
	Open(ctx context.Context, name string) (Device, error)
	// List returns a list that is the caller's. Names and descriptions that
	// cannot be sent (longer than 4096 bytes, not UTF-8, a zero byte in them)
	// are left out.
	List(ctx context.Context) ([]ExportInfo, error)
}

// Describer is what an Exports may have besides: a line about an export for
// people who look at it (ExportInfo.Description). It is asked when a client
// asks, and never by one that opened its export by a grant.
type Describer interface {
	Describe(ctx context.Context, export string) (string, error)
}
