package main

import (
	"bytes"
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

// TestAcceptALostTail as docs/recovery.md tells it.
func TestAcceptALostTail(t *testing.T) {
	h := newHouse(t)
	h.must("volume", "create", "web-1", "--size", "1MiB")
	r := h.run("store", "accept", "--yes")
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.err, "has lost nothing")
	require.NoError(t, os.WriteFile(filepath.Join(h.data, "blocks", "seq"), []byte{200, 0, 0, 0, 0, 0, 0, 0}, 0o600))
	require.Contains(t, h.run("volume", "list").err, "goldstream store accept")
	require.Contains(t, h.must("store", "accept"), "nothing was changed")
	require.NotZero(t, h.run("volume", "list").code)
	require.Contains(t, h.must("store", "accept", "--yes"), "new epoch")
	require.Contains(t, h.must("volume", "inspect", "web-1"), "lost its tail")
}

// TestGoBackToADump as docs/recovery.md tells it.
func TestGoBackToADump(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Dir(h.data)
	raw, dump := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "dump.jsonl")
	rawDisk(t, raw, testDisk, 16)
	h.must("image", "import", "debian", raw)
	h.must("volume", "create", "web-1", "--image", "debian")
	require.Contains(t, h.must("store", "dump", dump), "records")
	text, err := os.ReadFile(dump)
	require.NoError(t, err)
	require.Equal(t, string(text), h.must("store", "dump", "-"))
	require.Contains(t, string(text), `{"type":"volume","name":"web-1",`)
	require.Equal(t, exitUsage, h.run("store", "dump", dir).code)

	s := h.serve()
	live := filepath.Join(dir, "live.jsonl")
	require.Contains(t, h.must("store", "dump", live), "records")
	after, err := os.ReadFile(live)
	require.NoError(t, err)
	require.Equal(t, string(text), string(after), "in service and at rest it is the same")
	require.Equal(t, string(text), h.must("store", "dump", "-"))
	r := h.run("store", "restore", dump, "--yes")
	require.Equal(t, exitLocked, r.code, "a daemon runs")
	require.Contains(t, r.err, "stop it first")
	s.stop()
	left, err := filepath.Glob(filepath.Join(dir, ".dump*"))
	require.NoError(t, err)
	require.Empty(t, left)

	require.NoError(t, os.RemoveAll(filepath.Join(h.data, "blocks", "meta")))
	require.NotZero(t, h.run("volume", "list").code)
	require.Equal(t, exitDamaged, h.run("store", "dump", dump).code)
	require.Equal(t, exitNotFound, h.run("store", "restore", filepath.Join(dir, "nope")).code)
	h.in = bytes.NewReader(text[:len(text)-2])
	r = h.run("store", "restore", "-", "--yes")
	require.Equal(t, exitDamaged, r.code)
	require.Contains(t, r.err, "cut short")
	require.Contains(t, h.must("store", "restore", dump), "nothing was changed")
	require.NotZero(t, h.run("volume", "list").code)
	h.in = bytes.NewReader(text)
	require.Contains(t, h.must("store", "restore", "-", "--yes"), "restart their servers")
	require.Contains(t, h.must("volume", "list"), "web-1")
	h.must("image", "verify", "debian")
	require.Contains(t, h.must("volume", "inspect", "web-1"), "restored from a dump")
}
