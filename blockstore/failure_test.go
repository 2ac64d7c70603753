package blockstore

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// breakSyncs makes syncs of data files fail from now on, those of the rest not.
func breakSyncs(fs *faultyFS, err error) {
	fs.set(func(op, path string) error {
		if op == "sync" && strings.Contains(path, "/layers/") {
			return err
		}
		return nil
	})
}

// dataFile returns the path of the only data file of volume "v".
func dataFile(t *testing.T, d *Disk) string {
	t.Helper()
	return d.v.top.Load().layer.known()[0].path()
}

// failedAfter makes volume "v" fail: block 0 and 5 are flushed, then 0 is
// overwritten, 1 written for the first time and 5 zeroed.
func failedAfter(t *testing.T, fs *faultyFS, d *Disk) {
	t.Helper()
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	require.NoError(t, d.WriteAt(ctx, block(5), 5*BlockSize, true))
	require.NoError(t, d.WriteAt(ctx, block(2), 0, false))
	require.NoError(t, d.WriteAt(ctx, block(3), BlockSize, false))
	require.NoError(t, d.Trim(ctx, 5*BlockSize, BlockSize, false))
	breakSyncs(fs, unix.EIO)
	require.ErrorIs(t, d.Flush(ctx), ErrFailed)
	fs.set(nil)
}

// requireFailed: what was changed since the last good flush is not read, the
// rest is, nothing is taken, and the ranges are named.
func requireFailed(t *testing.T, s *Store, d *Disk) {
	t.Helper()
	b := make([]byte, BlockSize)
	for _, lost := range []int64{0, 1, 5} {
		require.ErrorIs(t, d.ReadAt(ctx, b, lost*BlockSize), ErrFailed, "block %d", lost)
		require.ErrorIs(t, d.ReadAt(ctx, b[:1], lost*BlockSize+4095), ErrFailed)
		require.False(t, d.TryReadAt(b, lost*BlockSize))
	}
	require.NoError(t, d.ReadAt(ctx, b, 2*BlockSize))
	require.ErrorIs(t, d.ReadAt(ctx, make([]byte, 3*BlockSize), 3*BlockSize), ErrFailed, "a part of it is lost")
	require.ErrorIs(t, d.WriteAt(ctx, b, 9*BlockSize, false), ErrFailed)
	require.ErrorIs(t, d.Trim(ctx, 0, BlockSize, false), ErrFailed)
	require.ErrorIs(t, d.Flush(ctx), ErrFailed)
	_, err := s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "no"})
	require.ErrorIs(t, err, ErrFailed)
	info, err := s.Volume(ctx, "v")
	require.NoError(t, err)
	require.Equal(t, []Range{{0, 2 * BlockSize}, {5 * BlockSize, BlockSize}}, info.Failure.Ranges)
	require.EqualValues(t, 3*BlockSize, info.Failure.Bytes)
	require.Contains(t, info.Failure.Cause, "input/output error")
	require.Zero(t, info.Failure.Accepted)
	list, err := s.Volumes(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 3*BlockSize, list[0].Failure.Bytes)
	require.Empty(t, list[0].Failure.Ranges)
}

// TestAFailedSyncOutlivesRestarts: of the process, also of one that is killed,
// and of the host.
func TestAFailedSyncOutlivesRestarts(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, s *Store, d *Disk){
		"closed": func(t *testing.T, s *Store, d *Disk) { finishFailed(t, s, d) },
		"killed": func(_ *testing.T, s *Store, _ *Disk) { s.kill() },
	} {
		for _, boot := range []string{"", "another boot"} {
			t.Run(name+", "+boot, func(t *testing.T) {
				fs, s, d, dir := faulty(t)
				failedAfter(t, fs, d)
				requireFailed(t, s, d)
				end(t, s, d)
				s = reopenFaulty(t, fs, dir, boot)
				d = openVolume(t, s, "v")
				requireFailed(t, s, d)
				require.NoError(t, d.Close())
				require.NoError(t, s.Close())
			})
		}
	}
}

