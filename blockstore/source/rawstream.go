package source

import (
	"errors"
	"fmt"
	"io"

	"goldstream/blockstore"
)

// newRawStream reads a raw disk from a stream. It has a read-ahead goroutine
// like the compressed formats, so that a caller whose context ends is not held
// by a pipe that nobody writes to.
func newRawStream(m *meter, size int64, closer io.Closer) (blockstore.Source, error) {
	if size >= 0 {
		if err := checkSize(formatRaw, size); err != nil {
			return nil, err
		}
	}
	var r io.Reader = m.buf
	if size >= 0 {
		r = &exactReader{r: m.buf, left: size}
	}
	return startPipeline(formatRaw, size, r, m, closer), nil
}

var errTooLong = errors.New("more bytes follow than were announced")

// exactReader fails unless r ends after exactly left bytes.
type exactReader struct {
	r    io.Reader
	left int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, e.atEnd()
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if errors.Is(err, io.EOF) && e.left > 0 {
		return n, fmt.Errorf("%w: %d bytes are missing", io.ErrUnexpectedEOF, e.left)
	}
	return n, err
}

func (e *exactReader) atEnd() error {
	var b [1]byte
	n, err := io.ReadFull(e.r, b[:])
	if n > 0 {
		return errTooLong
	}
	return err
}
