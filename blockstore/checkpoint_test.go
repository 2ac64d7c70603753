package blockstore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func checkpointNames(t *testing.T, s *Store) (names []string) {
	t.Helper()
	list, err := s.Checkpoints(ctx)
	require.NoError(t, err)
	for _, c := range list {
		names = append(names, c.Name)
	}
	return names
}

// change commits something.
func change(t *testing.T, s *Store, quota int64) {
	t.Helper()
	_, err := s.SetQuota(ctx, "v", quota)
	require.NoError(t, err)
}

func TestCheckpointsAreKeptAndPruned(t *testing.T) {
	dir := t.TempDir()
	o := testOptions()
	o.Checkpoints = 3
	s, err := Open(dir, o)
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(s.checkpointsDir(), "20200101T000000Z-0000000000000001"+unfinished, "x"), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(s.checkpointsDir(), "not ours"), 0o700))
	var taken []string
	for i := range 5 {
		change(t, s, int64(i+1))
		c, err := s.Checkpoint(ctx)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now(), c.Time, time.Hour)
		taken = append(taken, c.Name)
	}
	require.Equal(t, taken[2:], checkpointNames(t, s))
	again, err := s.Checkpoint(ctx)
	require.NoError(t, err)
	if again.Time.Format(checkpointTime) == taken[4][:16] {
		require.Equal(t, taken[4], again.Name, "nothing has changed")
	}
	names, err := osFS{}.List(s.checkpointsDir())
	require.NoError(t, err)
	require.Len(t, names, 4, "%q", names)
	require.NoError(t, s.Close())

	s = openStore(t, dir)
	require.Len(t, checkpointNames(t, s), 3)
	require.NoError(t, s.Close())
}

func TestCheckpointsWhenDue(t *testing.T) {
	s := openStore(t, t.TempDir())
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	due := func(after time.Duration) int {
		require.NoError(t, s.checkpoints.ifDue(time.Now().Add(after)))
		return len(checkpointNames(t, s))
	}
	require.Equal(t, 1, due(0), "there was none")
	require.Equal(t, 1, due(2*time.Hour), "nothing has changed")
	change(t, s, 1)
	require.Equal(t, 1, due(time.Minute))
	require.Equal(t, 2, due(2*time.Hour))
	s.o.CheckpointInterval = -1
	change(t, s, 2)
	require.Equal(t, 2, due(2*time.Hour))
	require.NoError(t, s.Close())
	_, err = s.Checkpoint(ctx)
	require.ErrorIs(t, err, ErrClosed)
}

// TestAFailedCheckpointHarmsNothing: the store goes on.
func TestAFailedCheckpointHarmsNothing(t *testing.T) {
	fs, s, d, _ := faulty(t)
	_, err := s.Checkpoint(ctx)
	require.NoError(t, err)
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	require.NoError(t, os.Rename(s.checkpointsDir(), s.checkpointsDir()+".moved"))
	require.NoError(t, os.WriteFile(s.checkpointsDir(), nil, 0o600))
	_, err = s.Checkpoint(ctx)
	require.Error(t, err)
	require.NoError(t, os.Remove(s.checkpointsDir()))
	require.NoError(t, os.Rename(s.checkpointsDir()+".moved", s.checkpointsDir()))
	require.NoError(t, d.WriteAt(ctx, block(2), 0, true))
	require.Len(t, checkpointNames(t, s), 1)
	fs.set(nil)
	finish(t, s, d)
}

// oldAndNew makes a store with a checkpoint, after which much has happened.
func oldAndNew(t *testing.T, dir string) CheckpointInfo {
	t.Helper()
	s := openStore(t, dir)
	importBytes(t, s, "kept", pattern(1, 1<<20))
	importBytes(t, s, "deleted", randomBytes(1<<20))
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Image: "kept"})
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "idle", Image: "kept"})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	_, err = s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "s"})
	require.NoError(t, err)
	require.NoError(t, d.WriteAt(ctx, block(2), BlockSize, true))
	c, err := s.Checkpoint(ctx)
	require.NoError(t, err)

	require.NoError(t, d.WriteAt(ctx, block(3), BlockSize, true))
	require.NoError(t, d.WriteAt(ctx, block(4), 2*BlockSize, true))
	_, err = s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "s2"})
	require.NoError(t, err)
	require.NoError(t, d.WriteAt(ctx, block(5), 3*BlockSize, true))
	require.NoError(t, d.Close())
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "w", Size: 1 << 20})
	require.NoError(t, err)
	w := openVolume(t, s, "w")
	require.NoError(t, w.WriteAt(ctx, block(6), 0, true))
	require.NoError(t, w.Close())
	require.NoError(t, s.DeleteImage(ctx, "deleted", ""))
	require.Eventually(t, func() bool {
		s.cat.mu.Lock()
		defer s.cat.mu.Unlock()
		return len(s.cat.mu.doomed) == 0
	}, time.Minute, time.Millisecond)
	require.NoError(t, s.Close())
	return c
}

