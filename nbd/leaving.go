package nbd

import (
	"context"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// awaitLeaving waits until no connection whose client is gone can change the
// export any more: that client may be the one that opens it now, and sends
// again what such a connection still holds.
func (s *Server) awaitLeaving(ctx context.Context, c *conn, export string) error {
	for _, other := range s.users(export) {
		for other != c && other.leaving() && s.uses(other, export) {
			select {
			case <-other.done:
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

func (s *Server) uses(c *conn, export string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.conns[c] == export
}

// leaving reports whether the peer has shut its side, read by us or not.
func (c *conn) leaving() bool {
	sc, ok := c.nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	gone := true // closed by us
	_ = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		_, _ = unix.Poll(p, 0)
		gone = p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return gone
}
