package blockstore

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// failsOnce is a file whose first read fails; it holds zeros.
type failsOnce struct {
	file
	asked int
}

func (f *failsOnce) ReadAt(p []byte, _ int64) error {
	if f.asked++; f.asked == 1 {
		return unix.EIO
	}
	clear(p)
	return nil
}

// TestDiskIsAskedOnce: a block that could not be read when the map was made of the
// ring is lost, and stays it when the disk gives it the next time. Seed
// 1795992587737233799 of the crash test's mode of faults found that it read as
// zeros and was not named.
func TestDiskIsAskedOnce(t *testing.T) {
	a := &acceptor{held: map[heldBlock]bool{}, direct: map[int]file{0: &failsOnce{}}, disk: make([]byte, BlockSize)}
	e := intent{seq: 1, kind: intentData, block: 5, blocks: 1, sums: []uint32{blockSum(a.disk)}}
	for range 2 {
		held, err := a.holds(e, 0)
		require.NoError(t, err)
		require.False(t, held)
	}
	e.seq = 2
	held, err := a.holds(e, 0)
	require.NoError(t, err)
	require.True(t, held, "another entry")
}
