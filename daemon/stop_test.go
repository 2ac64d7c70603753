package daemon

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/rules"
)

// TestStopDuringChange: the daemon stops while a change is in its update and a
// task works on the profile. The update does not wait for the stop, which waits
// for it.
func TestStopDuringChange(t *testing.T) {
	w := newWard(t)
	working, finish := make(chan struct{}), make(chan struct{})
	w.d.opts.failpoint = func(point string) {
		if point == "before fence" {
			close(working)
			<-finish
		}
	}
	_, err := w.assign("")
	require.NoError(t, err)
	<-working

	inside, decide, changed := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	b := &backend{Store: w.d.store, d: w.d}
	go func() {
		_, err := b.carryOut(t.Context(), wish{name: "change profile web", do: func(ch *change) error {
			close(inside)
			<-decide
			before, err := ch.profile("web", v1.Change{})
			if err != nil {
				return err
			}
			after := *before
			after.Description = "x"
			return ch.saveProfile(rules.Event{Kind: rules.Save}, before, &after)
		}})
		changed <- err
	}()
	<-inside
	stopped := make(chan error, 1)
	go func() { stopped <- w.d.endTasks() }()
	require.Eventually(t, func() bool { // the stop has the lock, and keeps it
		if w.d.lifecycle.mu.TryLock() {
			defer w.d.lifecycle.mu.Unlock()
			return false
		}
		return true
	}, time.Minute, time.Millisecond)
	close(decide)
	select {
	case err := <-changed:
		require.ErrorIs(t, err, blockstore.ErrInUse, "the task has the profile")
	case <-time.After(time.Minute):
		panic("the change waits for the stop, and the stop for the change: nothing ends any more")
	}
	close(finish)
	require.NoError(t, <-stopped)
}