func TestRestoreCheckpoint(t *testing.T) {
	dir := t.TempDir()
	c := oldAndNew(t, dir)
	o := testOptions()
	for _, name := range []string{c.Name, "latest"} {
		r, err := RestoreCheckpoint(ctx, dir, o, RestoreRequest{Checkpoint: name})
		require.NoError(t, err)
		require.Equal(t, c, r.Checkpoint)
		require.Greater(t, r.Present, c.Sequence)
		require.Empty(t, r.PresentError)
		require.Equal(t, []string{"snapshot v/s2", "volume w"}, r.Lost)
		require.Equal(t, []string{"image deleted"}, r.Returned)
		require.Equal(t, []string{"volume v"}, r.Written)
		require.Len(t, r.Missing, 1)
		require.Equal(t, "image deleted", r.Missing[0].Disk)
		require.Equal(t, []Range{{0, 1 << 20}}, r.Missing[0].Ranges)
		require.Len(t, r.Strays, 2, "the top of v, and w")
		require.False(t, r.Done)
	}
	s := openStore(t, dir)
	d := openVolume(t, s, "w")
	require.EqualValues(t, 6, firstByte(t, d, 0), "nothing has changed")
	_, err := RestoreCheckpoint(ctx, dir, o, RestoreRequest{Checkpoint: "latest"})
	require.ErrorIs(t, err, ErrLocked)
	finish(t, s, d)

	_, err = RestoreCheckpoint(ctx, dir, o, RestoreRequest{Checkpoint: "nope"})
	require.ErrorIs(t, err, ErrNotFound)
	_, err = RestoreCheckpoint(ctx, t.TempDir(), o, RestoreRequest{Checkpoint: "latest"})
	require.ErrorIs(t, err, ErrNotFound)
	_, err = RestoreCheckpoint(ctx, dir, o, RestoreRequest{Checkpoint: "latest", Apply: true})
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "is missing")
	r, err := RestoreCheckpoint(ctx, dir, o, RestoreRequest{Checkpoint: "latest", Apply: true, AcceptMissing: true})
	require.NoError(t, err)
	require.True(t, r.Done)
	requireRestored(t, dir)
	for _, kept := range []string{"meta", "layers/" + r.Strays[0], "layers/" + r.Strays[1]} {
		require.DirExists(t, filepath.Join(r.Aside, kept))
	}
}

// requireRestored looks at a store that oldAndNew has made and that went back.
func requireRestored(t *testing.T, dir string) {
	t.Helper()
	s := openStore(t, dir)
	info, err := s.Volume(ctx, "v")
	require.NoError(t, err)
	require.EqualValues(t, 1, info.Epoch)
	require.Contains(t, info.EpochCause, "restored")
	require.Equal(t, 1, info.Snapshots)
	_, err = s.Volume(ctx, "w")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.Image(ctx, "deleted")
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	require.EqualValues(t, 1, firstByte(t, d, 0))
	require.EqualValues(t, 3, firstByte(t, d, BlockSize), "the newer content of a block that it held")
	kept := pattern(1, 1<<20)
	require.EqualValues(t, kept[2*BlockSize], firstByte(t, d, 2*BlockSize), "first written since")
	report, err := s.VerifyImage(ctx, "kept", nil)
	require.NoError(t, err)
	require.Empty(t, report.Bad)
	report, err = s.VerifyImage(ctx, "deleted", nil)
	require.NoError(t, err)
	require.NotEmpty(t, report.Bad, "what is gone does not pass for good")
	require.NoError(t, d.WriteAt(ctx, block(9), 0, true), "it goes on")
	_, err = s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "new"})
	require.NoError(t, err)
	require.NoError(t, d.WriteAt(ctx, block(8), 3*BlockSize+1, true))
	finish(t, s, d)
	s = openStore(t, dir)
	require.NoError(t, s.Close())
}

// TestRestoreWithoutMetadata: what it replaces need not be readable, or there.
func TestRestoreWithoutMetadata(t *testing.T) {
	for name, damage := range map[string]func(meta string) error{
		"gone": os.RemoveAll,
		"damaged": func(meta string) error {
			manifests, err := filepath.Glob(filepath.Join(meta, "MANIFEST-*"))
			for _, m := range manifests {
				err = errors.Join(err, os.Truncate(m, 10))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			oldAndNew(t, dir)
			require.NoError(t, damage(filepath.Join(dir, "meta")))
			_, err := Open(dir, testOptions())
			require.ErrorIs(t, err, ErrCorrupt)
			r, err := RestoreCheckpoint(ctx, dir, testOptions(), RestoreRequest{Checkpoint: "latest", Apply: true, AcceptMissing: true})
			require.NoError(t, err)
			require.NotEmpty(t, r.PresentError)
			require.Len(t, r.Strays, 2)
			requireRestored(t, dir)
		})
	}
}

// TestARestoreCutShortIsRunAgain, wherever it is cut.
func TestARestoreCutShortIsRunAgain(t *testing.T) {
	for n, cut := 1, true; cut; n++ {
		disk := newHost(uint64(n))
		s, err := Open(crashDir, simOptions(disk))
		require.NoError(t, err)
		_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
		require.NoError(t, err)
		d := openVolume(t, s, "v")
		require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
		_, err = s.Checkpoint(ctx)
		require.NoError(t, err)
		_, err = s.CreateVolume(ctx, CloneRequest{Name: "w", Size: 1 << 20})
		require.NoError(t, err)
		finish(t, s, d)

		disk.arm(n, n%2 == 0)
		req := RestoreRequest{Checkpoint: "latest", Apply: true}
		_, err = RestoreCheckpoint(ctx, crashDir, simOptions(disk), req)
		if cut = disk.crashed() != nil; cut {
			disk = disk.crashed()
			_, err = RestoreCheckpoint(ctx, crashDir, simOptions(disk), req)
		}
		require.NoError(t, err, "cut at %d", n)
		s, err = Open(crashDir, simOptions(disk))
		require.NoError(t, err, "cut at %d", n)
		_, err = s.Volume(ctx, "w")
		require.ErrorIs(t, err, ErrNotFound)
		d = openVolume(t, s, "v")
		require.EqualValues(t, 1, firstByte(t, d, 0))
		finish(t, s, d)
	}
}
