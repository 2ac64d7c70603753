package nbd

import (
	"errors"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxVector is the most pieces that writev takes at once (UIO_MAXIOV).
const maxVector = 1024

// maxUntold is how many bytes a system call may copy that the scheduler does
// not know of: some 50 us, for which nobody can be stopped.
const maxUntold = 512 << 10

// errWouldBlock says that the peer takes no more for now.
var errWouldBlock = errors.New("nbd: the socket takes no more for now")

// output writes segments to a connection: with writev on a socket, which can
// also be only tried, and with plain writes elsewhere (a pipe in a test, or
// an encrypted connection), where every write waits.
//
// One goroutine at a time uses it. Between a write that ended with
// errWouldBlock and the next, the segments stay the same.
type output struct {
	nc  net.Conn
	raw syscall.RawConn // nil if nc is no socket

	// The call under way. They are fields so that step needs no closure.
	segs    []segment    // not in vec yet
	vec     []unix.Iovec // what is left to write of the segments up to the next pipe
	store   []unix.Iovec // vec's memory
	left    int          // bytes in vec
	last    *segment     // the one that vec ends with, if its pipe follows
	wait    bool
	blocked bool
	written int
	err     error
	step    func(fd uintptr) bool
}

func (o *output) init(nc net.Conn) {
	o.nc = nc
	if s, ok := nc.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			o.raw = raw
		}
	}
	o.step = o.writev
}

// write writes the segments. With wait false it writes what the socket takes
// at once and returns errWouldBlock if something is left.
func (o *output) write(segs []segment, wait bool) (int, error) {
	if o.raw == nil {
		return o.writePlain(segs, wait)
	}
	if len(o.vec) == 0 && o.last == nil {
		o.segs = segs
	}
	o.wait, o.blocked, o.written, o.err = wait, false, 0, nil
	err := o.raw.Write(o.step)
	if err == nil {
		err = o.err
	}
	if err != nil {
		o.unload()
		return o.written, err
	}
	if o.blocked {
		return o.written, errWouldBlock
	}
	o.unload()
	return o.written, nil
}

// load points the vector at segments, up to the first that has a pipe.
func (o *output) load() {
	o.store, o.left = o.store[:0], 0
	for len(o.segs) > 0 && o.last == nil {
		s := &o.segs[0]
		o.segs = o.segs[1:]
		o.left += s.n
		v := unix.Iovec{Base: &s.buf.b[0]}
		v.SetLen(s.n)
		o.store = append(o.store, v)
		if s.pipe != nil {
			o.last = s
		}
	}
	o.vec = o.store
}

// unload forgets the pointers, so that an idle connection holds no buffers.
func (o *output) unload() {
	clear(o.store)
	o.vec, o.segs, o.last = nil, nil, nil
}

// writev is called by the poller each time the socket takes something. It
// returns false to be called again.
func (o *output) writev(fd uintptr) bool {
	for {
		if len(o.vec) == 0 && o.last == nil {
			if len(o.segs) == 0 {
				return true
			}
			o.load()
		}
		n, errno := o.writeOnce(fd)
		switch errno {
		case 0:
			o.written += n
			o.advance(n)
		case unix.EINTR:
		case unix.EAGAIN:
			o.blocked = !o.wait
			return o.blocked
		default:
			o.err = errno
			return true
		}
	}
}

// writeOnce makes the system call: for memory, or, once that is written, for
// the pipe after it. It cannot block, and with little to copy the scheduler is
// not told of it: under load that would take the processor away and have it
// handed back, at the cost of a short write each time.
func (o *output) writeOnce(fd uintptr) (int, syscall.Errno) {
	if len(o.vec) == 0 {
		return o.last.pipe.send(fd, len(o.segs) > 0)
	}
	if o.last != nil { // the header is to travel with the data
		msg := unix.Msghdr{Iov: &o.vec[0]}
		msg.SetIovlen(len(o.vec))
		n, _, errno := syscall.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&msg)), unix.MSG_MORE|unix.MSG_NOSIGNAL)
		return int(n), errno
	}
	if o.left <= maxUntold {
		n, _, errno := syscall.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&o.vec[0])), uintptr(len(o.vec)))
		return int(n), errno
	}
	n, _, errno := syscall.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&o.vec[0])), uintptr(len(o.vec)))
	return int(n), errno
}

// advance drops n written bytes from the vector, or from the pipe.
func (o *output) advance(n int) {
	if len(o.vec) == 0 {
		if o.last.pipe.held -= n; o.last.pipe.held == 0 {
			o.last = nil
		}
		return
	}
	o.left -= n
	for n > 0 {
		v := &o.vec[0]
		if n < int(v.Len) {
			v.Base = (*byte)(unsafe.Add(unsafe.Pointer(v.Base), n))
			v.SetLen(int(v.Len) - n)
			return
		}
		n -= int(v.Len)
		o.vec = o.vec[1:]
	}
}

func (o *output) writePlain(segs []segment, wait bool) (int, error) {
	if !wait {
		return 0, errWouldBlock
	}
	total := 0
	for i := range segs {
		n, err := o.nc.Write(segs[i].buf.b[:segs[i].n])
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
