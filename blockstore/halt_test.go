package blockstore

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
)

// TestNobodyWaitsForPebbleStandingStill: the next write-ahead log cannot be
// made in the middle of a commit, which never returns. Those that wait and
// those that come, and Close, must. In a process of its own, as above.
func TestNobodyWaitsForPebbleStandingStill(t *testing.T) {
	if os.Getenv("GOLDSTREAM_TEST_HALT") == "" {
		runSelf(t, "GOLDSTREAM_TEST_HALT=1")
		return
	}
	time.AfterFunc(waitLong, func() { panic("somebody waits for ever") })
	var sync, create atomic.Bool
	s, d, _ := hooked(t, &hookedFS{pebble: brokenLogs{vfs.Default, &sync, &create}})
	require.NoError(t, d.WriteAt(ctx, block(5), 0, true))
	create.Store(true)
	commits := make(chan error)
	for range 4 { // until the memtable is full, which asks for a new log
		go func() {
			for {
				b := s.db.NewBatch()
				_ = b.Set([]byte("z"), make([]byte, 1<<20), nil)
				if err := s.commit(b); err != nil {
					commits <- err
					return
				}
			}
		}()
	}
	for range 4 {
		require.ErrorIs(t, <-commits, ErrFailed)
	}
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "w", Size: 1 << 20})
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, d.WriteAt(ctx, block(6), 0, true), ErrFailed)
	require.EqualValues(t, 5, firstByte(t, d, 0), "reads go on")
	_ = d.Close()
	require.ErrorIs(t, s.Close(), ErrFailed)
	_, err = Open(s.dir, testOptions())
	require.ErrorIs(t, err, ErrLocked, "Pebble may still write")
	os.Exit(0) // the leak is meant
}
