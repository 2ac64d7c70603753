package blockstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestStats: what was done is counted, what is open and not yet durable shown,
// and gone again after a flush.
func TestStats(t *testing.T) {
	o := testOptions()
	o.CommitInterval = time.Hour
	s, err := Open(t.TempDir(), o)
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 64 << 20})
	require.NoError(t, err)
	d, err := s.OpenVolume(ctx, "v")
	require.NoError(t, err)

	st, err := s.Stats(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, st.OpenVolumes)
	require.Zero(t, st.DirtyVolumes)
	require.Zero(t, st.OldestUnsynced)
	require.EqualValues(t, 1, st.MetadataCommits.Count, "the clone")

	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	require.NoError(t, d.WriteAt(ctx, block(2), BlockSize, false))
	st, err = s.Stats(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 2, st.Writes)
	require.EqualValues(t, 2*BlockSize, st.WrittenBytes)
	require.EqualValues(t, 2*BlockSize, st.UnsyncedBytes)
	require.Equal(t, 1, st.DirtyVolumes)
	require.Positive(t, st.OldestUnsynced)
	require.Positive(t, st.MapBytes)
	require.Equal(t, 1, st.OpenFiles)

	require.NoError(t, d.Flush(ctx))
	st, err = s.Stats(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, st.Flushes.Count)
	require.EqualValues(t, 1, st.Commits.Count)
	require.Positive(t, st.Commits.Seconds)
	require.Positive(t, st.Flushes.Quantile(0.5))
	require.Zero(t, st.UnsyncedBytes)
	require.Zero(t, st.DirtyVolumes)
	require.Zero(t, st.OldestUnsynced)
	require.Equal(t, st.MetadataCommits.Count, st.MetadataBatches)
	require.Positive(t, st.Pebble.LogBytes)

	require.NoError(t, d.Close())
	st, err = s.Stats(ctx)
	require.NoError(t, err)
	require.Zero(t, st.OpenVolumes)
	require.NoError(t, s.Close())
	_, err = s.Stats(ctx)
	require.ErrorIs(t, err, ErrClosed)
}

func TestTimingBuckets(t *testing.T) {
	var n timing
	for _, took := range []time.Duration{0, 1999 * time.Nanosecond, 3 * time.Microsecond, time.Hour} {
		n.since(time.Now().Add(-took))
	}
	got := n.get()
	require.EqualValues(t, 4, got.Count)
	require.EqualValues(t, 1, got.Latency[timingBuckets-1])
	require.Greater(t, got.Seconds, 3600.0)
	require.Equal(t, time.Microsecond<<timingBuckets, got.Quantile(1))
	require.Zero(t, new(Timing).Quantile(0.99))
}

// TestStatsOfAStoreThatIsOnlyRead: it takes no changes on purpose, and has not
// failed.
func TestStatsOfAStoreThatIsOnlyRead(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, openStore(t, dir).Close())
	s := openReadOnly(t, dir)
	st, err := s.Stats(ctx)
	require.NoError(t, err)
	require.False(t, st.Failed)
	require.Positive(t, st.Pebble.DiskBytes)
	require.NoError(t, s.Close())
}
