package blockstore

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Causes that callers tell apart with errors.Is. The message of the error that
// wraps one says what, why and what to do.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	ErrInUse    = errors.New("in use")
	ErrInvalid  = errors.New("invalid")        // bad name, size, range
	ErrLocked   = errors.New("locked")         // another process owns the store
	ErrFormat   = errors.New("unknown format") // store of a newer version
	ErrCorrupt  = errors.New("damaged")        // store or layer does not add up
	ErrFailed   = errors.New("failed")         // a layer or the store failed for good (fsync error)
	ErrClosed   = errors.New("closed")
	ErrEpoch    = errors.New("old epoch") // the client started before acknowledged writes may have been lost

	// These carry the errno that a disk would give, for errors.As.
	ErrReadOnly error = &diskError{"read-only", unix.EPERM}       // write to an image
	ErrNoSpace  error = &diskError{"no space left", unix.ENOSPC}  // or the reserve was reached
	ErrRange    error = &diskError{"beyond the end", unix.EINVAL} // read or write past the end of the disk
)

// diskError is a cause that has an errno.
type diskError struct {
	msg   string
	errno unix.Errno
}

func (e *diskError) Error() string { return e.msg }
func (e *diskError) Unwrap() error { return e.errno }

// fault pairs a message for people with its cause for errors.Is.
type fault struct {
	cause error
	msg   string
}

func (f *fault) Error() string { return f.msg }
func (f *fault) Unwrap() error { return f.cause }

// errf makes an error whose text is only the message and whose cause is one of
// the sentinels above.
func errf(cause error, format string, args ...any) error {
	return &fault{cause: cause, msg: fmt.Sprintf(format, args...)}
}
