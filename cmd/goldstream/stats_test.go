package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/blockstore"
)

// TestStats shows what a client's write and flush did, as a table, as JSON and
// as Prometheus scrapes it from the socket.
func TestStats(t *testing.T) {
	h := newHouse(t)
	h.must("volume", "create", "web", "--size", "8MiB")
	s := h.serve()
	c, err := dialNBD(s.socket, "web")
	require.NoError(t, err)
	defer c.close()
	require.NoError(t, c.do(nbdWrite, 0, 4096, 8192, make([]byte, 8192)))
	require.NoError(t, c.do(nbdFlush, 0, 0, 0, nil))

	var st blockstore.Stats
	require.NoError(t, json.Unmarshal([]byte(h.must("stats", "--json")), &st))
	require.EqualValues(t, 1, st.Writes)
	require.EqualValues(t, 8192, st.WrittenBytes)
	require.EqualValues(t, 1, st.Flushes.Count)
	require.Equal(t, 1, st.OpenVolumes)
	require.Positive(t, st.Pebble.LogBytes)
	require.Contains(t, h.must("stats"), "1 open, 0 with writes that are not durable")

	metrics := scrape(t, filepath.Join(h.data, "goldstream.sock"))
	line := regexp.MustCompile(`^goldstream_[a-z0-9_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.e+-]+$`)
	for l := range strings.Lines(metrics) {
		l = strings.TrimSuffix(l, "\n")
		require.True(t, strings.HasPrefix(l, "# HELP goldstream_") || strings.HasPrefix(l, "# TYPE goldstream_") || line.MatchString(l), l)
	}
	for _, want := range []string{
		"goldstream_written_bytes_total 8192\n", "goldstream_open_volumes 1\n", "goldstream_dirty_volumes 0\n", "goldstream_store_failed 0\n",
		"goldstream_flush_seconds_count 1\n", `goldstream_flush_seconds_bucket{le="+Inf"} 1` + "\n",
		`goldstream_nbd_bytes_total{export="web",op="write"} 8192` + "\n", `goldstream_nbd_clients{export="web"} 1` + "\n",
	} {
		require.Contains(t, metrics, want)
	}
}

// scrape gets /metrics over a Unix socket.
func scrape(t *testing.T, socket string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	resp, err := client.Get("http://goldstream/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, "%s", body)
	require.True(t, strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain"))
	return string(body)
}
