package blockstore

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestAFailedWriteNeverComesBack: the intent of a write that failed must not
// speak after a kill, when what it wrote of its data was zeroed meanwhile.
func TestAFailedWriteNeverComesBack(t *testing.T) {
	fs, s, d, dir := faulty(t)
	require.NoError(t, d.WriteAt(ctx, block(9), 512<<20, false))
	fs.failing("write", unix.ENOSPC)
	require.ErrorIs(t, d.WriteAt(ctx, append(block(7), block(7)...), 0, false), ErrNoSpace)
	fs.set(nil)
	require.Zero(t, firstByte(t, d, 0))
	require.NoError(t, d.WriteZeroes(ctx, 0, 2*BlockSize, false, false))
	s.kill()
	s = openStore(t, dir)
	d = openVolume(t, s, "v")
	require.Zero(t, firstByte(t, d, 0))
	require.EqualValues(t, 9, firstByte(t, d, 512<<20))
	finish(t, s, d)
}

// TestAWriteWithoutAFileLeavesNoIntent: the data file cannot be made, for the
// process has too many open.
func TestAWriteWithoutAFileLeavesNoIntent(t *testing.T) {
	fs, s, d, dir := faulty(t)
	fs.failing("create", unix.EMFILE)
	require.ErrorIs(t, d.WriteAt(ctx, block(7), 0, false), unix.EMFILE)
	fs.set(nil)
	require.False(t, d.v.ring.pending())
	require.NoError(t, d.WriteAt(ctx, block(8), 0, false), "the volume goes on")
	require.NoError(t, d.WriteZeroes(ctx, 0, BlockSize, false, false))
	s.kill()
	s = openStore(t, dir)
	d = openVolume(t, s, "v")
	require.Zero(t, firstByte(t, d, 0))
	finish(t, s, d)
}

// TestAFailedWriteTellsOfAFailedFlush: when the intent cannot be passed by a
// commit either, the writer hears of both.
func TestAFailedWriteTellsOfAFailedFlush(t *testing.T) {
	fs, s, d, _ := faulty(t)
	require.NoError(t, d.WriteAt(ctx, block(9), 512<<20, false))
	fs.set(func(op, _ string) error {
		switch op {
		case "write":
			return unix.ENOSPC
		case "sync":
			return unix.EIO
		}
		return nil
	})
	err := d.WriteAt(ctx, block(7), 0, false)
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorIs(t, err, ErrFailed)
	fs.set(nil)
	finishFailed(t, s, d)
}
