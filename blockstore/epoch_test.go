package blockstore

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAPowerLossBeginsAnEpoch, at the opening of the store already and once: who
// starts then learns the right one, and who was there before is refused.
func TestAPowerLossBeginsAnEpoch(t *testing.T) {
	fs, s, d, dir := faulty(t)
	require.NoError(t, d.CheckEpoch(0))
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	s.kill()
	for range 3 { // looked at, and killed before it is opened
		s = reopenFaulty(t, fs, dir, "boot-2")
		require.EqualValues(t, 1, epoch(t, s))
		_, err := s.SetQuota(ctx, "v", 1<<30) // writes the volume's record
		require.NoError(t, err)
		s.kill()
	}
	s = reopenFaulty(t, fs, dir, "boot-3")
	require.EqualValues(t, 1, epoch(t, s), "nothing was written in the second boot")
	d = openVolume(t, s, "v")
	require.EqualValues(t, 1, epoch(t, s))
	require.NoError(t, d.CheckEpoch(1))
	require.ErrorIs(t, d.CheckEpoch(2), ErrEpoch)
	err := d.CheckEpoch(0)
	require.ErrorIs(t, err, ErrEpoch)
	require.ErrorContains(t, err, "the host went down")
	require.ErrorContains(t, err, "accept-epoch v")
	require.NoError(t, d.WriteAt(ctx, block(2), 0, false))
	s.kill()

	s = reopenFaulty(t, fs, dir, "boot-3")
	d = openVolume(t, s, "v")
	require.EqualValues(t, 1, epoch(t, s), "a kill loses nothing")
	info, err := s.AcceptEpoch(ctx, "v")
	require.NoError(t, err)
	require.True(t, info.OldAccepted)
	require.NoError(t, d.CheckEpoch(0))
	require.NoError(t, d.WriteAt(ctx, block(3), 0, false))
	s.kill()

	s = reopenFaulty(t, fs, dir, "boot-4")
	d = openVolume(t, s, "v")
	require.NoError(t, d.CheckEpoch(2))
	require.ErrorIs(t, d.CheckEpoch(1), ErrEpoch, "what was accepted is over")
	require.ErrorIs(t, d.CheckEpoch(0), ErrEpoch)
	_, err = s.AcceptEpoch(ctx, "v")
	require.NoError(t, err)
	finish(t, s, d)

	s = reopenFaulty(t, fs, dir, "boot-5")
	d = openVolume(t, s, "v")
	require.NoError(t, d.CheckEpoch(0), "it was closed, and the acceptance is durable")
	finish(t, s, d)
	_, err = s.AcceptEpoch(ctx, "v")
	require.ErrorIs(t, err, ErrClosed)
}

// TestAPowerCutRefusesOldClients does it with a host that loses what was not
// synced.
func TestAPowerCutRefusesOldClients(t *testing.T) {
	for seed := range uint64(20) {
		disk := newHost(seed)
		options := func(d *simDisk, boot string) Options {
			o := simOptions(d)
			o.bootID, o.CommitInterval = boot, 1<<40
			return o
		}
		s, err := Open(crashDir, options(disk, "1"))
		require.NoError(t, err)
		_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
		require.NoError(t, err)
		d := openVolume(t, s, "v")
		require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
		require.NoError(t, d.WriteAt(ctx, block(2), 0, false), "acknowledged, and not flushed")
		disk.crash(true)
		s.kill()
		disk = disk.crashed()

		s, err = Open(crashDir, options(disk, "2"))
		require.NoError(t, err)
		require.EqualValues(t, 1, epoch(t, s))
		d = openVolume(t, s, "v")
		require.ErrorIs(t, d.CheckEpoch(0), ErrEpoch)
		require.NoError(t, d.CheckEpoch(1))
		finish(t, s, d)
	}
}
