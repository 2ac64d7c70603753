package blockstore

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func writeAt(t *testing.T, d *Disk, p []byte, off int64) {
	t.Helper()
	require.NoError(t, d.WriteAt(ctx, p, off, false))
}

func snap(t *testing.T, s *Store, volume, name string) {
	t.Helper()
	_, err := s.CreateSnapshot(ctx, volume, SnapshotRequest{Name: name})
	require.NoError(t, err)
}

// layerBytes is what the files of all layers of a store take, or of one.
func layerBytes(t *testing.T, s *Store, ids ...layerID) (total int64) {
	t.Helper()
	if len(ids) == 0 {
		s.cat.mu.Lock()
		for _, l := range s.cat.mu.lineages {
			for _, v := range l.versions {
				ids = append(ids, layerID{l.id, v.number})
			}
			for number := range l.merged {
				ids = append(ids, layerID{l.id, number})
			}
		}
		s.cat.mu.Unlock()
	}
	for _, id := range ids {
		n, err := s.layer(id).allocated()
		require.NoError(t, err)
		total += n
	}
	return total
}

func requireContent(t *testing.T, d *Disk, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	require.NoError(t, d.ReadAt(ctx, got, 0))
	require.True(t, bytes.Equal(want, got))
}

func requireSnapshot(t *testing.T, s *Store, volume, name string, want []byte) {
	t.Helper()
	d, err := s.OpenSnapshot(ctx, volume, name)
	require.NoError(t, err)
	requireContent(t, d, want)
	require.NoError(t, d.Close())
}

// threeSnapshots makes a volume of 8 MiB with a snapshot after each of three
// writes: all of it, the first half, the first quarter.
func threeSnapshots(t *testing.T, s *Store) (d *Disk, content [][]byte) {
	t.Helper()
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 8 << 20})
	require.NoError(t, err)
	d = openVolume(t, s, "v")
	now := make([]byte, 8<<20)
	for i, name := range []string{"s1", "s2", "s3"} {
		part := pattern(uint64(10+i), 8<<20>>i)
		writeAt(t, d, part, 0)
		copy(now, part)
		snap(t, s, "v", name)
		content = append(content, bytes.Clone(now))
	}
	return d, content
}

func TestASnapshotInTheMiddleGivesItsSpaceBack(t *testing.T) {
	s := openStore(t, t.TempDir())
	d, content := threeSnapshots(t, s)
	// Of 8+4+2 MiB only s2 reads 2: the first quarter, which s3 has written again.
	before := layerBytes(t, s)
	require.NoError(t, s.DeleteSnapshot(ctx, "v", "s2", ""))
	require.Eventually(t, func() bool { return before-layerBytes(t, s) >= 2<<20 }, waitLong, waitTick)
	require.Less(t, before-layerBytes(t, s), int64(3<<20))
	// Of what is left, only s1 reads 4: the first half.
	before = layerBytes(t, s)
	require.NoError(t, s.DeleteSnapshot(ctx, "v", "s1", ""))
	require.Eventually(t, func() bool { return before-layerBytes(t, s) >= 4<<20 }, waitLong, waitTick)
	requireSnapshot(t, s, "v", "s3", content[2])
	requireContent(t, d, content[2])
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())
}

func TestTheFileOfAMergedVersionGoesWithItsLastBlock(t *testing.T) {
	s := openStore(t, t.TempDir())
	d, content := threeSnapshots(t, s)
	l := d.v.entry.lineage
	merged := func() int {
		s.cat.mu.Lock()
		defer s.cat.mu.Unlock()
		return len(l.merged)
	}
	require.NoError(t, s.DeleteSnapshot(ctx, "v", "s1", ""))
	require.NoError(t, s.DeleteSnapshot(ctx, "v", "s2", ""))
	require.Eventually(t, func() bool { return merged() == 2 }, waitLong, waitTick)
	requireSnapshot(t, s, "v", "s3", content[2])
	// What they held for s3 is written again: with the next snapshot, and
	// without s3, nobody reads it.
	writeAt(t, d, pattern(20, 8<<20), 0)
	snap(t, s, "v", "s4")
	require.NoError(t, s.DeleteSnapshot(ctx, "v", "s3", ""))
	require.Eventually(t, func() bool { return merged() == 0 }, waitLong, waitTick)
	require.InDelta(t, 8<<20, layerBytes(t, s), 1<<20)
	requireContent(t, d, pattern(20, 8<<20))
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())
}

