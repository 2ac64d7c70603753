package blockstore

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestSplice moves what is in the page cache, of a volume and of what it stands
// on, and nothing else.
func TestSplice(t *testing.T) {
	s := openStore(t, t.TempDir())
	content := randomBytes(RegionSize + 64*BlockSize)
	clear(content[1<<20 : 2<<20])
	importBytes(t, s, "golden", content)
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "web", Image: "golden"})
	require.NoError(t, err)
	v := openVolume(t, s, "web")
	defer v.Close()
	write := func(off int64, n int) {
		p := randomBytes(n)
		writeAt(t, v, p, off)
		copy(content[off:], p)
	}
	write(8*BlockSize, 8*BlockSize)
	for i := range int64(8) {
		write((64+2*i)*BlockSize, BlockSize)
	}
	requireContent(t, v, content) // maps and data are in memory now

	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	defer w.Close()
	for _, c := range []struct {
		name        string
		off, length int64
		moves       bool
	}{
		{"the image's", 0, 4 * BlockSize, true},
		{"the volume's own", 8 * BlockSize, 8 * BlockSize, true},
		{"of both", 4 * BlockSize, 12*BlockSize - 100, true},
		{"not of whole pages", 4*BlockSize + 17, 5*BlockSize + 1, true},
		{"over the end of a region", RegionSize - 2*BlockSize, 4 * BlockSize, true},
		{"zeros", 1<<20 + BlockSize, BlockSize, false},
		{"some zeros", 1<<20 - BlockSize, 2 * BlockSize, false},
		{"too scattered", 64 * BlockSize, 16 * BlockSize, false},
		{"beyond the end", RegionSize + 60*BlockSize, 8 * BlockSize, false},
	} {
		moved, ok := v.TrySplice(int(w.Fd()), c.length, c.off)
		for range 100 { // the host may be short of memory
			if ok || !c.moves || noCachestat.Load() {
				break
			}
			_, err := io.CopyN(io.Discard, r, moved)
			require.NoError(t, err)
			requireContent(t, v, content)
			moved, ok = v.TrySplice(int(w.Fd()), c.length, c.off)
		}
		if noCachestat.Load() {
			require.False(t, ok)
			require.Zero(t, moved)
			continue
		}
		require.Equal(t, c.moves, ok, c.name)
		if !ok {
			require.Zero(t, moved, c.name)
			continue
		}
		require.Equal(t, c.length, moved, c.name)
		got := make([]byte, moved)
		_, err := io.ReadFull(r, got)
		require.NoError(t, err)
		require.Equal(t, content[c.off:c.off+c.length], got, c.name)
	}

	full, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0)
	require.NoError(t, err)
	moved, ok := v.TrySplice(int(w.Fd()), int64(full+8*BlockSize), RegionSize/2)
	require.False(t, ok, "the pipe has no room")
	require.LessOrEqual(t, moved, int64(full))
	_, err = io.CopyN(io.Discard, r, moved)
	require.NoError(t, err)
	require.NoError(t, v.Flush(ctx))
	require.NoError(t, v.v.top.Load().layer.known()[0].handle.Load().file.DropCache(0, 0))
	_, ok = v.TrySplice(int(w.Fd()), BlockSize, 8*BlockSize)
	require.False(t, ok, "it is not in memory")
}
