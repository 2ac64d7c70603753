package daemon

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

// TestBarredWhileOpened: a client that was let in just before a mount barred the
// volume is out again, and the mount is the only one that writes.
func TestBarredWhileOpened(t *testing.T) {
	a := newAPI(t)
	_, err := a.CreateVolume(t.Context(), v1.CreateRequest{Name: "web", Size: 1 << 20})
	require.NoError(t, err)
	b := &backend{Store: a.d.store, d: a.d}
	var m v1.Mount
	e := a.d.exports
	e.openVolume = func(ctx context.Context, name string) (*blockstore.Disk, error) {
		m, err = b.Mount(ctx, v1.MountRequest{Write: []string{name}})
		require.NoError(t, err)
		return a.d.store.OpenVolume(ctx, name)
	}
	for _, export := range []string{"web", "web~1"} {
		_, err = e.Open(t.Context(), export)
		require.ErrorIs(t, err, blockstore.ErrInUse)
		v, err := a.Volume(t.Context(), "web")
		require.NoError(t, err)
		require.EqualValues(t, 1, v.Open, "the mount's")
		require.NoError(t, m.Close())
	}
	e.openVolume = a.d.store.OpenVolume
	d, err := e.Open(t.Context(), "web")
	require.NoError(t, err)
	require.NoError(t, d.Close())
}
