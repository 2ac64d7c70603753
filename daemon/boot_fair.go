package daemon

import (
	"net"
	"net/netip"
	"sync"
)

// bootOwn is how many connections one address has at once; more are closed. A server
// needs two or three.
const bootOwn = 16

// fairListener leaves no address all of the connections.
type fairListener struct {
	net.Listener
	most int // of one address at once
	mu   sync.Mutex
	own  map[netip.Addr]int
}

func (l *fairListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p, _ := netip.ParseAddrPort(c.RemoteAddr().String())
		if from := p.Addr().Unmap(); l.take(from) {
			return &fairConn{Conn: c, leave: sync.OnceFunc(func() { l.give(from) })}, nil
		}
		_ = c.Close()
	}
}

func (l *fairListener) take(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.own[from] >= l.most {
		return false
	}
	if l.own == nil {
		l.own = map[netip.Addr]int{}
	}
	l.own[from]++
	return true
}

func (l *fairListener) give(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.own[from]--; l.own[from] == 0 {
		delete(l.own, from)
	}
}

type fairConn struct {
	net.Conn
	leave func()
}

func (c *fairConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
