package daemon

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/task"
)

// reopened closes the ward's daemon and opens its data again, as a start does.
func (w *ward) reopened(o Options) *ward {
	w.t.Helper()
	require.NoError(w.t, w.Embedded.Close())
	require.NoError(w.t, w.d.Close())
	d, err := Open(w.d.dir, o)
	require.NoError(w.t, err)
	return openedWard(w.t, d)
}

// TestTokenFailsBehindSwap: the profile has its new volume but no token can be made.
// It shows an error, and the next start, or the next save, has the volume opened.
func TestTokenFailsBehindSwap(t *testing.T) {
	for _, next := range []string{"start", "save"} {
		t.Run(next, func(t *testing.T) {
			w := newWard(t)
			old, _ := w.scribble()
			// A directory that is in the way of the file of each token.
			dir := w.d.tokens.dir
			w.d.tokens.dir = filepath.Join(dir, "nowhere", "at all")
			out, err := w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{})
			require.NoError(t, err)
			require.Equal(t, task.Failed, w.ended(t, *out.Task).State)
			p := w.profile()
			require.NotEqual(t, old, p.Volume)
			require.Equal(t, "Error", p.State)
			require.Equal(t, out.Task.ID, p.Task)
			w.requireClosed(p.Volume)
			w.consistent()

			w.d.tokens.dir = dir
			if next == "save" {
				w.settled(w.save(func(p *v1.Profile) { p.Description = "x" }))
			} else {
				w = w.reopened(Options{})
				_, tasks, err := w.d.life(t.Context())
				require.NoError(t, err)
				for _, i := range tasks.List() {
					w.ended(t, i)
				}
			}
			require.Equal(t, p.Volume, w.profile().Volume)
			require.Equal(t, "Normal", w.profile().State)
			w.requireOpen(p.Volume)
			w.consistent()
		})
	}
}

// TestBusyUntilOpened: from the swap until its volume is opened a profile is still
// its task's.
func TestBusyUntilOpened(t *testing.T) {
	w := newWard(t)
	at, free := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.d.opts.failpoint = func(p string) {
		if p == "before open-export" {
			once.Do(func() { close(at); <-free })
		}
	}
	out, err := w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{})
	require.NoError(t, err)
	<-at
	p := w.profile()
	require.Equal(t, "Applying", p.State)
	require.Equal(t, out.Task.ID, p.Task)
	_, err = w.assign("")
	close(free)
	require.ErrorIs(t, err, blockstore.ErrInUse)
	require.ErrorContains(t, err, out.Task.ID)
	require.Equal(t, task.Completed, w.ended(t, *out.Task).State)
	require.Equal(t, "Normal", w.profile().State)
	require.Empty(t, w.profile().Task)
}

// TestSwapFails: what cannot be committed is undone as a whole, also the fence.
func TestSwapFails(t *testing.T) {
	w := newWard(t)
	volume, digest := w.scribble()
	w.d.opts.failpoint = func(p string) {
		if p == "after swap" {
			panic("the journal is full")
		}
	}
	out, err := w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{})
	require.NoError(t, err)
	require.Equal(t, task.Failed, w.ended(t, *out.Task).State)
	w.requireOpen(volume)
	require.Equal(t, volume, w.profile().Volume)
	require.Equal(t, digest, w.digest(volume))
	w.consistent() // nothing is left of the new volume
}

// TestTasksGoByURI: a task of a profile is the same profile's whatever that was
// called in the request.
func TestTasksGoByURI(t *testing.T) {
	w := newWard(t)
	uri := w.profile().URI
	_, tasks, err := w.d.life(t.Context())
	require.NoError(t, err)
	for _, called := range []string{"web", uri} {
		w.settled(w.Redeploy(t.Context(), called, new(v1.Profile), v1.Change{}))
		i := tasks.List()[len(tasks.List())-1]
		require.Equal(t, uri, i.Subject)
	}
}

