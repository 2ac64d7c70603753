package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
)

func TestConnectionsShowsAClient(t *testing.T) {
	h := newHouse(t)
	h.must("volume", "create", "web", "--size", "8MiB")
	require.JSONEq(t, `{"connections":[],"exports":[]}`, h.must("connections", "--json"), "without a daemon")
	s := h.serve()
	c, err := dialNBD(s.socket, "web")
	require.NoError(t, err)
	defer c.close()
	require.NoError(t, c.do(nbdWrite, 0, 4096, 8192, make([]byte, 8192)))
	require.NoError(t, c.do(nbdFlush, 0, 0, 0, nil))

	var l v1.ConnectionList
	require.NoError(t, json.Unmarshal([]byte(h.must("connections", "--json")), &l))
	require.Len(t, l.Connections, 1)
	got := l.Connections[0]
	require.Equal(t, "web", got.Export)
	require.Equal(t, "unix", got.Peer)
	require.False(t, got.TLS)
	require.Empty(t, got.Epoch)
	require.WithinDuration(t, time.Now(), got.Since, time.Hour)
	require.Equal(t, int64(1), got.Statistics.Writes.Count)
	require.Equal(t, int64(8192), got.Statistics.Writes.Bytes)
	require.Equal(t, int64(1), got.Statistics.Flushes.Count)
	require.Positive(t, got.Statistics.Writes.P99)
	require.Len(t, l.Exports, 1)

	for _, args := range [][]string{{"connections"}, {"connections", "--exports"}} {
		lines := strings.Split(strings.TrimSpace(h.must(args...)), "\n")
		require.Len(t, lines, 2)
		require.Contains(t, lines[0], "EXPORT")
		require.Contains(t, lines[1], "web")
	}
}
