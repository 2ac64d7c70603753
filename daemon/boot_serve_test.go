package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/nbd"
	"goldstream/netboot"
)

// logged is a log that is read while it is written.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// bootVolume makes the volume "v" that boots the server of a MAC address.
func bootVolume(t *testing.T, d *Daemon, mac string) (key string) {
	t.Helper()
	c := d.Embed()
	defer func() { require.NoError(t, c.Close()) }()
	_, err := d.store.CreateVolume(t.Context(), blockstore.CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	key, err = c.PutBootFiles(t.Context(), bootArchive(t, goodFiles()))
	require.NoError(t, err)
	_, err = c.AssignBoot(t.Context(), "v", v1.BootRequest{MACs: []string{mac}, Files: key})
	require.NoError(t, err)
	return key
}

// TestBootsDoNotHoldTheDrain: a server that takes its kernel slowly leaves NBD all of
// the time to drain.
func TestBootsDoNotHoldTheDrain(t *testing.T) {
	guest := filepath.Join(t.TempDir(), "guest")
	require.NoError(t, os.WriteFile(guest, []byte("guest"), 0o755))
	var log logged
	d, err := Open(t.TempDir(), Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Guest: guest, DrainTimeout: 30 * time.Second})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	key := bootVolume(t, d, "52:54:00:00:00:01")
	// More than sockets buffer.
	require.NoError(t, os.Truncate(d.bootDir(bootFilesDir, key, "kernel"), 256<<20))
	socket := filepath.Join(t.TempDir(), "nbd")
	l, err := ParseListener("unix:" + socket)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- d.Run(ctx, RunConfig{NBD: []Listener{l}, Boot: []string{"127.0.0.1:0"}, Ready: func([]string) { close(ready) }})
	}()
	<-ready
	c, err := nbd.Dial(t.Context(), "unix", socket, "v")
	require.NoError(t, err)
	defer c.Close()
	url := "http://" + regexp.MustCompile(`boot=\[(\S+)\]`).FindStringSubmatch(log.String())[1] + netboot.Prefix
	resp, err := http.Get(url + "script?mac=52:54:00:00:00:01")
	require.NoError(t, err)
	script, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	_, rest, ok := strings.Cut(string(script), "kernel b/")
	require.True(t, ok, "%s", script)
	id, _, _ := strings.Cut(rest, "/")
	resp, err = http.Get(url + "b/" + id + "/kernel")
	require.NoError(t, err)
	defer resp.Body.Close()
	stop()
	require.NoError(t, <-ended)
	require.NotContains(t, log.String(), "NBD connections are cut off")
}

// TestBootConnections: an address has some connections, and others have theirs then.
func TestBootConnections(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &fairListener{Listener: ln, most: bootOwn}
	defer l.Close()
	dial := func(from string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	accept := func() net.Conn {
		c, err := l.Accept()
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var one net.Conn
	for range bootOwn {
		dial("127.0.0.2")
		one = accept()
	}
	refused := dial("127.0.0.2")
	other := dial("127.0.0.3")
	require.Equal(t, other.LocalAddr().String(), accept().RemoteAddr().String())
	_, err = refused.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, one.Close())
	_ = one.Close() // counted once
	again := dial("127.0.0.2")
	require.Equal(t, again.LocalAddr().String(), accept().RemoteAddr().String())
	require.Equal(t, bootOwn, l.own[netip.MustParseAddr("127.0.0.2")])
}