func TestWhatTheTopShadowsIsFreedBelowIt(t *testing.T) {
	s := openStore(t, t.TempDir())
	d, content := threeSnapshots(t, s)
	for _, name := range []string{"s1", "s2"} {
		require.NoError(t, s.DeleteSnapshot(ctx, "v", name, ""))
	}
	writeAt(t, d, pattern(30, 1<<20), 0)
	require.NoError(t, d.Flush(ctx))
	require.NoError(t, s.DeleteSnapshot(ctx, "v", "s3", ""))
	copy(content[2], pattern(30, 1<<20))
	// 8 MiB, all in use; what they replace may only be freed where the top has
	// replaced it durably.
	require.Eventually(t, func() bool { return layerBytes(t, s) < 9<<20 }, waitLong, waitTick)
	requireContent(t, d, content[2])
	require.NoError(t, d.Close())
	s = reopen(t, s)
	d = openVolume(t, s, "v")
	requireContent(t, d, content[2])
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())
}

// A reader that has resolved a block below the top is held before it reads it;
// meanwhile the block is written again and what it resolved to is freed.
func TestAReaderNeverSeesWhatIsFreedBelowIt(t *testing.T) {
	for name, sealed := range map[string]bool{"under the top": false, "after a seal": true} {
		t.Run(name, func(t *testing.T) {
			p := newPause()
			fs := &hookedFS{read: p.hold}
			s, d, _ := hooked(t, fs)
			writeAt(t, d, bytes.Repeat([]byte{1}, BlockSize), 0)
			snap(t, s, "v", "s")
			below := layerID{d.v.entry.lineage.id, 1}
			got, done := make([]byte, BlockSize), make(chan error)
			p.armed.Store(true)
			go func() { done <- d.ReadAt(ctx, got, 0) }()
			<-p.in
			if sealed {
				snap(t, s, "v", "s2")
			}
			writeAt(t, d, bytes.Repeat([]byte{2}, BlockSize), 0)
			require.NoError(t, d.Flush(ctx))
			if sealed {
				require.NoError(t, s.DeleteSnapshot(ctx, "v", "s2", ""))
			}
			require.NoError(t, s.DeleteSnapshot(ctx, "v", "s", ""))
			require.Eventually(t, func() bool { return layerBytes(t, s, below) == 0 }, waitLong, waitTick)
			p.out <- struct{}{}
			require.NoError(t, <-done)
			require.Equal(t, bytes.Repeat([]byte{2}, BlockSize), got)
			require.NoError(t, d.Close())
			require.NoError(t, s.Close())
		})
	}
}

func TestRollBack(t *testing.T) {
	s := openStore(t, t.TempDir())
	d, content := threeSnapshots(t, s)
	_, err := s.RollBack(ctx, "v", "s1", SnapshotRequest{})
	require.ErrorIs(t, err, ErrInUse)
	last := pattern(40, 3<<20)
	writeAt(t, d, last, 0) // not flushed
	require.NoError(t, d.Close())
	kept, err := s.RollBack(ctx, "v", "s1", SnapshotRequest{RequestID: "r1"})
	require.NoError(t, err)
	again, err := s.RollBack(ctx, "v", "s1", SnapshotRequest{RequestID: "r1"})
	require.NoError(t, err)
	require.Equal(t, kept, again)
	require.Equal(t, CauseRollback, kept.Cause)
	d = openVolume(t, s, "v")
	requireContent(t, d, content[0])
	writeAt(t, d, pattern(41, 1<<20), 4<<20)
	require.NoError(t, d.Close())
	present := append(bytes.Clone(last), content[2][3<<20:]...)
	requireSnapshot(t, s, "v", kept.Name, present)
	s = reopen(t, s)
	requireSnapshot(t, s, "v", "s1", content[0])
	requireSnapshot(t, s, "v", "s3", content[2])
	requireSnapshot(t, s, "v", kept.Name, present)
	info, err := s.Volume(ctx, "v")
	require.NoError(t, err)
	require.EqualValues(t, 1, info.Epoch, "clients of before must notice")
	require.Equal(t, 4, info.Snapshots)
	require.NoError(t, s.DeleteVolume(ctx, "v", ""))
	requireNoLayers(t, s, s.dir)
	require.NoError(t, s.Close())
}

