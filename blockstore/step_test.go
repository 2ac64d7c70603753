package blockstore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInStep(t *testing.T) {
	memory := new(fillBuffer)
	require.Zero(t, stepsBehind(memory[:], 0), "the runtime aligns it")
	for _, c := range []struct {
		from, n int
		off     int64
		want    bool
	}{
		{0, 64 << 10, 0, true},
		{0, 64 << 10, 7 * BlockSize, true},
		{512, 64 << 10, BlockSize + 512, true},
		{512, 64 << 10, BlockSize, false},
		{0, 64 << 10, 512, false},
		{0, BlockSize, 512, true}, // within a page of memory
		{100, BlockSize - 100, 0, true},
		{100, BlockSize - 99, 0, false},
	} {
		p := memory[c.from:][:c.n]
		require.Equal(t, c.want, inStep(p, c.off), "%+v", c)
		copied := new(fillBuffer).copyOf(p, c.off)
		require.Len(t, copied, c.n)
		require.True(t, inStep(copied, c.off), "%+v", c)
	}
}

func TestZerosAreInStep(t *testing.T) {
	for _, off := range []int64{0, 1, 512, BlockSize - 1, BlockSize, 3*BlockSize + 1376} {
		p := zerosFor(off, 1<<40)
		require.True(t, inStep(p, off), "%d", off)
		require.Greater(t, len(p), len(zeros)-BlockSize)
		require.Len(t, zerosFor(off, 17), 17)
	}
}
