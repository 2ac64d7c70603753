package disk

import (
	"bytes"
	"crypto/rand"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// memory is a disk that remembers what it was told to write, and where syncs were.
type memory struct {
	data  []byte
	steps []step
	now   step
}

func (m *memory) WriteAt(b []byte, off int64) (int, error) {
	m.now = append(m.now, patch{off, bytes.Clone(b)})
	return copy(m.data[off:], b), nil
}

func (m *memory) Sync() error {
	m.steps, m.now = append(m.steps, m.now), nil
	return nil
}

// grow grows the disk to size and a partition of it.
func grow(t *testing.T, f *os.File, size int64, number int) *Table {
	t.Helper()
	require.NoError(t, f.Truncate(size))
	table, err := Read(f, size)
	require.NoError(t, err)
	require.NoError(t, table.Resize(size))
	require.NoError(t, table.Grow(number))
	require.NoError(t, table.Write(f))
	return table
}

func TestGrowAsSfdiskSeesIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		number int
		also   int // grows along
	}{
		"gpt":        {gptScript, 3, 0},
		"cloud":      {cloudScript, 1, 0},
		"mbr":        {mbrScript, 2, 0},
		"logical":    {extendedScript, 7, 2},
		"extended":   {extendedScript, 2, 0},
		"no room":    {gptScript, 1, 0},
		"no room 5":  {extendedScript, 5, 0},
		"last in it": {"label: dos\ntype=5\ntype=83\n", 5, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := made(t, 64*mib, c.script)
			before := list(t, f)
			table := grow(t, f, 100*mib, c.number)
			require.Contains(t, run(t, "", "sfdisk", "--verify", f.Name()), "No errors detected.")
			after := list(t, f)
			requireSame(t, after, table)
			require.Equal(t, before.ID, after.ID)
			for i, b := range before.Partitions {
				number := table.Partitions[i].Number
				a := after.Partitions[i]
				if grows := name != "no room" && name != "no room 5" && (number == c.number || number == c.also); grows {
					require.Greater(t, a.Size, b.Size)
					require.GreaterOrEqual(t, a.Start+a.Size, int64(99*mib/512))
					b.Size = a.Size
				}
				require.Equal(t, b, a)
			}
			if table.Scheme == GPT {
				require.EqualValues(t, 100*mib/512-34, after.LastLBA)
			}
			again, err := Read(f, 100*mib)
			require.NoError(t, err)
			require.NoError(t, again.Damage)
		})
	}
}

func TestGrowMendsADamagedTable(t *testing.T) {
	t.Parallel()
	for _, broken := range []int64{512, 1024} {
		f := made(t, 64*mib, gptScript)
		_, err := f.WriteAt([]byte{1, 2, 3}, broken)
		require.NoError(t, err)
		requireSame(t, list(t, f), grow(t, f, 64*mib, 3))
		again, err := Read(f, 64*mib)
		require.NoError(t, err)
		require.NoError(t, again.Damage)
	}
}

func TestGrowSectorsOf4KiB(t *testing.T) {
	t.Parallel()
	f := made(t, 64*mib, "label: dos\n")
	run(t, "g\nn\n1\n\n\nw\n", "fdisk", "-b", "4096", f.Name())
	want := grow(t, f, 100*mib, 1)
	require.EqualValues(t, 99*mib, want.Partitions[0].End())
	again, err := Read(f, 100*mib)
	require.NoError(t, err)
	require.NoError(t, again.Damage)
	require.Equal(t, want.Partitions, again.Partitions)
}

func TestRenew(t *testing.T) {
	t.Parallel()
	for _, script := range []string{gptScript, mbrScript, extendedScript} {
		f := made(t, 64*mib, script)
		before := list(t, f)
		table, err := Read(f, 64*mib)
		require.NoError(t, err)
		require.NoError(t, table.Renew(rand.Reader))
		require.NoError(t, table.Write(f))
		after := list(t, f)
		requireSame(t, after, table)
		require.NotEqual(t, before.ID, after.ID)
		if table.Scheme == GPT {
			require.Regexp(t, `^\w{8}-\w{4}-4\w{3}-[89AB]\w{3}-\w{12}$`, after.Partitions[0].UUID)
			require.NotEqual(t, before.Partitions[0].UUID, after.Partitions[0].UUID)
			require.NotEqual(t, after.Partitions[0].UUID, after.Partitions[1].UUID)
		}
	}
}

// TestPowerLoss stops the writing after each sector of each step, and loses each
// sector of a step that others of it overtook: the old or the new table is there.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for _, broken := range []int{0, 512, 1024, 15 * 512} {
		d := tinyGPT()
		if broken > 0 {
			d[broken] ^= 1
		}
		d = append(d, make([]byte, 2*mib)...)
		if broken == 512 || broken == 1024 {
			d = d[:16*512] // the backup must be found
		}
		table, err := readBytes(d)
		require.NoError(t, err)
		old := slices.Clone(table.Partitions)
		m := &memory{data: bytes.Clone(d)}
		require.NoError(t, table.Renew(rand.Reader))
		require.NoError(t, table.Resize(int64(len(d))))
		require.NoError(t, table.Grow(3))
		require.NoError(t, table.Write(m))
		require.Len(t, m.steps, 3)
		durable := bytes.Clone(d)
		for _, s := range m.steps {
			s = sectorsOf(s)
			for i := range s {
				early, without := bytes.Clone(durable), bytes.Clone(durable)
				for j, p := range s {
					if j <= i {
						copy(early[p.off:], p.data)
					}
					if j != i {
						copy(without[p.off:], p.data)
					}
				}
				for _, crashed := range [][]byte{early, without} {
					got, err := readBytes(crashed)
					require.NoError(t, err)
					require.Contains(t, [][]Partition{old, table.Partitions}, got.Partitions)
				}
			}
			for _, p := range s {
				copy(durable[p.off:], p.data)
			}
		}
		require.Equal(t, m.data, durable)
	}
}

func sectorsOf(s step) (list step) {
	for _, p := range s {
		for off := 0; off < len(p.data); off += 512 {
			list = append(list, patch{p.off + int64(off), p.data[off : off+512]})
		}
	}
	return list
}

func TestGrowRefuses(t *testing.T) {
	d := tinyGPT()
	table, err := readBytes(d)
	require.NoError(t, err)
	require.ErrorContains(t, table.Grow(2), "no partition 2")
	require.ErrorContains(t, table.Resize(100), "cannot shrink")
	putEntry(d, 1, 0x83, 3, 3)
	table, err = readBytes(d)
	require.NoError(t, err)
	require.ErrorContains(t, table.Write(&memory{data: d}), "hybrid MBR")
	last, ok := table.Last()
	require.True(t, ok)
	require.Equal(t, 3, last.Number)
}
