package nbd

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dialFrom connects to a TCP address from a loopback address of its own.
func dialFrom(t *testing.T, from, to string) *wire {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	nc, err := d.Dial("tcp", to)
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(60*time.Second)))
	return &wire{t, nc}
}

// let requires the greeting.
func (w *wire) let() *wire {
	w.t.Helper()
	w.read(greetingSize)
	return w
}

// One address takes its share; others, and Unix sockets, still get in.
func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	t.Parallel()
	s, path, addr := startServer(t, exportMap{"disk": newMemDevice(512)}, Options{MaxPerAddress: 2})
	first := dialFrom(t, "127.0.0.2", addr).let()
	dialFrom(t, "127.0.0.2", addr).let()
	dialFrom(t, "127.0.0.2", addr).closed()
	dialFrom(t, "127.0.0.3", addr).let()
	for range 3 {
		ready(t, path, false)
	}
	require.Equal(t, 6, s.ActiveConnections())
	require.NoError(t, first.Close())
	require.Eventually(t, func() bool { return s.ActiveConnections() == 5 }, 30*time.Second, time.Millisecond)
	dialFrom(t, "127.0.0.2", addr).let()
}

// Those that are in the handshake for ever keep out no more than their like,
// and only until their deadline.
func TestHandshakesAreBounded(t *testing.T) {
	t.Parallel()
	s, path, _ := startServer(t, exportMap{"disk": newMemDevice(512)}, Options{MaxHandshakes: 2, HandshakeTimeout: time.Hour})
	for range 5 { // done with it: they do not count
		ready(t, path, false)
		require.Eventually(t, func() bool { return s.shakingNow() == 0 }, 30*time.Second, time.Millisecond)
	}
	idle := dialWire(t, path).let()
	dialWire(t, path).let()
	dialWire(t, path).closed()
	require.NoError(t, idle.Close())
	require.Eventually(t, func() bool { return s.ActiveConnections() == 6 }, 30*time.Second, time.Millisecond)
	ready(t, path, false)
}

func (s *Server) shakingNow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.handshakes
}

// What was counted is forgotten with the connections.
func TestCountsOfConnectionsEndAtZero(t *testing.T) {
	t.Parallel()
	s, _, addr := startServer(t, exportMap{"disk": newMemDevice(512)}, Options{})
	for range 20 {
		w := dialFrom(t, "127.0.0.4", addr).let()
		require.NoError(t, w.Close())
	}
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.mu.conns) == 0 && len(s.mu.hosts) == 0 && s.mu.handshakes == 0
	}, 30*time.Second, time.Millisecond)
}
