package blockstore

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// randomRecord fills a composer with runs of layers, zeros and nothing.
func randomRecord(rng *rand.Rand, full bool) *composer {
	c := newComposer()
	c.full = full
	if full {
		c.fill(0, regionBlocks, sourceZero)
	}
	for range rng.IntN(40) {
		start := rng.IntN(regionBlocks)
		end := min(regionBlocks, start+1+rng.IntN(200))
		src := uint16(sourceZero)
		if rng.IntN(3) > 0 {
			src, _ = c.source(layerID{uint64(1 + rng.IntN(3)), uint32(rng.IntN(4))})
		}
		c.fill(start, end, src)
	}
	return c
}

// meaning is what a composer says, apart from how its layers are numbered.
func meaning(c *composer) []any {
	out := make([]any, regionBlocks)
	for i, src := range c.cells {
		switch src {
		case sourceZero:
			out[i] = 0
		case sourceUnset:
		default:
			out[i] = c.layers[src-1]
		}
	}
	return out
}

func TestRecordRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 200 {
		c := randomRecord(rng, i%2 == 0)
		back := newComposer()
		require.NoError(t, back.apply(c.encode()))
		require.Equal(t, meaning(c), meaning(back))
		require.Equal(t, c.full, back.full)
	}
}

// TestMergeIsAssociative: however Pebble groups operands, the result reads the
// same.
func TestMergeIsAssociative(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	merge := func(records ...[]byte) []byte {
		m := &recordMerger{operands: [][]byte{records[0]}}
		for _, r := range records[1:] {
			require.NoError(t, m.MergeNewer(r))
		}
		out, _, err := m.Finish(true)
		require.NoError(t, err)
		return out
	}
	for range 100 {
		a, b, c := randomRecord(rng, rng.IntN(2) == 0).encode(), randomRecord(rng, rng.IntN(4) == 0).encode(), randomRecord(rng, false).encode()
		want := newComposer()
		for _, r := range [][]byte{a, b, c} {
			require.NoError(t, want.apply(r))
		}
		older := &recordMerger{operands: [][]byte{c}}
		require.NoError(t, older.MergeOlder(b))
		require.NoError(t, older.MergeOlder(a))
		backwards, _, err := older.Finish(true)
		require.NoError(t, err)
		for _, got := range [][]byte{merge(a, b, c), merge(merge(a, b), c), merge(a, merge(b, c)), backwards} {
			back := newComposer()
			require.NoError(t, back.apply(got))
			require.Equal(t, meaning(want), meaning(back))
			require.Equal(t, want.full, back.full)
		}
	}
}

func TestPageReadsAsItsRecord(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	files := &fileTable{}
	layers := map[layerID]*layer{}
	layerOf := func(id layerID) *layer {
		if layers[id] == nil {
			layers[id] = &layer{id: id, files: files}
		}
		return layers[id]
	}
	for i := range 60 {
		c := randomRecord(rng, true)
		if i%3 == 1 { // many runs: the byte form
			for b := 0; b < regionBlocks; b += 2 {
				c.cells[b] = sourceZero
			}
		}
		if i%3 == 2 { // many layers: the wide form
			for b := range 600 {
				src, err := c.source(layerID{9, uint32(b)})
				require.NoError(t, err)
				c.fill(b*3, b*3+2, src)
			}
		}
		want := meaning(c)
		p := newPage(c, 0, layerOf)
		for block := 0; block < regionBlocks; {
			l, end := p.at(block, regionBlocks)
			require.Greater(t, end, block)
			for ; block < end; block++ {
				if l == nil {
					require.Equal(t, 0, want[block])
				} else {
					require.Equal(t, l.id, want[block])
				}
			}
		}
	}
}

func FuzzRecord(f *testing.F) {
	rng := rand.New(rand.NewPCG(4, 4))
	for i := range 8 {
		f.Add(randomRecord(rng, i%2 == 0).encode())
	}
	f.Fuzz(func(t *testing.T, rec []byte) {
		c := newComposer()
		defer c.release()
		if c.apply(rec) != nil {
			return
		}
		back := newComposer()
		defer back.release()
		require.NoError(t, back.apply(c.encode()))
		require.Equal(t, meaning(c), meaning(back))
	})
}

// ringInMemory is a ring over plain memory.
type ringInMemory []byte

func (m ringInMemory) Bytes() []byte { return m }
func (m ringInMemory) Sync() error   { return nil }
func (m ringInMemory) Close() error  { return nil }

func newRing() *ring {
	r := &ring{m: ringInMemory(make([]byte, ringSize))}
	r.b = r.m.Bytes()
	_ = r.begin()
	return r
}

func appended(t *testing.T, r *ring, kind byte, block int64, blocks int, data []byte) bool {
	t.Helper()
	ok, err := r.append(kind, 1, block, blocks, data)
	require.NoError(t, err)
	return ok
}

func entriesOf(t *testing.T, r *ring, seq uint64) []intent {
	t.Helper()
	list, err := r.entries(seq)
	require.NoError(t, err)
	return list
}

func TestRingFindsWholeEntriesOnly(t *testing.T) {
	r := newRing()
	data := randomBytes(3 * BlockSize)
	require.True(t, appended(t, r, intentData, 10, 3, data))
	require.True(t, appended(t, r, intentZero, 11, 1, nil))
	got := entriesOf(t, r, 0)
	require.Len(t, got, 2)
	require.Equal(t, []uint32{blockSum(data[:BlockSize]), blockSum(data[BlockSize : 2*BlockSize]), blockSum(data[2*BlockSize:])}, got[0].sums)
	require.Len(t, entriesOf(t, r, 1), 1, "committed entries are passed over")
	for i := ringStart; i < ringStart+entrySize(intentData, 3); i++ {
		r.b[i] ^= 0x40
		require.Len(t, entriesOf(t, r, 0), 1, "byte %d", i-ringStart)
		r.b[i] ^= 0x40
	}
}

// TestRingIsFullNotOverrun: entries that wait for a commit are never lost, and
// room comes back with a commit.
func TestRingIsFullNotOverrun(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	r := newRing()
	data := bytes.Repeat([]byte{1}, maxIntent<<blockShift)
	committed := uint64(0)
	for range 4000 {
		n := 1 + rng.IntN(maxIntent)
		kind, content := byte(intentData), data
		if rng.IntN(3) == 0 {
			kind, content = intentZero, nil
		}
		if !appended(t, r, kind, rng.Int64N(1<<30), n, content) {
			live := entriesOf(t, r, committed)
			require.EqualValues(t, r.seq-committed, len(live))
			seq, head := r.mark()
			r.committed(head)
			committed = seq
			require.True(t, appended(t, r, kind, 0, n, content))
		}
	}
	require.Greater(t, committed, uint64(0))
}
