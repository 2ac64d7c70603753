package blockstore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAClosedDiskRefuses: what comes after Close is refused, where it would
// meet a ring that is not mapped any more, or files of a layer that is gone.
func TestAClosedDiskRefuses(t *testing.T) {
	s := openStore(t, t.TempDir())
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	v := openVolume(t, s, "v")
	require.NoError(t, v.WriteAt(ctx, block(1), 0, true))
	_, err = s.CaptureImage(ctx, "v", ImportRequest{Name: "i"})
	require.NoError(t, err)
	i, err := s.OpenImage(ctx, "i")
	require.NoError(t, err)
	require.NoError(t, v.WriteAt(ctx, block(2), BlockSize, false))
	other := openVolume(t, s, "v")

	require.NoError(t, other.Close())
	requireRefused(t, other)
	require.NoError(t, v.ReadAt(ctx, make([]byte, BlockSize), 0), "another handle goes on")
	require.NoError(t, v.Close())
	requireRefused(t, v)
	require.NoError(t, i.Close())
	requireRefused(t, i)
	require.NoError(t, s.DeleteVolume(ctx, "v", ""))
	require.NoError(t, s.DeleteImage(ctx, "i", ""))
	requireRefused(t, v)
	requireRefused(t, i)
	require.NoError(t, s.Close())
}

func requireRefused(t *testing.T, d *Disk) {
	t.Helper()
	p := block(3)
	require.ErrorIs(t, d.ReadAt(ctx, p, 0), ErrClosed)
	require.False(t, d.TryReadAt(p, 0))
	require.ErrorIs(t, d.Prefetch(ctx, 0, BlockSize), ErrClosed)
	require.ErrorIs(t, d.Extents(ctx, 0, BlockSize, func(int64, bool, bool) bool { return true }), ErrClosed)
	require.ErrorIs(t, d.Flush(ctx), ErrClosed)
	require.NoError(t, d.Close())
	if d.ReadOnly() {
		return
	}
	require.ErrorIs(t, d.WriteAt(ctx, p, 0, false), ErrClosed)
	require.ErrorIs(t, d.Trim(ctx, 0, BlockSize, false), ErrClosed)
	require.ErrorIs(t, d.WriteZeroes(ctx, 0, BlockSize, false, false), ErrClosed)
	require.ErrorIs(t, d.WriteZeroes(ctx, 0, BlockSize, true, true), ErrClosed)
}
