package daemon

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/nbd"
)

// TestServeReadOnly serves a volume over NBD out of a directory in which nothing
// is made.
func TestServeReadOnly(t *testing.T) {
	a := newAPI(t)
	then, now := a.snapped(t)
	dir := a.d.dir
	require.NoError(t, a.Close())
	require.NoError(t, a.d.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "tmp")))
	names := func() (list []string) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			list = append(list, e.Name())
		}
		return list
	}
	before := names()

	d, err := Open(dir, Options{ReadOnly: true})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	socket := filepath.Join(t.TempDir(), "nbd")
	l, err := ParseListener("unix:" + socket)
	require.NoError(t, err)
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- d.Run(ctx, RunConfig{NBD: []Listener{l}, Ready: func([]string) { close(ready) }})
	}()
	<-ready
	require.Equal(t, before, names(), "no socket, and nothing else")
	for export, want := range map[string][]byte{"v": now, "snapshots/v/s": then, "images/i": then} {
		c, err := nbd.Dial(t.Context(), "unix", socket, export)
		require.NoError(t, err)
		require.True(t, c.ReadOnly(), export)
		got := make([]byte, len(want))
		_, err = c.ReadAt(t.Context(), got, 0)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), export)
		require.NoError(t, c.Close())
	}
	e := d.Embed()
	_, err = e.CreateToken(t.Context(), "v", v1.TokenRequest{})
	require.ErrorIs(t, err, blockstore.ErrReadOnly)
	_, err = e.ImportStream(t.Context(), "n", bytes.NewReader(then), int64(len(then)), "", nil)
	require.ErrorIs(t, err, blockstore.ErrReadOnly)
	_, err = e.RepairStream(t.Context(), "i", bytes.NewReader(then), int64(len(then)), nil)
	require.ErrorIs(t, err, blockstore.ErrReadOnly)
	require.NoError(t, e.Close())
	stop()
	require.NoError(t, <-ended)
	require.NoError(t, d.Close())
	require.Equal(t, before, names())
}
