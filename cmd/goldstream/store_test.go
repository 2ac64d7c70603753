package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGoBackToACheckpoint as docs/recovery.md tells it.
func TestGoBackToACheckpoint(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	rawDisk(t, raw, testDisk, 15)
	s := h.serve()
	h.must("image", "import", "debian", raw)
	h.must("volume", "create", "web-1", "--image", "debian")
	name := strings.TrimSpace(h.must("store", "checkpoint"))
	require.Contains(t, h.must("store", "checkpoints"), name)
	h.must("volume", "create", "web-2", "--image", "debian")
	r := h.run("store", "restore-checkpoint", name)
	require.NotZero(t, r.code, "a daemon runs")
	require.Contains(t, r.err, "stop it first")
	s.stop()

	require.NoError(t, os.RemoveAll(filepath.Join(h.data, "blocks", "meta")))
	require.NotZero(t, h.run("volume", "list").code)
	out := h.must("store", "restore-checkpoint", "latest")
	require.Contains(t, out, "nothing was changed")
	out = h.must("store", "restore-checkpoint", "latest", "--yes")
	require.Contains(t, out, "restart their servers")
	out = h.must("volume", "list")
	require.Contains(t, out, "web-1")
	require.NotContains(t, out, "web-2")
	h.must("image", "verify", "debian")
	require.Contains(t, h.must("volume", "inspect", "web-1"), "restored from checkpoint")
}
