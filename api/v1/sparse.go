package v1

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// The sparse format: a disk as frames in the order of its bytes.
//
//	offset  size  field
//	0       1     kind
//	1       8     length, big endian
//	9       …     payload of the kinds D and X
//
//	kind  length is              payload
//	D     bytes of data          the data
//	Z     bytes that are zero    -
//	E     bytes of the disk      -          the end; equal to all D and Z
//	X     bytes of payload       JSON Error: the export failed
//
// A stream that ends without E or X was cut short.
const (
	frameData  = 'D'
	frameZero  = 'Z'
	frameEnd   = 'E'
	frameError = 'X'

	frameHeader   = 9
	maxErrorFrame = 64 << 10
)

// Sink takes a disk's bytes in order.
type Sink interface {
	Write(p []byte) (int, error)
	Zero(n int64) error
}

type sparseWriter struct{ w io.Writer }

func (s *sparseWriter) frame(kind byte, length int64) error {
	var h [frameHeader]byte
	h[0] = kind
	binary.BigEndian.PutUint64(h[1:], uint64(length))
	_, err := s.w.Write(h[:])
	return err
}

func (s *sparseWriter) Write(p []byte) (int, error) {
	if err := s.frame(frameData, int64(len(p))); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}

func (s *sparseWriter) Zero(n int64) error { return s.frame(frameZero, n) }

func (s *sparseWriter) end(size int64) error { return s.frame(frameEnd, size) }

func (s *sparseWriter) fail(e *Error) error {
	p, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := s.frame(frameError, int64(len(p))); err != nil {
		return err
	}
	_, err = s.w.Write(p)
	return err
}

// ReadSparse passes a stream of the sparse format on to sink and returns the
// size of the disk. An error that the stream reports is an *Error.
func ReadSparse(r io.Reader, sink Sink) (int64, error) {
	d := sparseReader{r: bufio.NewReaderSize(r, 64<<10), sink: sink, buf: make([]byte, 1<<20)}
	for {
		end, err := d.next()
		if err == io.EOF {
			err = fmt.Errorf("the disk broke off after %d bytes: %w", d.size, io.ErrUnexpectedEOF)
		}
		if end || err != nil {
			return d.size, err
		}
	}
}

type sparseReader struct {
	r    *bufio.Reader
	sink Sink
	buf  []byte
	size int64
}

// next passes one frame on and reports whether it was the last.
func (d *sparseReader) next() (end bool, err error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(d.r, h[:]); err != nil {
		return false, cutShort(err)
	}
	n := int64(binary.BigEndian.Uint64(h[1:]))
	if n < 0 || d.size+n < 0 {
		return false, fmt.Errorf("the disk has a frame of an impossible length")
	}
	switch h[0] {
	case frameData:
		return false, d.data(n)
	case frameZero:
		d.size += n
		return false, d.sink.Zero(n)
	case frameEnd:
		if n != d.size {
			return false, fmt.Errorf("the disk has %d bytes and arrived with %d", n, d.size)
		}
		return true, nil
	case frameError:
		return false, d.failure(n)
	}
	return false, fmt.Errorf("the disk has a frame of an unknown kind %#x", h[0])
}

func (d *sparseReader) data(n int64) error {
	for n > 0 {
		p := d.buf[:min(n, int64(len(d.buf)))]
		if _, err := io.ReadFull(d.r, p); err != nil {
			return cutShort(err)
		}
		if _, err := d.sink.Write(p); err != nil {
			return err
		}
		d.size += int64(len(p))
		n -= int64(len(p))
	}
	return nil
}

func (d *sparseReader) failure(n int64) error {
	if n > maxErrorFrame {
		return fmt.Errorf("the disk has an error frame of %d bytes", n)
	}
	p := make([]byte, n)
	if _, err := io.ReadFull(d.r, p); err != nil {
		return cutShort(err)
	}
	e := new(Error)
	if err := json.Unmarshal(p, e); err != nil {
		return fmt.Errorf("the disk has an error frame that cannot be read: %w", err)
	}
	return e
}

// cutShort makes both ways in which a read can meet the end into io.EOF, which
// ReadSparse gives its message.
func cutShort(err error) error {
	if err == io.ErrUnexpectedEOF {
		return io.EOF
	}
	return err
}
