package blockstore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

// TestMapBudgetHolds writes 4 KiB at random over a disk of 1 TiB, of which
// all maps would be many times the budget, and reads everything again.
func TestMapBudgetHolds(t *testing.T) {
	t.Parallel()
	const writes, budget = 1200, 256 << 10
	o := testOptions()
	o.MapBudget = budget
	dir := t.TempDir()
	s, err := Open(dir, o)
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 40})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	rng, b := rand.New(rand.NewPCG(1, 1)), make([]byte, BlockSize)
	at := make([]int64, writes)
	for i := range at {
		at[i] = rng.Int64N(1<<40>>blockShift) << blockShift
		binary.LittleEndian.PutUint64(b, uint64(at[i]))
		require.NoError(t, d.WriteAt(ctx, b, at[i], false))
		// A page that must stay, and its changes, may come on top.
		require.LessOrEqual(t, s.pages.bytes.Load(), int64(budget)+crowdRegions*(sizeOf[ownPage]()+pageOverhead+2*changesBytes+2*blockSetBytes))
	}
	check := func() {
		for _, off := range at {
			require.NoError(t, d.ReadAt(ctx, b, off))
			require.Equal(t, uint64(off), binary.LittleEndian.Uint64(b))
			require.LessOrEqual(t, s.pages.bytes.Load(), int64(budget)+crowdRegions*(sizeOf[ownPage]()+pageOverhead+2*changesBytes+2*blockSetBytes))
		}
	}
	check()
	require.NoError(t, d.Flush(ctx))
	require.LessOrEqual(t, s.pages.bytes.Load(), int64(budget))
	check()
	require.NoError(t, d.Close())
	require.Zero(t, s.pages.bytes.Load(), "what was counted is given back")
	require.Zero(t, s.pages.tables.Load())
	require.Empty(t, s.pages.mu.clock)
	require.NoError(t, s.Close())
	s, err = Open(dir, o)
	require.NoError(t, err)
	defer s.Close()
	d = openVolume(t, s, "v")
	check()
	require.NoError(t, d.Close())
}

