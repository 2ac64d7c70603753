package disk

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzRead reads any disk. What is read lies inside of it, and partitions do not
// overlap. The checksums are made right first if asked: random ones never are.
func FuzzRead(f *testing.F) {
	f.Add(tinyGPT(), true)
	f.Add(chain(), false)
	f.Fuzz(func(t *testing.T, d []byte, sealed bool) {
		if sealed {
			reseal(d)
		}
		if table, err := readBytes(d); err == nil {
			requireSound(t, table)
		}
	})
}

func requireSound(t *testing.T, table *Table) {
	t.Helper()
	for i, p := range table.Partitions {
		require.Positive(t, p.Size)
		require.GreaterOrEqual(t, p.Start, int64(table.SectorSize))
		require.LessOrEqual(t, p.End(), table.Size)
		for _, q := range table.Partitions[:i] {
			if p.Number != q.Number && !p.extended() && !q.extended() {
				require.False(t, p.Start < q.End() && q.Start < p.End(), "%d overlaps %d", p.Number, q.Number)
			}
		}
	}
}
