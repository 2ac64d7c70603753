package nbd

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What doc/proto.md says that a server must do, in the handshake; the table in
// docs/nbd.md says which test has what.

func TestGreetingFlags(t *testing.T) {
	_, path := serveMem(t)
	w := dialWire(t, path)
	greeting := w.read(greetingSize)
	require.Equal(t, []byte("NBDMAGICIHAVEOPT"), greeting[:16])
	require.Equal(t, uint16(3), be.Uint16(greeting[16:]), "FIXED_NEWSTYLE and NO_ZEROES, and no other")
}

func TestListNamesEachExportOnce(t *testing.T) {
	_, path := serveMem(t)
	w := greeted(t, path, 3)
	w.option(optList, nil)
	seen := map[string]string{}
	for {
		kind, p := w.optReply(optList)
		if kind == repAck {
			require.Empty(t, p)
			break
		}
		require.EqualValues(t, repServer, kind)
		n := be.Uint32(p)
		name := string(p[4 : 4+n])
		require.NotContains(t, seen, name)
		seen[name] = string(p[4+n:])
	}
	require.Equal(t, map[string]string{"disk": "disk disk", "other": "disk other"}, seen)
}

// INFO and GO tell size and flags before their ACK, whatever was asked for, and
// an ACK comes with nothing before it in no case.
func TestGoAlwaysTellsTheExport(t *testing.T) {
	_, path := serveMem(t)
	for _, asked := range [][]uint16{nil, {infoExport}, {infoBlockSize}, {infoName, infoDescription, 77}, {infoExport, infoExport}} {
		w := greeted(t, path, 3)
		for _, option := range []uint32{optInfo, optGo} {
			w.option(option, goData("disk", asked...))
			told := 0
			for kind, p := w.optReply(option); kind != repAck; kind, p = w.optReply(option) {
				require.EqualValues(t, repInfo, kind)
				if be.Uint16(p) == infoExport {
					require.Len(t, p, 12)
					told++
				}
			}
			require.Equal(t, 1, told, "%v", asked)
		}
	}
}

// The 124 zeroes belong to EXPORT_NAME alone.
func TestNoPaddingAfterGo(t *testing.T) {
	_, path := serveMem(t)
	for _, flags := range []uint32{0, flagFixedNewstyle, flagFixedNewstyle | flagNoZeroes} {
		w := greeted(t, path, flags)
		w.option(optGo, goData("disk"))
		w.expect(optGo, repInfo, repAck)
		w.send(requestBytes(cmdFlush, 0, 42, 0, 0))
		require.Zero(t, w.simple(42))
	}
}

// described is an exportMap that can describe.
type described struct {
	exportMap
	text string
	err  error
}

func (d described) Describe(context.Context, string) (string, error) { return d.text, d.err }

func TestDescription(t *testing.T) {
	for _, k := range []struct {
		name  string
		text  string
		err   error
		given bool
	}{
		{"there", "OS volume from debian", nil, true},
		{"none", "", nil, false},
		{"long", strings.Repeat("x", maxString+1), nil, false},
		{"not UTF-8", "\xff", nil, false},
		{"unknown", "", syscall.EIO, false},
	} {
		t.Run(k.name, func(t *testing.T) {
			_, path, _ := startServer(t, described{exportMap{"disk": newMemDevice(4096)}, k.text, k.err}, Options{})
			w := greeted(t, path, 3)
			w.option(optGo, goData("disk", infoDescription))
			w.expect(optGo, repInfo)
			if k.given {
				p := w.expect(optGo, repInfo)
				require.Equal(t, uint16(infoDescription), be.Uint16(p))
				require.Equal(t, k.text, string(p[2:]))
			}
			w.expect(optGo, repAck)
		})
	}
}

// oddList has names and descriptions that must not be on the wire.
type oddList struct{ exportMap }

func (oddList) List(context.Context) ([]ExportInfo, error) {
	long := strings.Repeat("x", maxString+1)
	return []ExportInfo{{Name: "a\x00b"}, {Name: "\xff"}, {Name: long}, {Name: "good", Description: long}, {Name: "fine", Description: "\xff"}}, nil
}

func TestStringsOnTheWire(t *testing.T) {
	_, path, _ := startServer(t, oddList{exportMap{}}, Options{})
	w := greeted(t, path, 3)
	w.option(optList, nil)
	for _, name := range []string{"good", "fine"} {
		require.Equal(t, string(appendString(nil, name)), string(w.expect(optList, repServer)))
	}
	w.expect(optList, repAck)
}

// After DISC the server closes TLS, which tells the end from a cut, then TCP.
func TestDisconnectClosesTLSFirst(t *testing.T) {
	conf, pool, _ := testCerts(t)
	s := NewServer(exportMap{"disk": newMemDevice(4096)}, Options{})
	w := greetedTCP(t, serveListener(t, s, ListenerOptions{TLS: conf}), 3)
	w = w.upgrade(&tls.Config{RootCAs: pool, ServerName: "localhost"})
	w.option(optGo, goData("disk"))
	w.expect(optGo, repInfo, repAck)
	w.send(requestBytes(cmdRead, 0, 1, 0, 512), requestBytes(cmdDisc, 0, 2, 0, 0))
	require.Zero(t, w.simple(1))
	w.read(512)
	var b [1]byte
	_, err := w.Read(b[:])
	require.ErrorIs(t, err, io.EOF) // without close_notify: unexpected EOF
}

// A small reply must not wait for the client's acknowledgement of another.
func TestSocketOptions(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer client.Close()
	nc, err := l.Accept()
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.(*net.TCPConn).SetNoDelay(false)) // Go's default
	setSocketOptions(nc)
	raw, err := nc.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	for _, o := range [][3]int{{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds())}} {
		require.NoError(t, raw.Control(func(fd uintptr) {
			got, err := unix.GetsockoptInt(int(fd), o[0], o[1])
			require.NoError(t, err)
			require.Equal(t, o[2], got)
		}))
	}
}
