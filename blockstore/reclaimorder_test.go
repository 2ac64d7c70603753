package blockstore

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// byHand puts a reclaimer in the place of a store's that does nothing by itself.
func byHand(t *testing.T, s *Store) *reclaimer {
	t.Helper()
	s.reclaim.stop()
	r := &reclaimer{s: s, wakeup: make(chan struct{}, 1), done: make(chan struct{}), trimmed: map[layerID]time.Time{}}
	r.ctx, r.quit = context.WithCancelCause(ctx)
	close(r.done)
	s.reclaim = r
	return r
}

// overwrittenSnapshots makes a volume with snapshots that each hold something
// else for the same blocks, and returns their names.
func overwrittenSnapshots(t *testing.T, s *Store, volume string, n int) (names []string) {
	t.Helper()
	_, err := s.CreateVolume(ctx, CloneRequest{Name: volume, Size: 64 << 20})
	require.NoError(t, err)
	d := openVolume(t, s, volume)
	for i := range n {
		writeAt(t, d, pattern(uint64(i), 1<<20), 0)
		names = append(names, fmt.Sprint("s", i))
		_, err := s.CreateSnapshot(ctx, volume, SnapshotRequest{Name: names[i]})
		require.NoError(t, err)
	}
	writeAt(t, d, pattern(uint64(n), 1<<20), 0)
	require.NoError(t, d.Close())
	return names
}

// TestWhatGivesBytesBackSoonestGoesFirst: after the delete of many things at
// once, files that nothing reads any more go before another version is absorbed,
// of whichever disk, and the top of a volume is looked below last.
func TestWhatGivesBytesBackSoonestGoesFirst(t *testing.T) {
	s := openStore(t, t.TempDir())
	r := byHand(t, s)
	for _, volume := range []string{"a", "b", "c"} {
		for _, snapshot := range overwrittenSnapshots(t, s, volume, 4) {
			require.NoError(t, s.DeleteSnapshot(ctx, volume, snapshot, ""))
		}
	}
	overwrittenSnapshots(t, s, "gone", 2)
	require.NoError(t, s.DeleteVolume(ctx, "gone", ""))

	var order []int
	for {
		j, ok := r.next(nil)
		if !ok {
			break
		}
		order = append(order, j.rank())
		require.NoError(t, r.do(j))
	}
	want := []int{rankFiles}
	for range 3 * 3 {
		want = append(want, rankAbsorb, rankFiles)
	}
	want = append(want, rankTrim, rankTrim, rankTrim)
	require.Equal(t, want, order)
	for _, volume := range []string{"a", "b", "c"} {
		d := openVolume(t, s, volume)
		requireContent(t, d, append(pattern(4, 1<<20), make([]byte, 63<<20)...))
		require.NoError(t, d.Close())
	}
	require.NoError(t, s.Close())
}

// TestAnAbsorptionGivesWay: what is deleted while a large version is absorbed
// does not wait for the end of that, which goes on later.
func TestAnAbsorptionGivesWay(t *testing.T) {
	s := openStore(t, t.TempDir())
	r := byHand(t, s)
	const regions = absorbStep + 50
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: regions * RegionSize})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	for region := range int64(regions) {
		require.NoError(t, d.WriteAt(ctx, block(byte(region|1)), region*RegionSize, false))
	}
	for _, name := range []string{"s1", "s2"} {
		_, err := s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: name})
		require.NoError(t, err)
		require.NoError(t, d.WriteAt(ctx, block(2), 0, false))
	}
	require.NoError(t, d.Close())
	require.NoError(t, s.DeleteSnapshot(ctx, "v", "s1", ""))
	absorption, ok := r.next(nil)
	require.True(t, ok)
	require.Equal(t, rankAbsorb, absorption.rank())
	<-r.wakeup // of the delete

	overwrittenSnapshots(t, s, "gone", 1)
	require.NoError(t, s.DeleteVolume(ctx, "gone", ""))
	require.ErrorIs(t, r.do(absorption), errSooner)
	j, ok := r.next(nil)
	require.True(t, ok)
	require.Equal(t, rankFiles, j.rank())
	r.round()
	_, ok = r.next(nil)
	require.False(t, ok, "all is done")
	sn, err := s.OpenSnapshot(ctx, "v", "s2")
	require.NoError(t, err)
	b := make([]byte, BlockSize)
	for region := range int64(regions) {
		want := block(byte(region | 1))
		if region == 0 {
			want = block(2)
		}
		require.NoError(t, sn.ReadAt(ctx, b, region*RegionSize))
		require.Equal(t, want, b, "region %d", region)
	}
	finish(t, s, sn)
}
