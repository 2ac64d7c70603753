package blockstore

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestNoMarkWithoutARing: a volume whose ring could not be made was not open
// for write, and another boot of the host is no power loss to it.
func TestNoMarkWithoutARing(t *testing.T) {
	fs, s, d, dir := faulty(t)
	fs.failingRings("map", unix.ENOSPC)
	require.ErrorIs(t, d.WriteAt(ctx, block(1), 0, false), ErrNoSpace)
	require.NoError(t, d.Close())
	d = openVolume(t, s, "v")
	require.Zero(t, firstByte(t, d, 0), "it can be read")
	finish(t, s, d)
	fs.set(nil)
	s = reopenFaulty(t, fs, dir, "another boot")
	d = openVolume(t, s, "v")
	require.Zero(t, epoch(t, s))
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	finish(t, s, d)
}

// TestRecoveryTakesNoRoom: on a full disk a volume is recovered and read.
func TestRecoveryTakesNoRoom(t *testing.T) {
	fs, s, d, dir := faulty(t)
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	s.kill()
	s = reopenFaulty(t, fs, dir, "")
	fs.failingRings("map", unix.ENOSPC)
	d = openVolume(t, s, "v")
	require.EqualValues(t, 1, firstByte(t, d, 0))
	require.Zero(t, epoch(t, s))
	finish(t, s, d)
}

// TestALostRingIsNotSilent: acknowledged writes may be lost with it, and
// clients of the old epoch must learn of it. What was flushed is there.
func TestALostRingIsNotSilent(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"missing":  os.Remove,
		"cut":      func(path string) error { return os.Truncate(path, 100) },
		"no magic": func(path string) error { return os.WriteFile(path, make([]byte, ringSize), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			_, s, d, dir := faulty(t)
			require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
			require.NoError(t, d.WriteAt(ctx, block(2), 64<<20, false))
			ring := s.ringPath(d.v.entry.lineage.id)
			s.kill()
			require.NoError(t, lose(ring))
			o := testOptions()
			log := logTo(&o)
			s, err := Open(dir, o)
			require.NoError(t, err)
			d = openVolume(t, s, "v")
			require.EqualValues(t, 1, epoch(t, s))
			require.EqualValues(t, 1, firstByte(t, d, 0))
			require.NoError(t, d.WriteAt(ctx, block(3), 0, true), "it goes on")
			finish(t, s, d)
			require.Contains(t, log.String(), "acked-writes-may-be-lost")
			require.Contains(t, log.String(), "intent ring")
		})
	}
}

// TestAPowerLossMayTakeTheRing: it was never synced.
func TestAPowerLossMayTakeTheRing(t *testing.T) {
	fs, s, d, dir := faulty(t)
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	ring := s.ringPath(d.v.entry.lineage.id)
	s.kill()
	require.NoError(t, os.Remove(ring))
	s = reopenFaulty(t, fs, dir, "another boot")
	d = openVolume(t, s, "v")
	require.EqualValues(t, 1, epoch(t, s))
	require.EqualValues(t, 1, firstByte(t, d, 0))
	finish(t, s, d)
}

// TestARingThatCannotBeOpenedIsNotLost: an error is no proof.
func TestARingThatCannotBeOpenedIsNotLost(t *testing.T) {
	fs, s, d, dir := faulty(t)
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	s.kill()
	s = reopenFaulty(t, fs, dir, "")
	fs.failingRings("map-existing", unix.EMFILE)
	_, err := s.OpenVolume(ctx, "v")
	require.ErrorIs(t, err, unix.EMFILE)
	fs.set(nil)
	d = openVolume(t, s, "v")
	require.EqualValues(t, 1, firstByte(t, d, 0))
	require.Zero(t, epoch(t, s))
	finish(t, s, d)
}

// TestAnUnknownBootMayBeAnother: where the host does not tell its boots apart,
// writes may be lost with each kill, and a failure is never forgotten.
func TestAnUnknownBootMayBeAnother(t *testing.T) {
	fs, s, d, dir := faulty(t)
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())
	s = reopenFaulty(t, fs, dir, unknownBoot)
	d = openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	s.kill()
	s = reopenFaulty(t, fs, dir, unknownBoot)
	d = openVolume(t, s, "v")
	require.EqualValues(t, 1, epoch(t, s))
	require.EqualValues(t, 1, firstByte(t, d, 0), "what the ring proves is there all the same")
	require.NoError(t, d.WriteAt(ctx, block(2), 0, false))
	fs.failing("sync", unix.EIO)
	require.ErrorIs(t, d.Flush(ctx), ErrFailed)
	fs.set(nil)
	finishFailed(t, s, d)
	s = reopenFaulty(t, fs, dir, unknownBoot)
	d = openVolume(t, s, "v")
	require.ErrorIs(t, d.WriteAt(ctx, block(3), 0, false), ErrFailed)
	finish(t, s, d)
}
