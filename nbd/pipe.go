package nbd

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// A long READ of a disk whose data is in the page cache needs no copy of it:
// its pages go by way of a pipe into the socket (splice(2)). Half of the time
// that the server takes for such a request, and more, is copying.

// Splicer is what a Device may have besides: TrySplice moves a range into a
// pipe, if that needs no waiting. If it does not do so, moved bytes of no worth
// are in the pipe.
type Splicer interface {
	TrySplice(pipe int, length, off int64) (moved int64, ok bool)
}

const (
	// minSplice is the shortest READ, in bytes, that is spliced.
	minSplice = 32 << 10
	// pipeBytes is the size of a pipe: a slot for each page that a READ of
	// maxInline touches.
	pipeBytes = 2 * maxInline
	// maxPipes bounds the pipes of a server. Who finds none copies.
	maxPipes = 32
)

// pipe holds the data of one reply.
type pipe struct {
	r, w int
	held int // bytes in it
	home *pipePool
}

// pipePool has the pipes that nobody uses, and what may still be made.
type pipePool struct {
	free chan *pipe
	left chan struct{} // one for each pipe that may be made
}

func newPipePool() *pipePool {
	p := &pipePool{make(chan *pipe, maxPipes), make(chan struct{}, maxPipes)}
	for range maxPipes {
		p.left <- struct{}{}
	}
	return p
}

// get returns an empty pipe, or nil if there is none.
func (p *pipePool) get() *pipe {
	select {
	case pp := <-p.free:
		return pp
	default:
	}
	select {
	case <-p.left:
	default:
		return nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		p.left <- struct{}{}
		return nil
	}
	made := &pipe{r: fds[0], w: fds[1], home: p}
	if n, err := unix.FcntlInt(uintptr(made.w), unix.F_SETPIPE_SZ, pipeBytes); err != nil || n < pipeBytes {
		made.close() // the user has too many, or the host does not allow it
		return nil
	}
	return made
}

// release gives back a pipe that nobody uses any more; nil is fine. One that
// still holds something is closed.
func (p *pipe) release() {
	if p == nil {
		return
	}
	if p.held > 0 {
		p.close()
		return
	}
	p.home.free <- p
}

func (p *pipe) close() {
	_, _ = unix.Close(p.r), unix.Close(p.w)
	p.home.left <- struct{}{}
}

// close closes the pipes that nobody uses.
func (p *pipePool) close() {
	for {
		select {
		case pp := <-p.free:
			pp.close()
		default:
			return
		}
	}
}

// send moves what the pipe holds into a socket that does not block; more says
// that something else follows.
func (p *pipe) send(socket uintptr, more bool) (int, syscall.Errno) {
	flags := unix.SPLICE_F_MOVE | unix.SPLICE_F_NONBLOCK
	if more {
		flags |= unix.SPLICE_F_MORE
	}
	n, _, errno := syscall.RawSyscall6(unix.SYS_SPLICE, uintptr(p.r), 0, socket, 0, uintptr(p.held), uintptr(flags))
	if errno == 0 && n == 0 {
		return 0, unix.EPIPE // it holds less than it should: nothing may follow
	}
	return int(n), errno
}

// readSpliced answers a long READ without a copy, if it can.
func (c *conn) readSpliced(r request) bool {
	p := c.srv.pipes.get()
	if p == nil {
		return false
	}
	moved, ok := c.splicer.TrySplice(p.w, int64(r.length), int64(r.offset))
	if p.held = int(moved); !ok {
		p.release()
		return false
	}
	head := c.srv.buffers.reply(0)
	c.putReadHeader(head.b, r)
	c.counters.took(sortRead, 1, int64(r.length), c.srv.clock()-c.arrived)
	c.replies.append(segment{buf: head, n: c.readHeader, reqs: 1, pipe: p})
	c.tryFlush()
	return true
}
