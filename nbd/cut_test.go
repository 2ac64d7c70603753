package nbd

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Clients that leave in the middle of whatever it is leave nothing behind.

// census counts what connections take of a process.
type census struct {
	goroutines, files int
	heap              int64
}

func takeCensus(t testing.TB) census {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return census{runtime.NumGoroutine(), len(fds), inUse()}
}

// settles requires that the process gets back to what it was. It looks by itself:
// Eventually would do so on goroutines of its own.
func (before census) settles(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		now := takeCensus(t)
		if now.goroutines <= before.goroutines && now.files <= before.files {
			return
		}
		require.True(t, time.Now().Before(end), "%+v became %+v", before, now)
	}
}

// left says what of the server's is still taken.
func (s *Server) left() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("conns %d, handshakes %d, hosts %d, exports %d, bytes %d, slots %d, long slots %d, lists %d", len(s.mu.conns),
		s.mu.handshakes, len(s.mu.hosts), len(s.mu.inUse), s.budget.held(), len(s.slots), len(s.longSlots), len(s.listing))
}

const nothingLeft = "conns 0, handshakes 0, hosts 0, exports 0, bytes 0, slots 0, long slots 0, lists 0"

func (s *Server) leavesNothing(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool { return s.left() == nothingLeft }, 60*time.Second, time.Millisecond, "%s", s.left())
}

// cuts are the ways to end a connection.
var cuts = map[string]func(*net.TCPConn){
	// Only our half: the server answers what it has, and closes.
	"half": func(nc *net.TCPConn) {
		_ = nc.CloseWrite()
		_, _ = io.Copy(io.Discard, nc)
		_ = nc.Close()
	},
	"close": func(nc *net.TCPConn) { _ = nc.Close() },
	"reset": func(nc *net.TCPConn) {
		_ = nc.SetLinger(0)
		_ = nc.Close()
	},
}

// conversations are what a client may say, up to where the cuts begin and after.
func conversations() map[string][2][]byte {
	hello := []byte{0, 0, 0, 3}
	structured := append(bytes.Clone(hello), optionBytes(optStructuredReply, nil)...)
	all := map[string][2][]byte{
		"flags":           {nil, hello},
		"no fixed":        {nil, append([]byte{0, 0, 0, 0}, optionBytes(optExportName, []byte("disk"))...)},
		"TLS":             {hello, optionBytes(optStartTLS, nil)},
		"list meta":       {structured, optionBytes(optListMeta, metaData("disk", "base:", "x:y"))},
		"set meta":        {structured, optionBytes(optSetMeta, metaData("disk", baseAllocation))},
		"oversize option": {hello, optionBytes(99, make([]byte, maxOptionData+1))[:64]},
	}
	for option, data := range map[uint32][]byte{
		optExportName: []byte("disk"), optAbort: nil, optList: nil, 4: []byte("x"), optInfo: goData("disk", 0, 1, 2, 3),
		optGo: goData("disk", 3), optStructuredReply: nil, 11: nil, 77: []byte("unknown"),
	} {
		all[fmt.Sprint("option ", option)] = [2][]byte{hello, optionBytes(option, data)}
	}
	for kind := range uint16(cmdBlockStatus + 3) {
		for _, flags := range []uint16{0, cmdFlagFUA} {
			r := requestBytes(kind, flags, 5, 512, 16)
			if kind == cmdWrite {
				r = append(r, make([]byte, 16)...)
			}
			simple := append(bytes.Clone(hello), optionBytes(optGo, goData("disk"))...)
			chunked := bytes.Join([][]byte{structured, optionBytes(optSetMeta, metaData("disk", baseAllocation)), optionBytes(optGo, goData("disk"))}, nil)
			all[fmt.Sprintf("command %d flags %d", kind, flags)] = [2][]byte{simple, r}
			all[fmt.Sprintf("command %d flags %d structured", kind, flags)] = [2][]byte{chunked, r}
		}
	}
	return all
}

func TestCutAtEveryByte(t *testing.T) {
	conf, pool, _ := testCerts(t)
	before := takeCensus(t)
	for name, d := range map[string]*memDevice{"from memory": newMemDevice(1 << 20), "by workers": {p: make([]byte, 1<<20)}} {
		t.Run(name, func(t *testing.T) {
			s := NewServer(exportMap{"disk": d}, Options{IOWorkers: 2, HandshakeTimeout: time.Hour})
			addr := serveListener(t, s, ListenerOptions{TLS: conf})
			for what, parts := range conversations() {
				for how, cut := range cuts {
					for i := range len(parts[1]) + 1 {
						nc, err := net.Dial("tcp", addr)
						require.NoError(t, err)
						_, err = nc.Write(append(bytes.Clone(parts[0]), parts[1][:i]...))
						require.NoError(t, err, "%s, %s at %d", what, how, i)
						cut(nc.(*net.TCPConn))
					}
				}
			}
			cutTLS(t, addr, &tls.Config{RootCAs: pool, ServerName: "localhost"})
			s.leavesNothing(t)
			require.Positive(t, d.closes.Load())
		})
	}
	before.settles(t)
}

// cutTLS ends connections within the TLS handshake and what comes after it.
func cutTLS(t *testing.T, addr string, conf *tls.Config) {
	for budget := 0; budget < 1500; budget += 1 + budget/40 {
		nc, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		w := &wire{t, nc}
		w.read(greetingSize)
		w.send([]byte{0, 0, 0, 3}, optionBytes(optStartTLS, nil))
		w.expect(optStartTLS, repAck)
		c := tls.Client(&cutConn{nc, budget}, conf)
		if c.Handshake() == nil {
			_, _ = c.Write(optionBytes(optGo, goData("disk")))
			_, _ = c.Write(requestBytes(cmdRead, 0, 1, 0, 512))
		}
		_ = nc.Close()
	}
}

// cutConn closes after so many bytes were written.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p[:min(len(p), c.left)])
	if c.left -= n; err == nil && n < len(p) {
		_ = c.Conn.Close()
		err = io.ErrClosedPipe
	}
	return n, err
}

// Ten thousand clients that came and went, most of them without a word of
// farewell, leave neither goroutines nor descriptors nor memory.
func TestTenThousandConnectionsLeaveNothing(t *testing.T) {
	count := 10_000
	if testing.Short() {
		count = 1_000
	}
	d := newMemDevice(1 << 20)
	s := NewServer(exportMap{"disk": d}, Options{})
	addr := serveListener(t, s, ListenerOptions{})
	visit := func(i int) {
		nc, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		w := &wire{t, nc}
		if i%5 > 0 {
			w.read(greetingSize)
			w.send([]byte{0, 0, 0, 3}, optionBytes(optGo, goData("disk")))
			w.expect(optGo, repInfo, repAck)
		}
		if i%5 > 1 {
			w.send(requestBytes(cmdWrite, 0, 1, 0, 8), make([]byte, 8))
			require.Zero(t, w.simple(1))
			w.send(requestBytes(cmdRead, 0, 2, 0, 4096)) // and does not take the reply
		}
		if i%5 == 4 {
			w.send(requestBytes(cmdDisc, 0, 3, 0, 0))
		}
		_ = nc.Close()
	}
	for i := range 200 { // fill the pools
		visit(i)
	}
	s.leavesNothing(t)
	before := takeCensus(t)
	for i := range count {
		visit(i)
	}
	s.leavesNothing(t)
	before.settles(t)
	grown := takeCensus(t).heap - before.heap
	require.Less(t, grown, int64(4<<20), "bytes more are in use; what a connection keeps would be %d", grown/int64(count))
}
