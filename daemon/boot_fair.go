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
	// ipv6 is how many bits of an IPv6 address count: a host may have all addresses
	// of its /64. 0: all bits, where many hosts of one network connect.
	ipv6 int
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
		if from := l.host(p.Addr()); l.take(from) {
			return &fairConn{Conn: c, leave: sync.OnceFunc(func() { l.give(from) })}, nil
		}
		_ = c.Close()
	}
}

// host is whom an address is counted for.
func (l *fairListener) host(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is6() && l.ipv6 > 0 {
		if p, err := a.WithZone("").Prefix(l.ipv6); err == nil {
			return p.Addr()
		}
	}
	return a
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
