package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/blockstore"
)

// TestCheck as docs/recovery.md tells it.
func TestCheck(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	rawDisk(t, raw, testDisk, 16)
	s := h.serve()
	h.must("image", "import", "debian", raw)
	h.must("volume", "create", "web-1", "--image", "debian")
	require.Contains(t, h.must("check"), "0 damaged, 0 warnings: 2 disks")
	require.Contains(t, h.must("check"), "checked, in service")
	layers, err := filepath.Glob(filepath.Join(h.data, "blocks", "layers", "*"))
	require.NoError(t, err)
	require.Len(t, layers, 1)
	require.NoError(t, os.Rename(layers[0], layers[0]+".away"))
	r := h.run("check", "--json")
	require.Equal(t, exitDamaged, r.code)
	var live blockstore.CheckReport
	require.NoError(t, json.Unmarshal([]byte(r.out), &live))
	require.Equal(t, 2, live.Passes)
	require.Equal(t, []string{"image debian", "volume web-1"}, live.Findings[0].Disks)
	require.NoError(t, os.Rename(layers[0]+".away", layers[0]))
	s.stop()
	require.Contains(t, h.must("check"), "0 damaged, 0 warnings: 2 disks")

	require.NoError(t, os.Mkdir(filepath.Join(h.data, "blocks", "layers", "stray"), 0o700))
	require.Contains(t, h.must("check"), "0 damaged, 1 warnings")
	files, err := filepath.Glob(filepath.Join(h.data, "blocks", "layers", "*", "000000"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, os.Remove(files[0]))
	r = h.run("check")
	require.Equal(t, exitDamaged, r.code)
	require.Contains(t, r.out, files[0])
	require.Contains(t, r.err, "docs/recovery.md")
	r = h.run("check", "--json")
	require.Equal(t, exitDamaged, r.code)
	var report blockstore.CheckReport
	require.NoError(t, json.Unmarshal([]byte(r.out), &report))
	require.Equal(t, 1, report.Damage)
	require.Equal(t, []string{"image debian", "volume web-1"}, report.Findings[0].Disks)
}
