package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// holdOpen has libnbd connect to a URI, and stay until the test lets go.
func holdOpen(t *testing.T, uri string) (letGo func()) {
	t.Helper()
	cmd := exec.Command("/usr/bin/nbdsh", "-c", "h.set_uri_allow_local_file(True)\nh.connect_uri('"+uri+"')\nprint('there', flush=True)\ninput()")
	cmd.Env = append(os.Environ(), "PATH=/usr/bin:/bin")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	word, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "there\n", word)
	return func() { _ = in.Close() }
}

// TestServeTLS: a daemon that requires TLS makes its certificates, clients take
// the authority from the data directory, and plain text gets nothing.
func TestServeTLS(t *testing.T) {
	h := newHouse(t)
	disk := filepath.Join(t.TempDir(), "disk.raw")
	content := rawDisk(t, disk, 4<<20, 7)
	h.must("image", "import", "golden", disk)
	h.must("volume", "create", "web", "--image", "golden")
	s := h.serve("--nbd", "127.0.0.1:0,tls=required")
	var uris []string
	for _, w := range strings.Fields(s.ready) {
		if strings.HasPrefix(w, "nbds://") {
			uris = append(uris, w)
		}
	}
	require.Len(t, uris, 1, s.ready)
	uri := uris[0] + "/web"

	certs := t.TempDir()
	ca, err := os.ReadFile(filepath.Join(h.data, "tls", "ca-cert.pem"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(certs, "ca-cert.pem"), ca, 0o600))
	out := filepath.Join(t.TempDir(), "out")
	tool(t, "nbdcopy", uri+"?tls-certificates="+certs, out)
	got, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, content, got)

	held := holdOpen(t, uri+"~0?tls-certificates="+certs)
	line := strings.Fields(strings.Split(h.must("connections"), "\n")[1])
	require.Equal(t, []string{"web", "0"}, line[:2])
	require.Equal(t, "yes", line[3])
	held()

	plain, err := exec.Command("nbdinfo", strings.Replace(uri, "nbds", "nbd", 1)).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(plain), "TLS")
	s.stop()
}
