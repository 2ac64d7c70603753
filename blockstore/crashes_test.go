package blockstore

import (
	"bytes"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// simVolume opens a store on a simulated disk and makes a volume "v" in it.
func simVolume(t *testing.T, d *simDisk) (*Store, *Disk) {
	t.Helper()
	s, err := Open(crashDir, simOptions(d))
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	return s, openVolume(t, s, "v")
}

// crashed is what a crash leaves of a store's disk; the store ends.
func crashed(s *Store, d *simDisk, power bool) *simDisk {
	next := d.crash(power)
	s.kill()
	return next
}

// afterBoot opens a store, in a boot of the host, and its volume "v".
func afterBoot(t *testing.T, d *simDisk, boot string) (*Store, *Disk) {
	t.Helper()
	o := simOptions(d)
	o.bootID = boot
	s, err := Open(crashDir, o)
	require.NoError(t, err)
	return s, openVolume(t, s, "v")
}

// TestARemovalThatComesBack: a power loss right after a volume is reclaimed
// leaves no file that no record names.
func TestARemovalThatComesBack(t *testing.T) {
	d := newHost(1)
	s, v := simVolume(t, d)
	require.NoError(t, v.WriteAt(ctx, block(1), 0, true))
	require.NoError(t, v.Close())
	require.NoError(t, s.DeleteVolume(ctx, "v", ""))
	require.Eventually(t, func() bool {
		s.cat.mu.Lock()
		defer s.cat.mu.Unlock()
		return len(s.cat.mu.lineages) == 0
	}, waitLong, waitTick)
	branches(d, true, func(next simFS) {
		for _, dir := range []string{"/layers", "/rings"} {
			names, err := next.List(crashDir + dir)
			require.NoError(t, err)
			require.Empty(t, names)
		}
	})
	require.NoError(t, s.Close())
}

// TestAFailedWriteIsNotBroughtBack: what an intent and the file prove after a
// write that failed is not what was read since, nor what was trimmed.
func TestAFailedWriteIsNotBroughtBack(t *testing.T) {
	const blocks = 64
	d := newHost(1)
	s, v := simVolume(t, d)
	d.inject(&simFault{ops: simWrite, below: "/layers", err: unix.ENOSPC})
	require.ErrorIs(t, v.WriteAt(ctx, bytes.Repeat(block(7), blocks), 0, false), unix.ENOSPC)
	require.True(t, isZeroLong(readAll(t, v)))
	require.NoError(t, v.Trim(ctx, 0, blocks*BlockSize, false))
	s, v = afterBoot(t, crashed(s, d, false), "1")
	require.True(t, isZeroLong(readAll(t, v)))
	finish(t, s, v)
}

// TestARingThatComesBack: a loss is accepted after a power loss, and the next
// one undoes the removal of the ring. What that says was given up.
func TestARingThatComesBack(t *testing.T) {
	d := newHost(1)
	s, v := simVolume(t, d)
	require.NoError(t, v.WriteAt(ctx, block(1), 0, true))
	require.NoError(t, v.WriteAt(ctx, block(2), 2*BlockSize, false))
	require.NoError(t, v.Trim(ctx, 0, BlockSize, false))
	d.inject(&simFault{ops: simSync, below: "/layers", err: unix.EIO})
	require.ErrorIs(t, v.Flush(ctx), ErrFailed)
	d.mu.Lock() // the kernel writes the ring back
	dir, _, ring, err := d.find(s.ringPath(v.v.entry.lineage.id))
	require.NoError(t, err)
	for _, m := range ring.maps {
		m.absorb()
	}
	ring.sync()
	dir.sync()
	d.mu.Unlock()
	d = crashed(s, d, true)

	o := simOptions(d)
	o.bootID = "2"
	s, err = Open(crashDir, o)
	require.NoError(t, err)
	_, err = s.AcceptLoss(ctx, "v", "")
	require.NoError(t, err)
	v = openVolume(t, s, "v")
	require.NoError(t, v.WriteAt(ctx, block(5), 0, true))
	came := 0
	for seed := range uint64(60) {
		d.mu.Lock()
		next := d.branchLocked(true)
		d.mu.Unlock()
		if b, err := (simFS{next}).ReadFile(s.ringPath(v.v.entry.lineage.id)); err == nil && len(b) == simRing {
			came++
		}
		s, v := afterBoot(t, next, "3")
		require.EqualValues(t, 5, firstByte(t, v, 0), "branch %d", seed)
		finish(t, s, v)
	}
	require.Positive(t, came, "it never came back")
	crashed(s, d, false)
}

// TestAFailedSyncOfARecovery is final, wherever the process is killed then: a
// second sync would be told that all is well.
func TestAFailedSyncOfARecovery(t *testing.T) {
	d := newHost(1)
	s, v := simVolume(t, d)
	require.NoError(t, v.WriteAt(ctx, block(1), 0, true))
	require.NoError(t, v.WriteAt(ctx, block(2), 0, false)) // of which the ring does not tell
	d = crashed(s, d, false)
	const steps = 40
	failed := 0
	for step := range uint64(steps) {
		d := d.copy(step)
		s, err := Open(crashDir, simOptions(d))
		require.NoError(t, err)
		sync := d.inject(&simFault{ops: simSync, below: "/layers", err: unix.EIO})
		d.arm(int(step)+1, false)
		if v, err := s.OpenVolume(ctx, "v"); err == nil {
			_ = v.Close()
		}
		s, v := afterBoot(t, crashed(s, d, false), "1")
		if err := v.ReadAt(ctx, make([]byte, BlockSize), 0); sync.fired {
			require.ErrorIs(t, err, ErrFailed, "killed at step %d", step)
			require.NoError(t, v.Close())
			failed++
		} else {
			require.EqualValues(t, 2, firstByte(t, v, 0), "killed at step %d", step)
			require.NoError(t, v.Close())
		}
		require.NoError(t, s.Close())
	}
	require.Positive(t, failed, "no sync has failed")
}

// TestATopStaysOneUntilItsEndIsDurable: what a volume stands on is not absorbed
// into its top while a kill may still leave the volume.
func TestATopStaysOneUntilItsEndIsDurable(t *testing.T) {
	var next atomic.Pointer[func()] // before the next commit
	o := testOptions()
	o.reorder = func(b *pebble.Batch, commit func(*pebble.Batch) error) error {
		if fn := next.Swap(nil); fn != nil {
			(*fn)()
		}
		return commit(b)
	}
	s, err := Open(t.TempDir(), o)
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	l := d.v.entry.lineage
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	_, err = s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "s"})
	require.NoError(t, err)
	require.NoError(t, d.Close())
	isTop := func() bool {
		s.cat.mu.Lock()
		defer s.cat.mu.Unlock()
		return s.reclaim.isBase(l, l.versions[0])
	}
	require.True(t, isTop())
	still := false
	look := func() { still = isTop() }
	next.Store(&look)
	require.NoError(t, s.DeleteVolume(ctx, "v", ""))
	require.True(t, still)
	require.NoError(t, s.Close())
}
