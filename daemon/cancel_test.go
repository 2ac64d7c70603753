package daemon

import (
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/task"
)

// cancelled makes a change and has its task cancelled at a failpoint.
func (w *ward) cancelled(point string, do func() (v1.Outcome, error)) task.Info {
	w.t.Helper()
	at, free := make(chan struct{}), make(chan struct{})
	first := true // all points are of one task
	w.d.opts.failpoint = func(p string) {
		if p == point && first {
			first = false
			close(at)
			<-free
		}
	}
	out, err := do()
	require.NoError(w.t, err)
	<-at
	_, err = w.CancelTask(w.t.Context(), out.Task.ID)
	close(free)
	require.NoError(w.t, err)
	return w.ended(w.t, *out.Task)
}

func (w *ward) requireClosed(volume string) {
	w.t.Helper()
	require.True(w.t, w.profile().ExportClosed)
	_, err := w.d.exports.Open(w.t.Context(), volume)
	require.ErrorContains(w.t, err, "is closed")
}

func (w *ward) requireOpen(volume string) {
	w.t.Helper()
	require.False(w.t, w.profile().ExportClosed)
	d, err := w.d.exports.Open(w.t.Context(), volume)
	require.NoError(w.t, err)
	require.NoError(w.t, d.Close())
}

// onlyToken is the one by which a volume is opened from the network.
func (w *ward) onlyToken() string {
	w.t.Helper()
	list, err := w.Tokens(w.t.Context())
	require.NoError(w.t, err)
	require.Len(w.t, list, 1)
	return list[0].ID
}

// TestCancelledAssignments: a server that a profile has left loses the volume, also
// where the task that was to take it away is cancelled. The next one gets it by a
// task that cuts the old one off.
func TestCancelledAssignments(t *testing.T) {
	for _, change := range []struct {
		name, to string
		next     func(w *ward) (v1.Outcome, error)
	}{
		{"unassign", "", func(w *ward) (v1.Outcome, error) { return w.assign("a2") }},
		{"move", "a2", func(w *ward) (v1.Outcome, error) {
			return w.save(func(p *v1.Profile) { p.Description = "x" })
		}},
	} {
		for _, point := range []string{"before intent", "before fence", "after fence"} {
			t.Run(change.name+" "+point, func(t *testing.T) {
				w := newWard(t)
				volume, digest := w.scribble()
				token := w.onlyToken()
				i := w.cancelled(point, func() (v1.Outcome, error) { return w.assign(change.to) })
				require.Equal(t, task.Cancelled, i.State)
				require.Equal(t, "Error", w.profile().State)
				require.Equal(t, change.to, w.profile().Hardware)
				w.requireClosed(volume)

				out := w.settled(change.next(w))
				require.NotNil(t, out.Task)
				fenced, err := w.Task(t.Context(), out.Task.ID, 0)
				require.NoError(t, err)
				var log []string
				for _, l := range fenced.Log {
					log = append(log, l.Text)
				}
				require.Contains(t, log, "export of volume "+volume+" closed")
				p := w.profile()
				require.Equal(t, "a2", p.Hardware)
				require.Equal(t, "Normal", p.State)
				require.Equal(t, volume, p.Volume)
				require.NotEqual(t, token, w.onlyToken())
				w.requireOpen(volume)
				require.Equal(t, digest, w.digest(volume))
			})
		}
	}
}

// TestCancelledWaiting: a task that never began takes the volume away all the same.
func TestCancelledWaiting(t *testing.T) {
	w := newWard(t)
	volume, _ := w.scribble()
	free := make(chan struct{})
	w.d.opts.failpoint = func(p string) {
		if p == "before intent" {
			<-free
		}
	}
	var busy []task.Info
	defer func() {
		close(free)
		for _, i := range busy {
			w.ended(t, i)
		}
	}()
	plan := "p1"
	for i := range deployments {
		name := string(rune('a'+i/26)) + string(rune('a'+i%26))
		out, err := w.CreateResource(t.Context(), &v1.Profile{ResourceHead: v1.ResourceHead{Name: name}, Deployment: &v1.ProfileDeployment{Plan: &plan}}, v1.Change{RequestID: name})
		require.NoError(t, err)
		busy = append(busy, *out.Task)
	}
	out, err := w.assign("")
	require.NoError(t, err)
	i, err := w.CancelTask(t.Context(), out.Task.ID)
	require.NoError(t, err)
	require.Equal(t, task.Cancelled, i.State)
	w.requireClosed(volume)
}

// TestCancelledKeepsOpen: what is given up does not take the volume from the server
// that the profile still names.
func TestCancelledKeepsOpen(t *testing.T) {
	w := newWard(t)
	volume, digest := w.scribble()
	token := w.onlyToken()
	i := w.cancelled("after fence", func() (v1.Outcome, error) {
		return w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{})
	})
	require.Equal(t, task.Cancelled, i.State)
	w.requireOpen(volume)
	out := w.settled(w.save(func(p *v1.Profile) { p.Description = "x" }))
	require.Nil(t, out.Task)
	require.Equal(t, token, w.onlyToken())
	require.Equal(t, digest, w.digest(volume))

	w.settled(w.assign(""))
	i = w.cancelled("after fence", func() (v1.Outcome, error) {
		return w.DeleteResource(t.Context(), v1.ProfileCollection, "web", v1.Change{})
	})
	require.Equal(t, task.Cancelled, i.State)
	w.requireClosed(volume) // as it was
}

// TestOwedAbroad: a volume that its server cannot access is opened to it by no
// event of the server.
func TestOwedAbroad(t *testing.T) {
	w := newWard(t)
	volume, digest := w.scribble()
	require.NoError(t, w.d.store.DeleteImage(t.Context(), "debian", ""))
	out, err := w.assign("b1")
	require.NoError(t, err)
	require.Equal(t, task.Failed, w.ended(t, *out.Task).State)
	require.Equal(t, []string{"4"}, w.profile().Owed)
	w.requireClosed(volume)
	var h v1.Hardware
	w.settled(w.edit(&h, "b1", func() { h.UUID = "4c4c4544-0001" }))
	require.Equal(t, []string{"4"}, w.profile().Owed)
	w.requireClosed(volume)
	require.Equal(t, digest, w.digest(volume))
	w.settled(w.assign("a1"))
	w.requireOpen(volume)
	_, err = w.d.store.Volume(t.Context(), volume)
	require.NotErrorIs(t, err, blockstore.ErrNotFound)
}

// TestCancelBehindSwap: the profile has its new volume, and gets it opened.
func TestCancelBehindSwap(t *testing.T) {
	w := newWard(t)
	volume, _ := w.scribble()
	at, free := make(chan struct{}), make(chan struct{})
	w.d.opts.failpoint = func(p string) {
		if p == "before retire" {
			close(at)
			<-free
		}
	}
	out, err := w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{})
	require.NoError(t, err)
	<-at
	_, err = w.CancelTask(t.Context(), out.Task.ID)
	close(free)
	require.ErrorContains(t, err, "cannot be cancelled any more")
	require.Equal(t, task.Completed, w.ended(t, *out.Task).State)
	p := w.profile()
	require.Equal(t, "Normal", p.State)
	require.NotEqual(t, volume, p.Volume)
	w.requireOpen(p.Volume)
	w.consistent()
}
