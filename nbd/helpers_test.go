package nbd

import (
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serveOn has s serve on a Unix socket until the test ends.
func serveOn(t testing.TB, s *Server) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-served, ErrServerClosed)
	})
	return path
}

// startServer serves exports on a Unix socket and on TCP until the test ends.
func startServer(t testing.TB, exports Exports, o Options) (s *Server, unixPath, tcpAddr string) {
	t.Helper()
	s = NewServer(exports, o)
	unixPath = filepath.Join(t.TempDir(), "s")
	served := make(chan error, 2)
	ul, err := net.Listen("unix", unixPath)
	require.NoError(t, err)
	tl, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	for _, l := range []net.Listener{ul, tl} {
		go func() { served <- s.Serve(context.Background(), l) }()
	}
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		for range 2 {
			require.ErrorIs(t, <-served, ErrServerClosed)
		}
	})
	return s, unixPath, tl.Addr().String()
}

// wire is a raw client: it says what a test wants it to say.
type wire struct {
	t testing.TB
	net.Conn
}

// dialWire dials a Unix socket, or a host and port.
func dialWire(t testing.TB, address string) *wire {
	t.Helper()
	network := "tcp"
	if filepath.IsAbs(address) {
		network = "unix"
	}
	nc, err := net.Dial(network, address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	require.NoError(t, nc.SetDeadline(time.Now().Add(20*time.Second)))
	return &wire{t, nc}
}

// greeted has exchanged flags.
func greeted(t testing.TB, path string, flags uint32) *wire {
	t.Helper()
	w := dialWire(t, path)
	b := w.read(greetingSize)
	require.Equal(t, uint64(magicGreeting), be.Uint64(b))
	require.Equal(t, uint64(magicOption), be.Uint64(b[8:]))
	require.Equal(t, uint16(flagFixedNewstyle|flagNoZeroes), be.Uint16(b[16:]))
	w.send(be.AppendUint32(nil, flags))
	return w
}

func (w *wire) send(parts ...[]byte) {
	w.t.Helper()
	for _, p := range parts {
		_, err := w.Write(p)
		require.NoError(w.t, err)
	}
}

func (w *wire) read(n int) []byte {
	w.t.Helper()
	p := make([]byte, n)
	_, err := io.ReadFull(w, p)
	require.NoError(w.t, err)
	return p
}

// closed requires that the server closes without sending more.
func (w *wire) closed() {
	w.t.Helper()
	rest, err := io.ReadAll(w)
	var ne net.Error
	require.False(w.t, errors.As(err, &ne) && ne.Timeout(), "the server did not close")
	require.Empty(w.t, rest)
}

func optionBytes(option uint32, data []byte) []byte {
	p := be.AppendUint64(nil, magicOption)
	p = be.AppendUint32(p, option)
	return append(be.AppendUint32(p, uint32(len(data))), data...)
}

func (w *wire) option(option uint32, data []byte) { w.t.Helper(); w.send(optionBytes(option, data)) }

// optReply reads one option reply.
func (w *wire) optReply(option uint32) (kind uint32, data []byte) {
	w.t.Helper()
	h := w.read(optionReplySize)
	require.Equal(w.t, uint64(magicOptionReply), be.Uint64(h))
	require.Equal(w.t, option, be.Uint32(h[8:]))
	return be.Uint32(h[12:]), w.read(int(be.Uint32(h[16:])))
}

// expect requires the kinds of all replies to an option, in order; error
// replies must have a message.
func (w *wire) expect(option uint32, kinds ...uint32) (last []byte) {
	w.t.Helper()
	for _, want := range kinds {
		var kind uint32
		kind, last = w.optReply(option)
		require.Equal(w.t, want, kind, "option %d: %q", option, last)
		if kind&repErrBit != 0 {
			require.NotEmpty(w.t, last)
		}
	}
	return last
}

func goData(name string, infos ...uint16) []byte {
	p := appendString(nil, name)
	p = be.AppendUint16(p, uint16(len(infos)))
	for _, i := range infos {
		p = be.AppendUint16(p, i)
	}
	return p
}

func metaData(name string, queries ...string) []byte {
	p := appendString(nil, name)
	p = be.AppendUint32(p, uint32(len(queries)))
	for _, q := range queries {
		p = appendString(p, q)
	}
	return p
}

// ready has started transmission on "disk".
func ready(t testing.TB, path string, structured bool) *wire {
	t.Helper()
	w := greeted(t, path, 3)
	if structured {
		w.option(optStructuredReply, nil)
		w.expect(optStructuredReply, repAck)
		w.option(optSetMeta, metaData("disk", baseAllocation))
		w.expect(optSetMeta, repMetaContext, repAck)
	}
	w.option(optGo, goData("disk"))
	w.expect(optGo, repInfo, repAck)
	return w
}

func requestBytes(kind, flags uint16, cookie, offset uint64, length uint32) []byte {
	var p [requestSize]byte
	putRequest(p[:], request{flags: flags, kind: kind, cookie: cookie, offset: offset, length: length})
	return p[:]
}

// simple reads a simple reply's header.
func (w *wire) simple(cookie uint64) (errno uint32) {
	w.t.Helper()
	h := w.read(simpleSize)
	require.Equal(w.t, uint32(magicSimple), be.Uint32(h))
	require.Equal(w.t, cookie, be.Uint64(h[8:]))
	return be.Uint32(h[4:])
}

// chunk reads one chunk.
func (w *wire) chunk(cookie uint64) (flags, kind uint16, payload []byte) {
	w.t.Helper()
	h := w.read(chunkSize)
	require.Equal(w.t, uint32(magicChunk), be.Uint32(h))
	require.Equal(w.t, cookie, be.Uint64(h[8:]))
	return be.Uint16(h[4:]), be.Uint16(h[6:]), w.read(int(be.Uint32(h[16:])))
}

// run runs a client tool, which must be there and succeed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	require.NoError(t, err, "%s %q: %s", name, args, out)
	return string(out)
}

func splitAddr(t testing.TB, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return host, port
}
