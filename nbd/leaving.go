package nbd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A client that thinks its connection dead closes it and sends again, on
// another one, what was not answered. The old copies must not be done after
// that: by then the client may have been told that they are written, and have
// written something newer. So:
//
//   - a modifying request that had to wait, in line or in the socket, is done
//     only if the peer is still there; without DISC the rest is dropped. It
//     gets no answer, as on a connection that broke;
//   - who opens the export first waits for what such a connection has begun.
//
// An end of file after DISC is another matter: what came before DISC is done.
// The reader knows which it is once it has read to the end. While it waits for
// room it cannot get there; a peer that leaves then is taken for gone.

// What is known of the peer, in conn.peer.
const (
	peerThere   int32 = iota
	peerSaidBye       // it sent DISC
	peerGone          // it left without: nothing that modifies is begun any more
)

// errLeft ends transmission at a modifying request of a peer that is gone.
var errLeft = errors.New("the client left without waiting for its writes")

// errStillWriting is what an open fails with that waited too long.
var errStillWriting = errors.New("connections whose client has left are still writing to it")

// errLeftOpening ends an open that nobody waits for any more.
var errLeftOpening = errors.New("the client left while its export was opened")

// awaitLeaving waits until no connection whose client is gone can change the
// export any more: that client may be the one that opens it now, and sends
// again what such a connection still holds.
func (s *Server) awaitLeaving(ctx context.Context, c *conn, export string) error {
	for _, other := range s.users(export) {
		for other != c && other.mayStillModify() && s.uses(other, export) {
			if c.leaving() {
				return errLeftOpening
			}
			other.endStalls()
			select {
			case <-other.done:
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("%w (%s): %w", errStillWriting, other.remote, ctx.Err())
			}
		}
	}
	return nil
}

// mayStillModify reports whether c's peer has left and c may change the export
// yet. The peer of a reader that waits, or of a handshake, is gone from now on.
func (c *conn) mayStillModify() bool {
	if c.peer.Load() == peerThere {
		if !c.leaving() {
			return false
		}
		if c.reading.Load() {
			return true
		}
		c.peer.CompareAndSwap(peerThere, peerGone)
	}
	return c.modifying.Load() > 0
}

func (s *Server) uses(c *conn, export string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.conns[c] == s.o.DiskOf(export)
}

// beginModifying counts a modifying request as begun, unless the peer is gone.
// To count first and look then makes sure that who finds peerGone set and a
// count of zero has seen the last.
func (c *conn) beginModifying() bool {
	c.modifying.Add(1)
	if c.peer.Load() != peerGone {
		return true
	}
	c.modifying.Add(-1)
	return false
}

// mayModify reports whether a modifying job that was in line may be done.
func (c *conn) mayModify() bool {
	for {
		switch c.peer.Load() {
		case peerSaidBye:
			return true
		case peerGone:
			return false
		}
		if !c.leaving() {
			return true
		}
		if c.reading.Load() { // all that came is in the socket: the end is near
			time.Sleep(time.Millisecond)
			continue
		}
		c.peer.CompareAndSwap(peerThere, peerGone)
	}
}

// drop forgets a modifying job that is not to be done.
func (c *conn) drop(j *job) {
	c.free(j.buf, j.cost)
	c.replies.unreserve()
}

// noteEnd records how reading ended.
func (c *conn) noteEnd(reason error) {
	switch {
	case errors.Is(reason, errDisconnect):
		c.peer.CompareAndSwap(peerThere, peerSaidBye)
	case !errors.Is(reason, errDraining):
		c.peer.CompareAndSwap(peerThere, peerGone)
		c.endStalls() // the client sends them again
	}
	c.reading.Store(false)
}

// hangup asks the kernel whether the peer has shut its side. The fields spare
// a call its closure.
type hangup struct {
	raw syscall.RawConn // nil if the connection is no socket
	ask func(fd uintptr)

	mu struct {
		sync.Mutex
		fds  [1]unix.PollFd
		gone bool
	}
}

func (h *hangup) init(raw syscall.RawConn) {
	h.raw = raw
	h.ask = h.pollLocked
}

func (h *hangup) pollLocked(fd uintptr) {
	h.mu.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLRDHUP}
	_, _ = unix.Poll(h.mu.fds[:], 0)
	h.mu.gone = h.mu.fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
}

// leaving reports whether the peer has shut its side, read by us or not.
func (c *conn) leaving() bool {
	h := &c.hangup
	if h.raw == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.gone = true // closed by us: then ask is not called
	_ = h.raw.Control(h.ask)
	return h.mu.gone
}
