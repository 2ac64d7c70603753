package nbd

import (
	"errors"
	"fmt"
	"net"
)

// Who may connect. One client must not take all connections from the others,
// and those that never get past the handshake not from those that did: a
// server that boots must find room however many strangers knock.
//
// Each refusal closes the connection before the greeting. To a client that
// attaches again by itself that is a server which is not there yet.

var (
	errTooMany       = errors.New("too many connections are open")
	errTooManyStart  = errors.New("too many connections are in the handshake")
	errTooManyOfPeer = errors.New("too many connections from this address are open")
)

// mayConnectLocked says why there is no room for another connection from host,
// "" being a peer without an address.
func (s *Server) mayConnectLocked(host string) error {
	switch {
	case len(s.mu.conns) >= s.o.MaxConnections:
		return errTooMany
	case s.mu.handshakes >= s.o.MaxHandshakes:
		return errTooManyStart
	case host != "" && s.mu.hosts[host] >= s.o.MaxPerAddress:
		return errTooManyOfPeer
	}
	return nil
}

// mayOpen says whether an export, which the caller has opened and counted, may
// have one more connection that writes to it.
func (s *Server) mayOpen(export string) error {
	if s.InUse(export) <= s.o.MaxPerExport {
		return nil
	}
	return &Refusal{fmt.Sprintf("%d connections have the export open, and no more may; the server ends them once their clients are gone", s.o.MaxPerExport)}
}

// enterLocked counts a connection that is let in. It is in the handshake.
func (s *Server) enterLocked(c *conn) {
	s.mu.handshakes++
	c.shaking = true
	if c.host != "" {
		s.mu.hosts[c.host]++
	}
}

// shaken counts that the handshake of a connection is over, however it ended.
func (s *Server) shaken(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shakenLocked(c)
}

func (s *Server) shakenLocked(c *conn) {
	if c.shaking {
		c.shaking = false
		s.mu.handshakes--
	}
}

// leaveLocked forgets a connection.
func (s *Server) leaveLocked(c *conn) {
	s.shakenLocked(c)
	if c.host == "" {
		return
	}
	if s.mu.hosts[c.host]--; s.mu.hosts[c.host] == 0 {
		delete(s.mu.hosts, c.host)
	}
}

// hostOf returns the peer's address without its port, "" on a Unix socket.
func hostOf(nc net.Conn) string {
	a, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	return a.IP.String()
}