// TestRetireTakesTheOneThatIsMeant, and not another that has its name by now.
func TestRetireTakesTheOneThatIsMeant(t *testing.T) {
	s := openStore(t, t.TempDir())
	was, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	require.NoError(t, s.RetireVolumeOf(ctx, "v", was.ID, time.Hour, ""))
	now, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	err = s.RetireVolumeOf(ctx, "v", was.ID, time.Hour, "again")
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, now.ID)
	list, err := s.Volumes(ctx)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, now.ID, list[0].ID)
	d := openVolume(t, s, "v")
	require.NoError(t, d.Close())
	require.NoError(t, s.RetireVolumeOf(ctx, "v", now.ID, time.Hour, "again"))
}

func TestRetiredVolumesComeBackOrGo(t *testing.T) {
	s := openStore(t, t.TempDir())
	d, content := threeSnapshots(t, s)
	require.ErrorIs(t, s.RetireVolume(ctx, "v", time.Hour, ""), ErrInUse)
	require.NoError(t, d.Close())
	require.NoError(t, s.RetireVolume(ctx, "v", time.Hour, "r1"))
	require.NoError(t, s.RetireVolume(ctx, "v", time.Hour, "r1"))
	_, err := s.OpenVolume(ctx, "v")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20}) // the name is free
	require.NoError(t, err)
	s = reopen(t, s)
	list, err := s.RetiredVolumes(ctx)
	require.NoError(t, err)
	require.Len(t, list, 1)
	_, err = s.RestoreVolume(ctx, "v", "", "")
	require.ErrorIs(t, err, ErrExists)
	info, err := s.RestoreVolume(ctx, list[0].ID, "w", "r2")
	require.NoError(t, err)
	again, err := s.RestoreVolume(ctx, list[0].ID, "w", "r2")
	require.NoError(t, err)
	require.Equal(t, info, again)
	requireSnapshot(t, s, "w", "s2", content[1])
	d = openVolume(t, s, "w")
	requireContent(t, d, content[2])
	require.NoError(t, d.Close())

	require.NoError(t, s.RetireVolume(ctx, "w", time.Minute, ""))
	s.removeExpired(time.Now())
	list, err = s.RetiredVolumes(ctx)
	require.NoError(t, err)
	require.Len(t, list, 1, "its time is not over")
	s.removeExpired(time.Now().Add(2 * time.Minute))
	require.NoError(t, s.DeleteVolume(ctx, "v", ""))
	requireNoLayers(t, s, s.dir)
	require.NoError(t, s.Close())
}

func TestSnapshotsAndTheirNames(t *testing.T) {
	s := openStore(t, t.TempDir())
	d, content := threeSnapshots(t, s)
	_, err := s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "s1"})
	require.ErrorIs(t, err, ErrExists)
	_, err = s.CreateSnapshot(ctx, "w", SnapshotRequest{Name: "s1"})
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "a/b"})
	require.ErrorIs(t, err, ErrInvalid)
	first, err := s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "s4", RequestID: "r"})
	require.NoError(t, err)
	again, err := s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "s4", RequestID: "r"})
	require.NoError(t, err)
	require.Equal(t, first, again)
	list, err := s.Snapshots(ctx, "v")
	require.NoError(t, err)
	require.Len(t, list, 4)
	require.Equal(t, "s1", list[0].Name)
	require.NoError(t, d.Close())

	// An image and a clone of a snapshot live on without it.
	_, err = s.CaptureSnapshot(ctx, "v", "s2", ImportRequest{Name: "i"})
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "c", Volume: "v", Snapshot: "s1", Size: 16 << 20})
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "c2", Volume: "v", Snapshot: "s1", Size: 1 << 20})
	require.ErrorIs(t, err, ErrInvalid)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "c2", Volume: "v", Size: 1 << 20})
	require.ErrorIs(t, err, ErrInvalid)
	require.NoError(t, s.DeleteVolume(ctx, "v", ""))
	s = reopen(t, s)
	i, err := s.OpenImage(ctx, "i")
	require.NoError(t, err)
	requireContent(t, i, content[1])
	require.NoError(t, i.Close())
	d = openVolume(t, s, "c")
	requireContent(t, d, append(content[0], make([]byte, 8<<20)...))
	require.NoError(t, d.Close())
	require.NoError(t, s.DeleteVolume(ctx, "c", ""))
	require.NoError(t, s.DeleteImage(ctx, "i", ""))
	requireNoLayers(t, s, s.dir)
	require.NoError(t, s.Close())
}

func reopen(t *testing.T, s *Store) *Store {
	t.Helper()
	require.NoError(t, s.Close())
	return openStore(t, s.dir)
}