// TestAssignmentsKeepTokens: what somebody gave out by hand, and the boot of the
// profile's own server, outlive an assignment. The boot of the server that the
// profile has left does not.
func TestAssignmentsKeepTokens(t *testing.T) {
	w := newWard(t)
	for name, mac := range map[string]string{"a1": "52:54:00:00:00:01", "a2": "52:54:00:00:00:02"} {
		var h v1.Hardware
		w.settled(w.edit(&h, name, func() { h.MACs = []string{mac} }))
	}
	volume, _ := w.scribble()
	mine, err := w.CreateToken(t.Context(), volume, v1.TokenRequest{})
	require.NoError(t, err)
	v, err := w.d.store.Volume(t.Context(), volume)
	require.NoError(t, err)
	secret, boot, err := w.d.tokens.create(token{Volume: v.Name, VolumeID: v.ID, Boot: true})
	require.NoError(t, err)
	_, err = w.d.boots.put(bootRecord{Volume: v.Name, VolumeID: v.ID, MACs: []string{"52:54:00:00:00:01"}, Secret: secret, TokenID: boot.ID})
	require.NoError(t, err)
	profiles := func() (n int) {
		for _, t := range w.d.tokens.list() {
			if t.Profile {
				n++
			}
		}
		return n
	}

	w.settled(w.assign(""))
	w.settled(w.assign("a1"))
	require.True(t, w.d.tokens.has(mine.ID))
	require.True(t, w.d.tokens.has(boot.ID))
	require.Equal(t, 1, profiles())
	w.settled(w.assign("a2"))
	require.True(t, w.d.tokens.has(mine.ID))
	require.False(t, w.d.tokens.has(boot.ID), "the server a1 has lost the volume")
	require.Empty(t, w.d.boots.list())
	require.Equal(t, 1, profiles())
}

// TestVolumesOfTasksAreShielded: at a start nobody opens a volume that a task makes,
// also before the task goes on.
func TestVolumesOfTasksAreShielded(t *testing.T) {
	dir, died := crashed(t, newCrashSite(t, false), "regenerate", "after clone")
	require.True(t, died)
	run := make(chan struct{})
	d, err := Open(dir, Options{taskpoint: func(p string) {
		if p == "begun" {
			<-run
		}
	}})
	require.NoError(t, err)
	w := openedWard(t, d)
	_, tasks, err := d.life(t.Context())
	require.NoError(t, err)
	var made string
	volumes, err := d.store.Volumes(t.Context())
	require.NoError(t, err)
	for _, v := range volumes {
		for _, i := range tasks.List() {
			if !i.State.Finished() && v.Owner == ownerOfTasks+i.ID {
				made = v.Name
			}
		}
	}
	_, err = d.exports.Open(t.Context(), made)
	close(run)
	require.NotEmpty(t, made)
	require.ErrorContains(t, err, "is closed")
	for _, i := range tasks.List() {
		w.ended(t, i)
	}
	require.Equal(t, made, w.profile().Volume)
	w.requireOpen(made)
}

// TestShieldedDeployment: a deployment has its volume for itself from the start on,
// and lets it go once it has nothing to run.
func TestShieldedDeployment(t *testing.T) {
	w := newWard(t)
	v, err := w.CreateVolume(t.Context(), v1.CreateRequest{Name: "v", Size: 1 << 20, Owner: ownerOfTasks + "t1"})
	require.NoError(t, err)
	w.d.shield(t.Context())(deployKindName, "t1")
	_, err = w.d.exports.Open(t.Context(), v.Name)
	require.ErrorIs(t, err, blockstore.ErrInUse)
	fresh, err := w.d.hold(t.Context(), "t1", v.Name)
	require.NoError(t, err)
	require.True(t, fresh, "an earlier process may have been at it")
	fresh, err = w.d.hold(t.Context(), "t1", v.Name)
	require.NoError(t, err)
	require.False(t, fresh)
	w.d.letGo("t1")
	w.requireOpens(v.Name)
}

// TestRetireLeavesOthers: a volume that is to be retired is gone, and somebody makes
// another of its name just then. That one stays, and can be opened.
func TestRetireLeavesOthers(t *testing.T) {
	for _, id := range []string{"vol-gone", ""} { // records of old have none
		t.Run("ID "+id, func(t *testing.T) {
			w := newWard(t)
			var made blockstore.VolumeInfo
			w.d.opts.failpoint = func(p string) {
				if p == "looked up v" {
					var err error
					made, err = w.CreateVolume(t.Context(), v1.CreateRequest{Name: "v", Size: 1 << 20})
					require.NoError(t, err)
				}
			}
			w.d.exports.close("v", true) // as at a start, or before the swap
			require.NoError(t, w.d.retire(t.Context(), "v", id, "", time.Hour))
			v, err := w.d.store.Volume(t.Context(), "v")
			require.NoError(t, err)
			require.Equal(t, made.ID, v.ID)
			w.requireOpens("v")
		})
	}
}
