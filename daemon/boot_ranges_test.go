package daemon

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBootRanges(t *testing.T) {
	t.Parallel()
	const size = 8 << 30
	got, err := mergeRanges([]bootRange{{8192, 4096}, {0, 4096}, {4096, 100}, {0, 100}, {9000, 8192}}, size)
	require.NoError(t, err)
	require.Equal(t, []bootRange{{0, 4196}, {8192, 9000}}, got)
	same := make([]bootRange, 8192)
	for i := range same {
		same[i] = bootRange{4096, 1 << 20}
	}
	got, err = mergeRanges(same, size)
	require.NoError(t, err)
	require.Equal(t, same[:1], got, "read once")
	_, err = mergeRanges([]bootRange{{0, mostRanges}}, size)
	require.NoError(t, err)
	for _, bad := range [][]bootRange{
		{{0, mostRanges}, {mostRanges + 1, 1}}, {{0, mostRanges + 1}}, {{-1, 1}}, {{0, -1}},
		{{size, 1}}, {{math.MaxInt64, math.MaxInt64}}, {{1, math.MaxInt64}},
	} {
		_, err = mergeRanges(bad, size)
		require.Error(t, err, "%v", bad)
	}
	require.NoError(t, checkModules([]manifestFile{{Size: 4 << 20}, {Size: 4 << 20}}))
	require.Error(t, checkModules([]manifestFile{{Size: 4 << 20}, {Size: 4<<20 + 1}}))
	require.Error(t, checkModules([]manifestFile{{Size: -1}}))
}
