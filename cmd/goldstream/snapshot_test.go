package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSnapshotsOverNBD reads snapshots with libnbd's programs, and rolls a
// volume back that a client has open.
func TestSnapshotsOverNBD(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Dir(h.data)
	raw, other, out := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "other.raw"), filepath.Join(dir, "copy")
	disk, fresh := rawDisk(t, raw, testDisk, 12), rawDisk(t, other, testDisk, 13)
	s := h.serve()
	h.must("image", "import", "debian", raw)
	h.must("volume", "create", "web-1", "--image", "debian")
	h.must("snapshot", "create", "web-1", "before")
	tool(t, "nbdcopy", "--flush", other, s.uri+"/web-1")

	list := tool(t, "nbdinfo", "--list", s.uri)
	require.Less(t, strings.Index(list, `"images/debian"`), strings.Index(list, `"snapshots/web-1/before"`), list)
	require.Contains(t, list, "snapshot of web-1")
	snapshot := s.uri + "/snapshots/web-1/before"
	require.Contains(t, tool(t, "nbdinfo", snapshot), "is_read_only: true")
	refused(t, "qemu-io", "-f", "raw", "-c", "write 0 4k", snapshot)
	require.Contains(t, refused(t, "nbdinfo", s.uri+"/snapshots/web-1/nope"), "nope")
	tool(t, "nbdcopy", snapshot, out)
	same(t, disk, out)
	h.must("snapshot", "export", "web-1", "before", out)
	same(t, disk, out)

	client, err := dialNBD(s.socket, "web-1")
	require.NoError(t, err)
	r := h.run("volume", "rollback", "web-1", "before")
	require.Equal(t, exitConflict, r.code)
	require.Contains(t, r.err, "in use by 1 clients")
	require.Contains(t, r.err, "--disconnect")
	p := make([]byte, 4096)
	require.NoError(t, client.do(nbdRead, 0, 0, len(p), p), "a refusal disturbs nobody")
	h.must("volume", "rollback", "web-1", "before", "--as", "after", "--disconnect")
	require.ErrorIs(t, client.do(nbdRead, 0, 0, len(p), p), errLost)
	client.close()
	tool(t, "nbdcopy", s.uri+"/web-1", out)
	same(t, disk, out)
	tool(t, "nbdcopy", s.uri+"/snapshots/web-1/after", out)
	same(t, fresh, out)
	s.stop()
}

// TestSpace reads the table of a store that holds one of each kind.
func TestSpace(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	rawDisk(t, raw, testDisk, 14)
	h.must("image", "import", "debian", raw)
	h.must("volume", "create", "web-1", "--image", "debian")
	h.must("snapshot", "create", "web-1", "s")
	var table [][]string
	for line := range strings.Lines(h.must("space")) {
		table = append(table, strings.Fields(line))
	}
	require.Len(t, table, 5)
	assert.Equal(t, strings.Fields("KIND NAME LOGICAL MAPPED EXCLUSIVE SHARED"), table[0])
	assert.Equal(t, strings.Fields("image debian 8 MiB 3 MiB 0 B 3 MiB"), table[1])
	assert.Equal(t, strings.Fields("snapshot web-1/s 8 MiB 3 MiB 0 B 3 MiB"), table[2])
	assert.Equal(t, strings.Fields("volume web-1 8 MiB 3 MiB 0 B 3 MiB"), table[3])
	assert.Equal(t, strings.Fields("total - 24 MiB 9 MiB"), table[4][:6])
}
