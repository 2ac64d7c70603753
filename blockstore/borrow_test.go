package blockstore

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestBorrow lends files of sealed disks only, and only where one holds all of a
// range.
func TestBorrow(t *testing.T) {
	s := openStore(t, t.TempDir())
	ctx := t.Context()
	noise := rand.NewChaCha8([32]byte{1})
	random := func(size int) []byte {
		p := make([]byte, size)
		_, _ = noise.Read(p) // never fails
		return p
	}
	content := random(RegionSize + 4*BlockSize)
	clear(content[1<<20 : 2<<20])
	importBytes(t, s, "golden", content)
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "web", Image: "golden"})
	require.NoError(t, err)
	v := openVolume(t, s, "web")
	defer v.Close()
	changed := random(BlockSize)
	writeAt(t, v, changed, 2*BlockSize)
	snap(t, s, "web", "then")
	writeAt(t, v, random(BlockSize), 0)
	image, err := s.OpenImage(ctx, "golden")
	require.NoError(t, err)
	defer image.Close()
	sn, err := s.OpenSnapshot(ctx, "web", "then")
	require.NoError(t, err)
	defer sn.Close()
	asOf := append([]byte{}, content...)
	copy(asOf[2*BlockSize:], changed)

	for name, r := range map[string]struct {
		d           *Disk
		off, length int64
		want        []byte // nil: nothing is lent
	}{
		"data":                       {image, 100, 5000, content[100:5100]},
		"zeros":                      {image, 1<<20 + 4096, BlockSize, nil},
		"data and zeros":             {image, 1<<20 - 4096, 2 * BlockSize, nil},
		"over the end of a region":   {image, RegionSize - 4096, 8192, nil},
		"the last bytes":             {image, RegionSize, 4 * BlockSize, content[RegionSize:]},
		"beyond the end":             {image, RegionSize + 3*BlockSize, 2 * BlockSize, nil},
		"a snapshot's own":           {sn, 2 * BlockSize, BlockSize, asOf[2*BlockSize : 3*BlockSize]},
		"a snapshot's, of its image": {sn, 0, 2 * BlockSize, asOf[:2*BlockSize]},
		"a snapshot's, of both":      {sn, 0, 3 * BlockSize, nil},
		"a volume's":                 {v, 0, BlockSize, nil},
	} {
		fd, at, release, ok := r.d.Borrow(ctx, r.off, r.length)
		require.Equal(t, r.want != nil, ok, name)
		if !ok {
			continue
		}
		got := make([]byte, r.length)
		n, err := unix.Pread(int(fd), got, at)
		require.NoError(t, err, name)
		require.Equal(t, r.want, got[:n], name)
		release()
	}
	require.NoError(t, image.Close())
	_, _, _, ok := image.Borrow(ctx, 0, 4096)
	require.False(t, ok, "closed")
}
