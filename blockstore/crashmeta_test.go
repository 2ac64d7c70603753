package blockstore

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestCrashWithoutMetadata has an operation of Pebble's fail, and crashes some
// time after. Pebble would end the process; the store stands still instead,
// still reads, and loses nothing that it promised. Run in a process of its
// own, for what stands still never ends.
func TestCrashWithoutMetadata(t *testing.T) {
	if testing.Short() {
		// The short tests run under the race detector, which cannot know that
		// a goroutine that stands still will not go on.
		t.Skip("not for the race detector")
	}
	if os.Getenv("GOLDSTREAM_TEST_HALT") == "" {
		runSelf(t, "GOLDSTREAM_TEST_HALT=1")
		return
	}
	n, base := 60, uint64(time.Now().UnixNano())
	if *crashSeed != 0 {
		n, base = 1, *crashSeed
	}
	for seed := base; seed < base+uint64(n); seed++ {
		require.NoError(t, runWithoutMetadata(seed), "run again with -crash.seed=%d", seed)
	}
	os.Exit(0) // the leak is meant
}

func runWithoutMetadata(seed uint64) error {
	r := newCrashRun(seed, crashPower, crashMutant{})
	r.memory = 16 << 10 // which has Pebble change its log often
	r.disk = emptyStore().copy(seed)
	r.open()
	for range 10 {
		r.step()
	}
	r.noMetadata = true
	r.disk.inject(&simFault{
		ops: []simOp{simSync, simWrite, simCreate, simSyncDir, simRemove | simRename}[r.rng.IntN(5)], below: "/meta",
		after: r.rng.IntN(6), err: []error{unix.EIO, unix.ENOSPC}[r.rng.IntN(2)],
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for steps := 0; steps < 60 && r.failed == nil && !r.died(); steps++ {
			if r.step(); steps%8 == 0 { // which makes a log and a table, and changes the manifest
				_, _ = r.s.db.AsyncFlush()
			}
		}
	}()
	r.waitStill(done)
	if err := r.stillReads(); err != nil {
		return err
	}
	r.disk.crash(r.rng.IntN(2) == 0)
	next := *r // what changes from here on, the steps under way do not see
	next.crashModel = r.fork()
	next.log = append(next.log, "the metadata failed")
	if next.s.halted.isGiven() {
		next.s = nil
	}
	next.afterCrash()
	next.noMetadata = false
	next.uncertain = new(atomic.Bool)
	for !next.open() && next.failed == nil {
	}
	next.finish()
	next.end()
	return next.failed
}

// waitStill waits until the steps are done, or one of them has not come back
// for some time.
func (r *crashRun) waitStill(done chan struct{}) {
	for last := -1; ; {
		select {
		case <-done:
			return
		case <-time.After(100 * time.Millisecond):
		}
		r.mu.Lock()
		n := len(r.log)
		r.mu.Unlock()
		if n == last && r.s.halted.isGiven() {
			return
		}
		last = n
	}
}

// stillReads reads what is open in a store that stands still.
func (r *crashRun) stillReads() error {
	for _, v := range r.sortedVolumes() {
		if v.disk == nil {
			continue
		}
		select {
		case err := <-async(func() error { return v.disk.ReadAt(ctx, make([]byte, v.disk.Size()), 0) }):
			if err != nil {
				return err
			}
		case <-time.After(waitLong):
			return errors.New("a read does not come back")
		}
	}
	return nil
}
