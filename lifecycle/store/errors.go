package store

import (
	"errors"
	"fmt"
)

// Causes that callers tell apart with errors.Is, beside model.ErrInvalid. The
// message of the error that wraps one says what, why and what to do.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already taken")     // a claim or a URI
	ErrStale    = errors.New("changed meanwhile") // the eTag is not the present one
	ErrInUse    = errors.New("in use")            // referenced by others
	ErrFormat   = errors.New("unknown format")    // store of a newer version
	ErrCorrupt  = errors.New("damaged")
	ErrFailed   = errors.New("failed") // the disk did; until the store is opened again
	ErrClosed   = errors.New("closed")
)

// fault pairs a message for people with its cause for errors.Is.
type fault struct {
	text  string
	cause error
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.cause }

func errf(cause error, format string, args ...any) error {
	return &fault{fmt.Sprintf(format, args...), cause}
}