// TestAFailedVolumeThatGoesIsClosed: its maps give up their memory, and its ring
// is not mapped any more, though nobody accepted the loss.
func TestAFailedVolumeThatGoesIsClosed(t *testing.T) {
	for name, remove := range map[string]func(s *Store) error{
		"deleted": func(s *Store) error { return s.DeleteVolume(ctx, "v", "") },
		"retired": func(s *Store) error {
			return errors.Join(s.RetireVolume(ctx, "v", 0, ""), s.RemoveRetired(ctx, "v", ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs, s, d, _ := faulty(t)
			failedAfter(t, fs, d)
			require.ErrorIs(t, d.Close(), ErrFailed)
			require.Positive(t, s.pages.bytes.Load())
			require.NoError(t, remove(s))
			require.Zero(t, s.pages.bytes.Load())
			require.Nil(t, d.v.entry.open)
			requireNoLayers(t, s, s.dir)
			require.NoError(t, s.Close())
		})
	}
}

// TestAcceptLossNamesWhatCannotBeProved: of what was changed since the last
// good flush, intents prove what the disk has; of an overwrite nothing is known.
func TestAcceptLossNamesWhatCannotBeProved(t *testing.T) {
	fs, s, d, _ := faulty(t)
	_, err := s.AcceptLoss(ctx, "v", "")
	require.ErrorIs(t, err, ErrInUse)
	failedAfter(t, fs, d)
	require.ErrorIs(t, d.Close(), ErrFailed)
	info, err := s.AcceptLoss(ctx, "v", "id-1")
	require.NoError(t, err)
	require.Equal(t, []Range{{0, BlockSize}}, info.Failure.Ranges)
	require.EqualValues(t, BlockSize, info.Failure.Bytes)
	require.NotZero(t, info.Failure.Accepted)
	require.EqualValues(t, 1, info.Epoch)
	for _, id := range []string{"id-1", ""} {
		again, err := s.AcceptLoss(ctx, "v", id)
		require.NoError(t, err)
		require.Equal(t, info.Failure, again.Failure)
		require.EqualValues(t, 1, again.Epoch)
	}
	d = openVolume(t, s, "v")
	require.EqualValues(t, 3, firstByte(t, d, BlockSize))
	require.Zero(t, firstByte(t, d, 5*BlockSize))
	require.NoError(t, d.WriteAt(ctx, block(7), 0, true), "it goes on")
	require.EqualValues(t, 7, firstByte(t, d, 0))
	finish(t, s, d)
}

// TestAcceptLossAsksTheDisk: a first write that the disk does not hold is lost,
// also if an older one of the same block is there.
func TestAcceptLossAsksTheDisk(t *testing.T) {
	fs, s, d, _ := faulty(t)
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	for i, b := range []byte{2, 3, 4} {
		require.NoError(t, d.WriteAt(ctx, block(b), int64(i+1)*BlockSize, false))
	}
	require.NoError(t, d.WriteAt(ctx, block(5), 3*BlockSize, false))
	path := dataFile(t, d)
	breakSyncs(fs, unix.ENOSPC)
	require.ErrorIs(t, d.Flush(ctx), ErrFailed)
	fs.set(nil)
	require.ErrorIs(t, d.Close(), ErrFailed)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err1 := f.WriteAt(block(9), 2*BlockSize) // the disk has something else
	_, err2 := f.WriteAt(block(4), 3*BlockSize) // and what was overwritten
	require.NoError(t, errors.Join(err1, err2, f.Close()))
	info, err := s.AcceptLoss(ctx, "v", "")
	require.NoError(t, err)
	require.Equal(t, []Range{{2 * BlockSize, 2 * BlockSize}}, info.Failure.Ranges)
	d = openVolume(t, s, "v")
	require.EqualValues(t, 1, firstByte(t, d, 0))
	require.EqualValues(t, 2, firstByte(t, d, BlockSize))
	require.Zero(t, firstByte(t, d, 2*BlockSize), "its first write is lost")
	finish(t, s, d)
}

// TestAcceptLossProvesNothingAfterAPowerLoss: the ring may lack its end.
func TestAcceptLossProvesNothingAfterAPowerLoss(t *testing.T) {
	fs, s, d, dir := faulty(t)
	failedAfter(t, fs, d)
	s.kill()
	s = reopenFaulty(t, fs, dir, "another boot")
	info, err := s.AcceptLoss(ctx, "v", "")
	require.NoError(t, err)
	require.Equal(t, []Range{{0, 2 * BlockSize}, {5 * BlockSize, BlockSize}}, info.Failure.Ranges)
	d = openVolume(t, s, "v")
	require.Zero(t, firstByte(t, d, BlockSize))
	finish(t, s, d)
	s = reopenFaulty(t, fs, dir, "another boot")
	info, err = s.Volume(ctx, "v")
	require.NoError(t, err)
	require.Len(t, info.Failure.Ranges, 2, "it still tells")
	require.NoError(t, s.Close())
}

// TestAcceptLossWhileTheDiskFails changes nothing and may be tried again.
func TestAcceptLossWhileTheDiskFails(t *testing.T) {
	fs, s, d, _ := faulty(t)
	failedAfter(t, fs, d)
	require.ErrorIs(t, d.Close(), ErrFailed)
	breakSyncs(fs, unix.EIO)
	for range 2 {
		_, err := s.AcceptLoss(ctx, "v", "id")
		require.ErrorIs(t, err, ErrFailed)
	}
	d = openVolume(t, s, "v")
	requireFailed(t, s, d)
	require.NoError(t, d.Close())
	fs.set(nil)
	info, err := s.AcceptLoss(ctx, "v", "id")
	require.NoError(t, err)
	require.Equal(t, []Range{{0, BlockSize}}, info.Failure.Ranges)
	require.NoError(t, s.Close())
}

// TestAFailureThatCannotBeRecorded: the ring says it. Then nothing is known of
// what was changed, and all that the layer holds counts.
func TestAFailureThatCannotBeRecorded(t *testing.T) {
	fs, s, d, dir := faulty(t)
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	require.NoError(t, d.WriteAt(ctx, block(2), 20<<20, true))
	require.NoError(t, d.WriteAt(ctx, block(3), 40<<20, false))
	fs.set(func(op, path string) error {
		if op == "sync" && strings.Contains(path, "/layers/") {
			_ = s.fail(errors.New("the same disk"))
			return unix.EIO
		}
		return nil
	})
	require.ErrorIs(t, d.Flush(ctx), ErrFailed)
	fs.set(nil)
	s.kill()
	s = reopenFaulty(t, fs, dir, "")
	d = openVolume(t, s, "v")
	b := make([]byte, BlockSize)
	for _, lost := range []int64{0, 20 << 20, 40 << 20} {
		require.ErrorIs(t, d.ReadAt(ctx, b, lost), ErrFailed)
	}
	require.NoError(t, d.ReadAt(ctx, b, 60<<20))
	require.NoError(t, d.Close())
	info, err := s.Volume(ctx, "v")
	require.NoError(t, err)
	require.True(t, info.Failure.All)
	require.Equal(t, []Range{{0, BlockSize}, {20 << 20, BlockSize}, {40 << 20, BlockSize}}, info.Failure.Ranges)
	info, err = s.AcceptLoss(ctx, "v", "")
	require.NoError(t, err)
	require.Equal(t, []Range{{0, BlockSize}, {20 << 20, BlockSize}}, info.Failure.Ranges)
	d = openVolume(t, s, "v")
	require.EqualValues(t, 2, firstByte(t, d, 20<<20))
	require.EqualValues(t, 3, firstByte(t, d, 40<<20))
	finish(t, s, d)
}

// TestARecoveryThatCannotSync: the kernel may have dropped what the process
// before it wrote.
func TestARecoveryThatCannotSync(t *testing.T) {
	fs, s, d, dir := faulty(t)
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	require.NoError(t, d.WriteAt(ctx, block(2), BlockSize, false))
	s.kill()
	s = reopenFaulty(t, fs, dir, "")
	breakSyncs(fs, unix.EIO)
	d = openVolume(t, s, "v")
	fs.set(nil)
	require.ErrorIs(t, d.Flush(ctx), ErrFailed)
	b := make([]byte, BlockSize)
	require.ErrorIs(t, d.ReadAt(ctx, b, 0), ErrFailed)
	require.ErrorIs(t, d.ReadAt(ctx, b, BlockSize), ErrFailed)
	require.NoError(t, d.ReadAt(ctx, b, 2*BlockSize))
	require.NoError(t, d.Close())
	info, err := s.AcceptLoss(ctx, "v", "")
	require.NoError(t, err)
	require.Equal(t, []Range{{0, BlockSize}}, info.Failure.Ranges)
	require.NoError(t, s.Close())
}

// TestRollBackOfAFailedVolume keeps what the disk holds or, where that fails,
// gives it up if told to.
func TestRollBackOfAFailedVolume(t *testing.T) {
	for name, discard := range map[string]bool{"kept": false, "discarded": true} {
		t.Run(name, func(t *testing.T) {
			fs, s, d, _ := faulty(t)
			require.NoError(t, d.WriteAt(ctx, block(8), 8*BlockSize, true))
			_, err := s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "good"})
			require.NoError(t, err)
			failedAfter(t, fs, d)
			require.ErrorIs(t, d.Close(), ErrFailed)
			breakSyncs(fs, unix.EIO)
			_, err = s.RollBack(ctx, "v", "good", SnapshotRequest{Name: "kept"})
			require.ErrorIs(t, err, ErrFailed)
			if !discard {
				fs.set(nil)
			}
			kept, err := s.RollBack(ctx, "v", "good", SnapshotRequest{Name: "kept", Discard: discard})
			require.NoError(t, err)
			fs.set(nil)
			info, err := s.Volume(ctx, "v")
			require.NoError(t, err)
			require.Nil(t, info.Failure)
			d = openVolume(t, s, "v")
			require.EqualValues(t, 8, firstByte(t, d, 8*BlockSize))
			require.Zero(t, firstByte(t, d, BlockSize))
			require.NoError(t, d.WriteAt(ctx, block(9), 0, true))
			require.NoError(t, d.Close())
			if discard {
				require.Empty(t, kept.Name)
				require.Equal(t, 1, info.Snapshots)
			} else {
				require.Equal(t, 2, info.Snapshots)
				d, err := s.OpenSnapshot(ctx, "v", "kept")
				require.NoError(t, err)
				require.EqualValues(t, 3, firstByte(t, d, BlockSize))
				require.NoError(t, d.Close())
			}
			require.NoError(t, s.Close())
		})
	}
}

