package blockstore

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of size bytes; tests run as root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size), "mounting needs root")
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func TestFullDiskFailsWhatNeedsSpaceAndNothingElse(t *testing.T) {
	dir := smallDisk(t, "96m")
	o := testOptions()
	o.Reserve = 16 << 20
	s, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })

	_, err = s.ImportImage(ctx, &memorySource{data: randomBytes(128 << 20)}, ImportRequest{Name: "big"})
	require.ErrorIs(t, err, ErrNoSpace)
	images, err := s.Images(ctx)
	require.NoError(t, err)
	require.Empty(t, images)
	requireNoLayers(t, s, dir)

	small := randomBytes(8 << 20)
	importBytes(t, s, "small", small)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Image: "small", Size: 1 << 30})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	t.Cleanup(func() { _ = d.Close() })
	data := randomBytes(1 << 20)
	off := int64(0)
	for ; err == nil && off < 1<<30; off += 1 << 20 {
		err = d.WriteAt(ctx, data, off, false)
	}
	require.ErrorIs(t, err, ErrNoSpace)
	require.Greater(t, off, int64(32<<20))

	// Overwrites, reads, flushes, trims and deletes go on.
	require.NoError(t, d.Flush(ctx))
	require.NoError(t, d.WriteAt(ctx, data[:BlockSize], 0, true))
	got := make([]byte, len(data))
	require.NoError(t, d.ReadAt(ctx, got, 1<<20))
	require.True(t, bytes.Equal(data, got))
	require.NoError(t, d.Trim(ctx, 0, 32<<20, true))
	require.NoError(t, d.WriteAt(ctx, data, 900<<20, true))
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "w", Image: "small"})
	require.NoError(t, err)
	require.NoError(t, s.DeleteVolume(ctx, "w", ""))
}
