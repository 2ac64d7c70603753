package disk

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRead reads any disk. What is read lies inside of it, and partitions do not
// overlap, before and after all of them grow. The checksums are made right first if asked: random ones never are.
func FuzzRead(f *testing.F) {
	f.Add(tinyGPT(), true)
	f.Add(chain(), false)
	f.Fuzz(func(t *testing.T, d []byte, sealed bool) {
		if sealed {
			reseal(d)
		}
		table, err := readBytes(d)
		if err != nil {
			return
		}
		requireSound(t, table)
		before := slices.Clone(table.Partitions)
		m := &memory{data: append(slices.Clone(d), make([]byte, 4*mib)...)}
		if table.Resize(int64(len(m.data))) != nil {
			return
		}
		for i, p := range before {
			require.NoError(t, table.Grow(p.Number))
			require.GreaterOrEqual(t, table.Partitions[i].Size, p.Size)
		}
		requireSound(t, table)
		require.NoError(t, table.Write(m))
		again, err := readBytes(m.data)
		require.NoError(t, err)
		require.NoError(t, again.Damage)
		require.Equal(t, table.Partitions, again.Partitions)
	})
}

func requireSound(t *testing.T, table *Table) {
	t.Helper()
	for i, p := range table.Partitions {
		require.Positive(t, p.Size)
		require.GreaterOrEqual(t, p.Start, int64(table.SectorSize))
		require.LessOrEqual(t, p.End(), table.Size)
		for _, q := range table.Partitions[:i] {
			if p.Number != q.Number && !p.Extended() && !q.Extended() {
				require.False(t, p.Start < q.End() && q.Start < p.End(), "%d overlaps %d", p.Number, q.Number)
			}
		}
	}
}
