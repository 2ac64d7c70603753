package blockstore

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func quotaStore(t *testing.T, stall time.Duration, req CloneRequest) (*Store, *Disk, string) {
	t.Helper()
	dir := t.TempDir()
	o := testOptions()
	o.FullStall = stall
	s, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	info, err := s.CreateVolume(ctx, req)
	require.NoError(t, err)
	require.Equal(t, req.Quota, info.Quota)
	return s, openVolume(t, s, req.Name), dir
}

// TestQuotaStalls: as a full disk does, but for this volume alone.
func TestQuotaStalls(t *testing.T) {
	s, d, dir := quotaStore(t, time.Hour, CloneRequest{Name: "v", Size: 1 << 30, Quota: 4 * BlockSize})
	require.NoError(t, d.WriteAt(ctx, randomBytes(4*BlockSize), 0, false))
	first := async(func() error { return d.WriteAt(ctx, block(5), 100<<20, true) })
	stalls(t, s, 1)
	require.NoError(t, d.WriteAt(ctx, block(6), 0, true), "overwrites go on")
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "w", Size: 1 << 30})
	require.NoError(t, err)
	w := openVolume(t, s, "w")
	require.NoError(t, w.WriteAt(ctx, randomBytes(8*BlockSize), 0, false), "others go on")
	require.NoError(t, d.Trim(ctx, BlockSize, BlockSize, false))
	require.NoError(t, <-first)

	first = async(func() error { return d.WriteAt(ctx, block(7), 200<<20, true) })
	stalls(t, s, 1)
	info, err := s.SetQuota(ctx, "v", 5*BlockSize)
	require.NoError(t, err)
	require.EqualValues(t, 5*BlockSize, info.Quota)
	require.NoError(t, <-first)

	first = async(func() error { return d.WriteAt(ctx, block(8), 300<<20, true) })
	stalls(t, s, 1)
	_, err = s.SetQuota(ctx, "v", 0)
	require.NoError(t, err)
	require.NoError(t, <-first)
	_, err = s.SetQuota(ctx, "v", BlockSize) // less than it holds
	require.NoError(t, err)
	finish(t, s, d, w)

	// The quota outlives the process, and what was held is counted again.
	o := testOptions()
	s, err = Open(dir, o)
	require.NoError(t, err)
	d = openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, block(9), 0, false))
	err = d.WriteAt(ctx, block(9), BlockSize, false)
	require.ErrorIs(t, err, unix.ENOSPC)
	require.ErrorContains(t, err, "quota")
	require.NoError(t, d.Trim(ctx, 0, 1<<30, false))
	require.NoError(t, d.WriteAt(ctx, block(9), BlockSize, false))
	for _, name := range []string{"v", "nobody"} {
		_, err = s.SetQuota(ctx, name, -1)
		require.ErrorIs(t, err, ErrInvalid)
	}
	_, err = s.SetQuota(ctx, "nobody", 1)
	require.ErrorIs(t, err, ErrNotFound)
	finish(t, s, d)
}

// TestQuotaCountIsExact compares the count that is kept with the map, after
// random changes by several writers, with seals, grows and reopening.
func TestQuotaCountIsExact(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	const size, quota = 64 << 20, 8 << 20
	s, d, dir := quotaStore(t, -1, CloneRequest{Name: "v", Size: size, Quota: quota})
	var refused atomic.Int64
	for round := range 12 {
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, uint64(4*round+w)))
				for range 60 {
					changeAtRandom(t, d, rng, size, &refused)
				}
			})
		}
		if round%4 == 1 {
			_, err := s.CaptureImage(ctx, "v", ImportRequest{Name: string(rune('a' + round))})
			require.NoError(t, err)
		}
		if round%4 == 2 {
			_, err := s.GrowVolume(ctx, "v", size+int64(round)<<20)
			require.NoError(t, err)
		}
		wg.Wait()
		l := d.v.top.Load().layer
		blocks, err := d.v.top.Load().dataBlocks(s)
		require.NoError(t, err)
		if l.use.known.Load() {
			require.Equal(t, blocks<<blockShift, l.use.held.Load(), "round %d", round)
		}
		require.LessOrEqual(t, blocks<<blockShift, int64(quota))
		require.Zero(t, s.space.outstanding.Load())
		if round%4 == 3 {
			finish(t, s, d)
			s = openStore(t, dir)
			d = openVolume(t, s, "v")
			again, err := d.v.top.Load().dataBlocks(s)
			require.NoError(t, err)
			require.Equal(t, blocks, again)
		}
	}
	require.NotZero(t, refused.Load(), "the quota was never reached")
	finish(t, s, d)
}

func changeAtRandom(t *testing.T, d *Disk, rng *rand.Rand, size int64, refused *atomic.Int64) {
	off := rng.Int64N(size)
	n := min(size-off, 1+rng.Int64N(512<<10))
	var err error
	switch rng.IntN(8) {
	case 0:
		err = d.Flush(ctx)
	case 1, 2:
		err = d.Trim(ctx, off, min(size-off, 4*n), false)
	case 3:
		err = d.WriteZeroes(ctx, off, n, rng.IntN(2) == 0, false)
	default:
		err = d.WriteAt(ctx, make([]byte, n), off, rng.IntN(20) == 0)
	}
	if err != nil && assertNoSpace(t, err) {
		refused.Add(1)
	}
}

// assertNoSpace may be called from any goroutine.
func assertNoSpace(t *testing.T, err error) bool {
	is := isFull(err)
	if !is {
		t.Errorf("unexpected error: %v", err)
	}
	return is
}
