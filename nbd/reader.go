package nbd

import (
	"io"
	"net"
)

// readBufferSize is what one read of the socket may bring: 64 KiB are 2,340
// READ headers, or 15 WRITEs of 4 KiB. Every open connection holds one.
const readBufferSize = 64 << 10

// reader buffers what comes from the peer. Unlike bufio.Reader it lets the
// caller see what is there without a system call, and reads long payloads
// past the buffer.
type reader struct {
	nc   net.Conn
	buf  []byte
	r, w int // buf[r:w] was read and not taken
}

// buffered returns how many bytes can be taken without reading.
func (r *reader) buffered() int { return r.w - r.r }

// fill reads until n bytes are buffered, n <= readBufferSize.
func (r *reader) fill(n int) error {
	if r.buffered() >= n {
		return nil
	}
	copy(r.buf, r.buf[r.r:r.w])
	r.w -= r.r
	r.r = 0
	for r.w < n {
		m, err := r.nc.Read(r.buf[r.w:])
		r.w += m
		if r.w >= n {
			return nil
		}
		if err != nil {
			return midway(err, r.w)
		}
	}
	return nil
}

// midway says that a message was cut when an end of file came inside one.
func midway(err error, got int) error {
	if err == io.EOF && got > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// take returns the next n buffered bytes, valid until the next fill.
func (r *reader) take(n int) []byte {
	b := r.buf[r.r : r.r+n]
	r.r += n
	return b
}

// next fills and takes.
func (r *reader) next(n int) ([]byte, error) {
	if err := r.fill(n); err != nil {
		return nil, err
	}
	return r.take(n), nil
}

// full fills p: first with what is buffered, then straight from the peer.
func (r *reader) full(p []byte) error {
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	if n == len(p) {
		return nil
	}
	_, err := io.ReadFull(r.nc, p[n:])
	return midway(err, 1)
}

// discard reads and forgets n bytes.
func (r *reader) discard(n int64) error {
	for n > 0 {
		if r.buffered() == 0 {
			if err := r.fill(1); err != nil {
				return midway(err, 1)
			}
		}
		step := min(int64(r.buffered()), n)
		r.r += int(step)
		n -= step
	}
	return nil
}
