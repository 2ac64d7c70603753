package source

import (
	"errors"
	"fmt"

	"goldstream/blockstore"
)

// NeedsConverter says that the input is a disk format which qemu-nbd reads and
// this package does not. Format is the name qemu knows it by. The input was not
// closed; of a stream, up to SniffLen bytes are used up unless it was handed
// over as a *bufio.Reader that can hold them.
type NeedsConverter struct{ Format string }

func (e *NeedsConverter) Error() string {
	return fmt.Sprintf("the input is a %s image, which has to go through a converter (qemu-nbd reads it, from a file)", e.Format)
}

// NeedsFile says that the input's format can be read from a file only. The
// caller may spool the stream to one; see NeedsConverter for what is used up.
type NeedsFile struct{ Format string }

func (e *NeedsFile) Error() string {
	return fmt.Sprintf("the input is a %s archive, whose directory stands at its end: save it to a file and import that", e.Format)
}

// InputError says that an input cannot be imported as it is: it is damaged, cut
// short, or holds something else than one disk. It is a blockstore.ErrInvalid.
type InputError struct {
	Format string // of the input
	Offset int64  // about where in the input, -1 if that says nothing
	What   string // is wrong
	Do     string // about it
	Err    error  // of the decoder or the file, may be nil
}

func (e *InputError) Error() string {
	msg := e.Format + " input: " + e.What
	if e.Offset >= 0 {
		msg += fmt.Sprintf(" at or before byte %d of the input", e.Offset)
	}
	if e.Err != nil {
		msg += fmt.Sprintf(" (%v)", e.Err)
	}
	if e.Do != "" {
		msg += "; " + e.Do
	}
	return msg
}

// Unwrap makes both the class and the cause visible to errors.Is.
func (e *InputError) Unwrap() []error {
	if e.Err == nil {
		return []error{blockstore.ErrInvalid}
	}
	return []error{blockstore.ErrInvalid, e.Err}
}

// errRead marks an error of the input itself (a disk, a network), as opposed to
// what a decoder thinks of the bytes it got.
type errRead struct{ err error }

func (e *errRead) Error() string { return "reading the input: " + e.err.Error() }
func (e *errRead) Unwrap() error { return e.err }

// isRead tells whether err is the input's own failure.
func isRead(err error) bool {
	var r *errRead
	return errors.As(err, &r)
}

const doFetchAgain = "fetch or compress it again and compare its checksum with the publisher's"
