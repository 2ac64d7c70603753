package blockstore

import (
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFreeStepsGoByExtentsAndBytes: a sparse file is not freed by the stretch, of
// which most is nothing, and a step is not longer for it than it may be.
func TestFreeStepsGoByExtentsAndBytes(t *testing.T) {
	f, err := osFS{}.Create(filepath.Join(t.TempDir(), "f"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.Truncate(segmentSize))
	const stride, scattered = 32 << 20, 700
	for i := range int64(scattered) {
		require.NoError(t, f.WriteAt(block(1), i*stride))
	}
	long := int64(scattered * stride)
	require.NoError(t, f.WriteAt(make([]byte, 9<<20), long))
	require.NoError(t, f.Datasync())

	s := newFreeStep()
	s.bytes = 4 << 20
	steps := func(each time.Duration) (n int, covered int64) {
		for off := int64(0); ; n++ {
			start, end, err := s.next(f, off)
			if err == io.EOF {
				return n, covered
			}
			require.NoError(t, err)
			require.GreaterOrEqual(t, start, off)
			require.Greater(t, end, start)
			s.took(each)
			off, covered = end, end
		}
	}
	n, end := steps(growBelowTime + 1) // nothing changes
	require.Equal(t, long+9<<20, end)
	require.Equal(t, 5, n, "256 extents twice, then three by bytes")
	require.Equal(t, firstExtents, s.extents)

	steps(0)
	require.Greater(t, s.extents, firstExtents)
	require.Greater(t, s.bytes, int64(4<<20))
	for range 40 {
		s.took(stepTime + 1)
	}
	require.Equal(t, leastExtents, s.extents)
	require.EqualValues(t, leastBytes, s.bytes)
}
