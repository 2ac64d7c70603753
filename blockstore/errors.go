package blockstore

import (
	"errors"
	"fmt"
)

// Causes that callers tell apart with errors.Is. The message of the error that
// wraps one says what, why and what to do.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	ErrInUse    = errors.New("in use")
	ErrInvalid  = errors.New("invalid")        // bad name, size, range
	ErrReadOnly = errors.New("read-only")      // write to an image or a read-only store
	ErrNoSpace  = errors.New("no space left")  // ENOSPC or the reserve was reached
	ErrLocked   = errors.New("locked")         // another process owns the store
	ErrFormat   = errors.New("unknown format") // store of a newer version
	ErrCorrupt  = errors.New("damaged")        // store or layer does not add up
	ErrFailed   = errors.New("failed")         // a layer or the store failed for good (fsync error)
	ErrClosed   = errors.New("closed")
	ErrRange    = errors.New("beyond the end") // read or write past the end of the disk
)

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
