package blockstore

import (
	"bytes"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// simHost is a host with an open file of a layer, durable but empty.
func simHost(t *testing.T) (*simDisk, simFS, file) {
	t.Helper()
	d := newHost(1)
	fs := simFS{d}
	require.NoError(t, fs.Mkdir("/host/blocks/layers"))
	f, err := fs.Create("/host/blocks/layers/f")
	require.NoError(t, err)
	require.NoError(t, f.Truncate(segmentSize))
	require.NoError(t, f.Datasync())
	for _, dir := range []string{"/host", "/host/blocks", "/host/blocks/layers"} {
		require.NoError(t, fs.SyncDir(dir))
	}
	return d, fs, f
}

// branches calls fn with what many crashes would leave.
func branches(d *simDisk, power bool, fn func(simFS)) {
	for range 200 {
		d.mu.Lock()
		next := d.branchLocked(power)
		d.mu.Unlock()
		fn(simFS{next})
	}
}

func simRead1(t *testing.T, fs simFS, off int64, n int) []byte {
	t.Helper()
	f, err := fs.Open("/host/blocks/layers/f", false)
	require.NoError(t, err)
	b := make([]byte, n)
	require.NoError(t, f.ReadAt(b, off))
	return b
}

func TestSimKillKeepsWhatWasWritten(t *testing.T) {
	d, fs, f := simHost(t)
	require.NoError(t, f.WriteAt(block(7), segmentSize-BlockSize))
	m, err := fs.Map("/host/ring", ringSize)
	require.NoError(t, err)
	m.Bytes()[9000] = 5
	branches(d, false, func(next simFS) {
		require.Equal(t, block(7), simRead1(t, next, segmentSize-BlockSize, BlockSize))
		b, err := next.ReadFile("/host/ring")
		require.NoError(t, err)
		require.Len(t, b, ringSize)
		require.EqualValues(t, 5, b[9000])
	})
}

// TestSimPowerLoss: each sector is what was synced or any value since, and
// across many crashes all of them are seen.
func TestSimPowerLoss(t *testing.T) {
	d, _, f := simHost(t)
	require.NoError(t, f.WriteAt(block(1), 0))
	require.NoError(t, f.Datasync())
	require.NoError(t, f.WriteAt(block(2), 0))
	require.NoError(t, f.WriteAt(bytes.Repeat([]byte{3}, 100), 512))
	seen := map[[2]byte]bool{}
	torn := false
	branches(d, true, func(next simFS) {
		b := simRead1(t, next, 0, BlockSize)
		for at := 0; at < BlockSize; at += simSector {
			first, last := b[at], b[at+simSector-1]
			seen[[2]byte{first, last}] = true
			torn = torn || b[at] != b[0] && at != 512
		}
	})
	require.Equal(t, map[[2]byte]bool{{1, 1}: true, {2, 2}: true, {3, 2}: true}, seen)
	require.True(t, torn)
	require.NoError(t, f.Datasync())
	branches(d, true, func(next simFS) {
		require.EqualValues(t, 3, simRead1(t, next, 512, 1)[0])
	})
}

func TestSimPowerLossOfPunchSizeAndMapping(t *testing.T) {
	d, fs, f := simHost(t)
	require.NoError(t, f.WriteAt(block(1), 0))
	require.NoError(t, f.Datasync())
	require.NoError(t, f.Punch(0, BlockSize))
	m, err := fs.Map("/host/blocks/ring", ringSize)
	require.NoError(t, err)
	require.NoError(t, m.Sync())
	require.NoError(t, fs.SyncDir("/host/blocks"))
	m.Bytes()[0] = 1
	log, err := fs.Pebble().Create("/host/blocks/log", vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	require.NoError(t, fs.SyncDir("/host/blocks"))
	_, err = log.Write(make([]byte, 100))
	require.NoError(t, err)
	punched, mapped, sizes := map[byte]bool{}, map[byte]bool{}, map[int]bool{}
	branches(d, true, func(next simFS) {
		punched[simRead1(t, next, 0, 1)[0]] = true
		b, err := next.ReadFile("/host/blocks/ring")
		require.NoError(t, err)
		mapped[b[0]] = true
		b, err = next.ReadFile("/host/blocks/log")
		require.NoError(t, err)
		sizes[len(b)] = true
	})
	require.Len(t, punched, 2)
	require.Len(t, mapped, 2)
	require.Equal(t, map[int]bool{0: true, 100: true}, sizes)
}

func TestSimPowerLossOfNames(t *testing.T) {
	d, fs, _ := simHost(t)
	_, err := fs.Create("/host/blocks/layers/g")
	require.NoError(t, err)
	require.NoError(t, fs.Rename("/host/blocks/layers/f", "/host/blocks/layers/h"))
	seen := map[string]bool{}
	branches(d, true, func(next simFS) {
		names, err := next.List("/host/blocks/layers")
		require.NoError(t, err)
		all := ""
		for _, n := range names {
			all += n
		}
		seen[all] = true
	})
	require.Equal(t, map[string]bool{"f": true, "fg": true, "gh": true, "h": true}, seen)
}

// TestSimCrashIsOneInstant: what is done after it, in the old world, does not
// reach the new one.
func TestSimCrashIsOneInstant(t *testing.T) {
	d, _, f := simHost(t)
	require.NoError(t, f.WriteAt(block(1), 0))
	d.arm(1, false)
	require.NoError(t, f.WriteAt(bytes.Repeat(block(2), 4), 0)) // cut short
	next := d.crashed()
	require.NotNil(t, next)
	was := simRead1(t, simFS{next}, 0, 4*BlockSize)
	require.NoError(t, f.WriteAt(block(3), 0))
	require.NoError(t, f.Datasync())
	require.Equal(t, was, simRead1(t, simFS{next}, 0, 4*BlockSize))
	_, _, err := simFS{next}.Lock("/host/blocks/LOCK", nil)
	require.NoError(t, err)
}

// TestSimFailedSyncLies: the next sync succeeds, and what was written turns
// back sooner or later.
func TestSimFailedSyncLies(t *testing.T) {
	d, _, f := simHost(t)
	require.NoError(t, f.WriteAt(block(1), 0))
	require.NoError(t, f.Datasync())
	require.NoError(t, f.WriteAt(block(2), 0))
	d.inject(&simFault{ops: simSync, below: "/layers", err: unix.EIO})
	require.ErrorIs(t, f.Datasync(), unix.EIO)
	require.NoError(t, f.Datasync())
	seen := map[byte]bool{}
	branches(d, true, func(next simFS) { seen[simRead1(t, next, 0, 1)[0]] = true })
	require.Len(t, seen, 2)
	require.Eventually(t, func() bool {
		b := make([]byte, BlockSize)
		require.NoError(t, f.ReadAt(b, 0))
		return bytes.Contains(b, []byte{1})
	}, waitLong, 0+waitTick)
}

func TestSimFaultsEndWritesShort(t *testing.T) {
	d, _, f := simHost(t)
	d.inject(&simFault{ops: simWrite, below: "/layers", after: 1, err: unix.ENOSPC})
	require.NoError(t, f.WriteAt(block(1), 0))
	require.ErrorIs(t, f.WriteAt(bytes.Repeat(block(2), 100), 0), unix.ENOSPC)
	require.True(t, d.heal())
	require.NoError(t, f.WriteAt(block(1), 0))
	_, err := simFS{d}.Open("/host/missing", false)
	require.ErrorIs(t, err, os.ErrNotExist)
}
