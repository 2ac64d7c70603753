package daemon

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestListenerCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for address, says := range map[string]string{
		"foo":                               "neither",
		"":                                  "neither",
		":99999":                            "65535",
		"127.0.0.1:":                        "",
		"127.0.0.1:0":                       "",
		"[::1]:10809":                       "",
		"unix:":                             "lacks the path",
		"unix:@abs":                         "abstract",
		"unix:/" + strings.Repeat("x", 120): "shorter",
		"unix:" + file:                      "in the way",
		"unix:/nonexistent/nbd.sock":        "no directory",
		"unix:nbd.sock":                     "",
	} {
		err := Listener{Address: address}.Check()
		if says == "" {
			require.NoError(t, err, address)
			continue
		}
		require.ErrorContains(t, err, says, address)
	}
}

// TestUnixListener: the socket has its modes from the first moment, one that is
// served is left alone, one that a kill left is replaced, and none stays.
func TestUnixListener(t *testing.T) {
	dir, err := os.MkdirTemp("", "l") // short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	left.SetUnlinkOnClose(false)
	require.NoError(t, left.Close())

	l := Listener{Address: "unix:" + path}
	ln, uri, err := l.listen()
	require.NoError(t, err)
	require.Equal(t, "nbd+unix:///?socket="+path, uri)
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o660, fi.Mode())
	_, _, err = l.listen()
	require.ErrorContains(t, err, "another program serves")
	require.FileExists(t, path)
	require.NoError(t, ln.Close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