// TestPagesComeAndGo has no room for a single page, under writers, readers,
// snapshots and growth: no read may miss a write that returned before.
func TestPagesComeAndGo(t *testing.T) {
	t.Parallel()
	const workers, regions, rounds = 4, 24, 50
	o := testOptions()
	o.MapBudget = 1
	s, err := Open(t.TempDir(), o)
	require.NoError(t, err)
	defer s.Close()
	importBytes(t, s, "base", pattern(1, 1<<20))
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Image: "base", Size: regions * RegionSize})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	var g errgroup.Group
	for w := range workers {
		g.Go(func() error { // each has blocks of its own in every region
			rng := rand.New(rand.NewPCG(2, uint64(w)))
			written := map[int64]uint64{}
			b := make([]byte, BlockSize)
			for n := range uint64(rounds) {
				off := rng.Int64N(regions)*RegionSize + int64(w+workers*rng.IntN(4))<<blockShift
				var err error
				if written[off] = n + 1; rng.IntN(5) == 0 {
					written[off] = 0
					err = d.WriteZeroes(ctx, off, BlockSize, false, rng.IntN(2) == 0)
				} else {
					binary.LittleEndian.PutUint64(b, n+1)
					err = d.WriteAt(ctx, b, off, rng.IntN(20) == 0)
				}
				if err != nil {
					return err
				}
				for off, want := range written {
					if err := d.ReadAt(ctx, b, off); err != nil {
						return err
					}
					if got := binary.LittleEndian.Uint64(b); got != want {
						return fmt.Errorf("offset %#x reads %d instead of %d", off, got, want)
					}
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		for i := range int64(6) {
			if _, err := s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: fmt.Sprintf("s%d", i)}); err != nil {
				return err
			}
			if _, err := s.GrowVolume(ctx, "v", (regions+1+i)*RegionSize); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, g.Wait())
	require.NoError(t, d.Close())
}

// TestPageBytesAreHonest compares what the cache counts with the heap.
func TestPageBytesAreHonest(t *testing.T) {
	const n = 4000
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	layerOf := func(layerID) *layer { return nil }
	views := newTable[cachedPage](new(pageCache), n*RegionSize)
	for name, add := range map[string]func(c *pageCache, own ownTable, region uint32){
		"own": func(c *pageCache, own ownTable, region uint32) { own.put(region, nil, new(ownPage)) },
		"runs": func(c *pageCache, _ ownTable, region uint32) {
			comp := newComposer()
			defer comp.release()
			self, _ := comp.source(layerID{1, 1})
			for at := range 16 {
				comp.fill(at*200, at*200+50, self)
			}
			p := &cachedPage{slot: views.slot(region)}
			p.fill(comp, 0, layerOf)
			p.slot.Store(p)
			c.add(p)
		},
	} {
		c := &pageCache{budget: 1 << 30}
		own := newOwnTable(c, n*RegionSize)
		newComposer().release()
		before := heap()
		for region := range uint32(n) {
			add(c, own, region)
		}
		grown := heap() - before
		require.Less(t, grown, c.bytes.Load()*5/4, name)
		require.Greater(t, grown, c.bytes.Load()*3/5, name)
		runtime.KeepAlive(own)
		runtime.KeepAlive(views)
	}
}

// TestTablesOfLargeDisksCount: of a disk of 64 TiB the table alone, and what was
// changed since the last flush, take memory that is told; pages give way to it,
// and all of it comes back.
func TestTablesOfLargeDisksCount(t *testing.T) {
	const size, chunk = 64 << 40, chunkRegions * RegionSize
	o := testOptions()
	o.MapBudget, o.CommitInterval = 1<<20, time.Hour
	s, err := Open(t.TempDir(), o)
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: size})
	require.NoError(t, err)
	told := func() int64 {
		st, err := s.Stats(ctx)
		require.NoError(t, err)
		require.Equal(t, st.MapBytes-st.MapTables, s.pages.bytes.Load())
		return st.MapTables
	}
	require.Zero(t, told())
	d := openVolume(t, s, "v")
	require.GreaterOrEqual(t, told(), int64(size/chunk*8))
	b := make([]byte, BlockSize)
	for i := range int64(600) {
		require.NoError(t, d.ReadAt(ctx, b, i*chunk))
	}
	read := told()
	require.GreaterOrEqual(t, read, int64(size/chunk*8+600*chunkRegions*8))
	require.Equal(t, o.MapBudget/4, s.pages.limit())
	for i := range int64(600) {
		require.NoError(t, d.WriteAt(ctx, block(byte(i|1)), i*chunk, false))
		require.LessOrEqual(t, s.pages.bytes.Load(), s.pages.limit()+crowdRegions*(sizeOf[ownPage]()+pageOverhead+2*changesBytes+2*blockSetBytes))
	}
	require.NoError(t, d.Flush(ctx))
	_, err = s.GrowVolume(ctx, "v", 2*size)
	require.NoError(t, err)
	require.Equal(t, read+allocated(2*size/chunk*8)-allocated(size/chunk*8), told())
	require.EqualValues(t, 9, firstByte(t, d, 9*chunk))
	require.NoError(t, d.Close())
	require.Zero(t, told())
	require.Zero(t, s.pages.bytes.Load())
	require.NoError(t, s.Close())
}

// TestChangesAloneExceedTheBudget: a commit makes pages droppable before the
// memory of their changes is given back, and another one sweeps in between.
func TestChangesAloneExceedTheBudget(t *testing.T) {
	c := &pageCache{budget: 100 << 10}
	own := newOwnTable(c, 1<<30)
	var pages []*ownPage
	for region := range uint32(3) {
		p := new(ownPage)
		require.True(t, own.put(region, nil, p))
		p.used.Store(false)
		pages = append(pages, p)
	}
	c.charge(c.limit() + changesBytes)
	require.Empty(t, c.mu.clock)
	require.True(t, c.crowded.Load())
	for region, p := range pages {
		require.Nil(t, own.table.get(uint32(region)))
		require.False(t, p.acquire())
	}
	c.charge(-c.limit() - changesBytes)
	require.Zero(t, c.bytes.Load())
	require.False(t, c.crowded.Load())
}
