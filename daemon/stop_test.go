package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/rules"
	"goldstream/lifecycle/task"
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
	w.d.awaitStopping(t)
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

// awaitStopping waits until a stop has begun, or keeps the lock.
func (d *Daemon) awaitStopping(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		if !d.lifecycle.mu.TryLock() {
			return true
		}
		defer d.lifecycle.mu.Unlock()
		return d.lifecycle.closed
	}, time.Minute, time.Millisecond)
}

// TestStopDuringStep: the daemon stops while a step of a bundle's task asks for the
// store, before the engine has told the step or while it waits for it. The stop comes
// to its end, and the task goes on at the next start as if nothing had been.
func TestStopDuringStep(t *testing.T) {
	for _, step := range []string{"images", "plans", "write"} {
		for _, told := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, told %v", step, told), func(t *testing.T) { stopDuringStep(t, step, told) })
		}
	}
}

func stopDuringStep(t *testing.T, step string, told bool) {
	dir := filepath.Join(t.TempDir(), "data")
	working, resume := make(chan struct{}), make(chan struct{})
	d, err := Open(dir, Options{taskpoint: func(point string) {
		if point == "before "+step {
			close(working)
			<-resume
		}
	}})
	require.NoError(t, err)
	a := &api{Embedded: d.Embed(), d: d}
	i := bundleTask(t, a, step)
	<-working
	_, tasks, err := d.life(t.Context())
	require.NoError(t, err)
	if !told { // the stop has come no further yet
		before, err := tasks.Get(i.ID, 0)
		require.NoError(t, err)
		d.lifecycle.mu.Lock()
		d.lifecycle.closed = true
		d.lifecycle.mu.Unlock()
		close(resume)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = tasks.Wait(ctx, i.ID, before.Revision, 0)
		require.NoError(t, err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- d.endTasks() }()
	if told {
		d.awaitStopping(t)
		close(resume)
	}
	select {
	case err := <-stopped:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		panic("the stop waits for the step, and the step for the stop: nothing ends any more")
	}
	i, err = tasks.Get(i.ID, 0)
	require.NoError(t, err)
	require.Equal(t, task.Running, i.State, "%+v", i.Failure)
	require.NoError(t, a.Embedded.Close())
	require.NoError(t, d.Close())

	d, err = Open(dir, Options{})
	require.NoError(t, err)
	a = &api{Embedded: d.Embed(), d: d}
	i, err = a.Task(t.Context(), i.ID, 0)
	require.NoError(t, err)
	i = a.finished(t, i)
	require.Equal(t, task.Completed, i.State, "%+v", i.Failure)
	require.NoError(t, a.Embedded.Close())
	require.NoError(t, d.Close())
}

// bundleTask begins a task of a bundle that has the step.
func bundleTask(t *testing.T, a *api, step string) task.Info {
	t.Helper()
	if step == "write" {
		_, err := a.ImportPlans(t.Context(), "kind: PlanScript\nname: host\ntype: deploy\nscript: echo mine\n---\nkind: BuildPlan\nname: web\ntype: deploy\nsteps: [{script: host}]\n", false)
		require.NoError(t, err)
		i, err := a.CreateBundle(t.Context(), v1.BundleRequest{Name: "mine", Builds: []v1.BundleItem{{Name: "web"}}})
		require.NoError(t, err)
		return i
	}
	info := a.addBundle(t, "", ownBundle(t, "site-linux.zip"))
	i, err := a.ImportBundle(t.Context(), info.URI, "")
	require.NoError(t, err)
	return i
}
