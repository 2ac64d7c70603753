package nbd

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readBufferSize is what one read of the socket may bring: 64 KiB are 2,340
// READ headers, or 15 WRITEs of 4 KiB. A connection holds one only while there
// is something in it, or to read.
const (
	readBufferSize = 64 << 10
	stubSize       = requestSize
)

var readBuffers = sync.Pool{New: func() any { return new([readBufferSize]byte) }}

// reader buffers what comes from the peer. Unlike bufio.Reader it lets the
// caller see what is there without a system call, reads long payloads past the
// buffer, and has no buffer while it waits with no more than a cut header.
type reader struct {
	nc   net.Conn
	raw  syscall.RawConn // nil if nc is no socket: then the stub is read into first
	buf  *[readBufferSize]byte
	r, w int // buf[r:w] was read and not taken
	// stub has buf[:w] while there is no buf: a cut header would else hold a
	// buffer for as long as the peer likes.
	stub [stubSize]byte

	// The call under way. They are fields so that it needs no closure.
	n        int
	err      error
	readable func(fd uintptr) bool
}

func (r *reader) init(nc net.Conn) {
	r.nc, r.raw = nc, nil
	if s, ok := nc.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			r.raw = raw
		}
	}
	r.readable = r.tryRead
}

// buffered returns how many bytes can be taken without reading.
func (r *reader) buffered() int { return r.w - r.r }

// fill reads until n bytes are buffered, n <= readBufferSize.
func (r *reader) fill(n int) error {
	if r.buffered() >= n {
		return nil
	}
	if r.raw == nil {
		r.release()
	}
	if r.r > 0 {
		r.hold()
		r.w = copy(r.buf[:], r.buf[r.r:r.w])
		r.r = 0
	}
	for r.w < n {
		m, err := r.read()
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

// read reads once, to the end of the buffer.
func (r *reader) read() (int, error) {
	if r.raw == nil {
		if r.buf == nil && r.w < stubSize {
			return r.nc.Read(r.stub[r.w:])
		}
		r.hold()
		return r.nc.Read(r.buf[r.w:])
	}
	r.n, r.err = 0, nil
	if err := r.raw.Read(r.readable); err != nil {
		return 0, err
	}
	return r.n, r.err
}

// tryRead is called by the poller when the socket may have something. It
// returns false to be called again.
func (r *reader) tryRead(fd uintptr) bool {
	r.hold()
	for {
		// It cannot block: the scheduler need not be told.
		p := r.buf[r.w:]
		n, _, errno := syscall.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			r.release()
			return false
		case errno != 0:
			r.err = os.NewSyscallError("read", errno)
		case n == 0:
			r.err = io.EOF
		default:
			r.n = int(n)
		}
		return true
	}
}

// hold sees to it that there is a buffer.
func (r *reader) hold() {
	if r.buf == nil {
		r.buf = readBuffers.Get().(*[readBufferSize]byte)
		copy(r.buf[:r.w], r.stub[:])
	}
}

// release gives the buffer back if what it holds can be kept elsewhere.
func (r *reader) release() {
	if r.buf != nil && r.buffered() <= stubSize {
		r.w = copy(r.stub[:], r.buf[r.r:r.w])
		r.r = 0
		readBuffers.Put(r.buf)
		r.buf = nil
	}
}

// forget throws away what is buffered.
func (r *reader) forget() { r.r = r.w }

// midway says that a message was cut when an end of file came inside one.
func midway(err error, got int) error {
	if err == io.EOF && got > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// take returns the next n buffered bytes, valid until the next fill.
func (r *reader) take(n int) []byte {
	if n == 0 {
		return nil
	}
	r.hold()
	b := r.buf[r.r : r.r+n : r.r+n]
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
	n := 0
	if r.buffered() > 0 {
		n = copy(p, r.take(min(len(p), r.buffered())))
	}
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
