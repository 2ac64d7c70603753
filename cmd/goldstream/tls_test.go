package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

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

	plain, err := exec.Command("nbdinfo", strings.Replace(uri, "nbds", "nbd", 1)).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(plain), "TLS")
	s.stop()
}