// TestTheFailureGoesWithTheVolume: no record of it is left.
func TestTheFailureGoesWithTheVolume(t *testing.T) {
	fs, s, d, dir := faulty(t)
	failedAfter(t, fs, d)
	require.ErrorIs(t, d.Close(), ErrFailed)
	require.NoError(t, s.DeleteVolume(ctx, "v", ""))
	requireNoLayers(t, s, dir)
	require.NoError(t, s.Close())
	requireOnlyKeys(t, dir, 'S')
}

func TestBlockSetCodec(t *testing.T) {
	s := new(blockSet)
	for _, run := range [][2]int{{0, 1}, {63, 65}, {100, 300}, {regionBlocks - 1, regionBlocks}} {
		setBits((*[regionBlocks / 64]uint64)(s), run[0], run[1], true)
		require.True(t, s.any(run[1]-1, run[1]))
		require.True(t, s.any(0, run[1]))
	}
	require.False(t, s.any(1, 63))
	require.False(t, s.any(300, regionBlocks-1))
	again, err := decodeBlocks(s.encode())
	require.NoError(t, err)
	require.Equal(t, s, again)
	for _, bad := range [][]byte{{0}, {0xff}, {0, 0x81, 0x20}, bytes.Repeat([]byte{0xff}, 12)} {
		_, err := decodeBlocks(bad)
		require.Error(t, err, "%x", bad)
	}
}

// TestSyncErrorsAreNeverRetried: of data or of its directory, whatever the
// error; a neighbour goes on.
func TestSyncErrorsAreNeverRetried(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EIO, unix.ENOSPC, unix.EDQUOT} {
		fs, s, d, _ := faulty(t)
		_, err := s.CreateVolume(ctx, CloneRequest{Name: "other", Size: 1 << 20})
		require.NoError(t, err)
		require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
		path, syncs := dataFile(t, d), 0
		fs.set(func(op, at string) error {
			if op == "sync" && at == path {
				if syncs++; syncs == 1 {
					return errno
				}
			}
			return nil
		})
		require.ErrorIs(t, d.Flush(ctx), ErrFailed)
		require.ErrorIs(t, d.Flush(ctx), ErrFailed)
		require.ErrorIs(t, d.WriteAt(ctx, block(1), 0, true), ErrFailed)
		require.Equal(t, 1, syncs)
		other := openVolume(t, s, "other")
		require.NoError(t, other.WriteAt(ctx, block(1), 0, true))
		require.NoError(t, other.Close())
		finishFailed(t, s, d)
	}
}
