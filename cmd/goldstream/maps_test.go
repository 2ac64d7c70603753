package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// mapRun is a line of nbdinfo --map.
type mapRun struct{ Offset, Length, Type int64 }

func nbdMap(t *testing.T, uri, context string) (runs []mapRun) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(tool(t, "nbdinfo", "--json", "--map="+context, uri)), &runs))
	return runs
}

// Standard tools see what a volume holds itself, what it has from its golden
// image, and what nobody holds; and in words what an export is.
func TestStandardToolsSeeLayers(t *testing.T) {
	const depth, unit = "qemu:allocation-depth", 64 << 10
	h := newHouse(t)
	image := make([]byte, 8*unit)
	copy(image[unit:], bytes.Repeat([]byte{1}, 3*unit))
	path := filepath.Join(t.TempDir(), "golden.raw")
	require.NoError(t, os.WriteFile(path, image, 0o600))
	h.must("image", "import", "golden", path)
	h.must("volume", "create", "web", "--image", "golden")
	s := h.serve()
	uri := func(export string) string { return "nbd+unix:///" + export + "?socket=" + s.socket }
	tool(t, "qemu-io", "-f", "raw", uri("web"), "-c", "write -P 7 192k 128k", "-c", "write -z -u 128k 64k", "-c", "flush")

	require.Equal(t, []mapRun{{0, unit, 0}, {unit, unit, 2}, {2 * unit, 3 * unit, 1}, {5 * unit, 3 * unit, 0}}, nbdMap(t, uri("web"), depth))
	require.Equal(t, []mapRun{{0, unit, 0}, {unit, 3 * unit, 1}, {4 * unit, 4 * unit, 0}}, nbdMap(t, uri("images/golden"), depth))
	require.Equal(t, []mapRun{{0, unit, 3}, {unit, unit, 0}, {2 * unit, unit, 3}, {3 * unit, 2 * unit, 0}, {5 * unit, 3 * unit, 3}},
		nbdMap(t, uri("web"), "base:allocation"))

	var qemu []struct {
		Start, Length int64
		Data          bool
	}
	out := tool(t, "qemu-img", "map", "--output=json", "--image-opts",
		"driver=nbd,server.type=unix,server.path="+s.socket+",export=web,x-dirty-bitmap=qemu:allocation-depth")
	require.NoError(t, json.Unmarshal([]byte(out), &qemu), out)
	require.NotEmpty(t, qemu)

	h.must("snapshot", "create", "web", "before")
	for export, want := range map[string]string{"web": "OS volume from golden", "images/golden": "golden image", "snapshots/web/before": "snapshot of web"} {
		require.Contains(t, tool(t, "nbdinfo", "--json", uri(export)), `"description": "`+want+`"`)
		require.Contains(t, tool(t, "nbdinfo", "--list", "--json", uri("")), `"description": "`+want+`"`)
	}
}
