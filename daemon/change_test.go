package daemon

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/task"
)

// TestTwice: the same request again touches no volume.
func TestTwice(t *testing.T) {
	w := newWard(t)
	volume, digest := w.scribble()
	out, err := w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{RequestID: "r1"})
	w.settled(out, err)
	second := w.profile().Volume
	require.NotEqual(t, volume, second)
	again, err := w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{RequestID: "r1"})
	w.settled(again, err)
	require.Equal(t, out.Task.ID, again.Task.ID)
	require.Equal(t, second, w.profile().Volume)
	_, err = w.DeleteResource(t.Context(), v1.ProfileCollection, "web", v1.Change{RequestID: "r1"})
	require.ErrorIs(t, err, blockstore.ErrExists, "the key is that of another request")

	p := w.profile()
	p.Hardware = "b1"
	how := v1.Change{RequestID: "r2", ETag: p.ETag}
	sent := *p
	w.settled(w.ReplaceResource(t.Context(), "web", &sent, how))
	third := w.profile().Volume
	sent = *p
	w.settled(w.ReplaceResource(t.Context(), "web", &sent, how))
	require.Equal(t, third, w.profile().Volume, "even with the eTag of then")
	_, err = w.ReplaceResource(t.Context(), "web", p, v1.Change{})
	require.ErrorIs(t, err, v1.ErrStale)
	w.consistent()
	_, err = w.RestoreVolume(t.Context(), volume, v1.RestoreRequest{})
	require.NoError(t, err)
	require.Equal(t, digest, w.digest(volume))
}

// TestDryRun says what would happen, and does nothing.
func TestDryRun(t *testing.T) {
	w := newWard(t)
	volume, digest := w.scribble()
	before := w.profile()
	p := w.profile()
	p.Hardware = "b1"
	out, err := w.ReplaceResource(t.Context(), "web", p, v1.Change{DryRun: true})
	require.NoError(t, err)
	require.Len(t, out.Effects, 1)
	e := out.Effects[0]
	require.Equal(t, []string{"4"}, e.Rows)
	require.Equal(t, "regenerate", e.Action)
	require.Equal(t, volume, e.Volume)
	require.EqualValues(t, 3<<20, e.Bytes)
	require.Len(t, e.Reasons, 1)
	require.Nil(t, out.Task)
	require.Equal(t, before, w.profile())
	require.Equal(t, digest, w.digest(volume))
	_, tasks, err := w.d.life(t.Context())
	require.NoError(t, err)
	require.Len(t, tasks.List(), 1, "that of its creation")
}

// TestFailedRegenerate: the old volume stays, and what was asked for is owed.
func TestFailedRegenerate(t *testing.T) {
	w := newWard(t)
	volume, digest := w.scribble()
	require.NoError(t, w.d.store.DeleteImage(t.Context(), "debian", ""))
	plan := "p2"
	out, err := w.save(func(p *v1.Profile) { p.Deployment = &v1.ProfileDeployment{Plan: &plan} })
	require.NoError(t, err)
	i := w.ended(t, *out.Task)
	require.Equal(t, task.Failed, i.State)
	require.Empty(t, i.Failure.Left)
	p := w.profile()
	require.Equal(t, "Error", p.State)
	require.Equal(t, []string{"8"}, p.Owed)
	require.Equal(t, i.ID, p.Task)
	require.Equal(t, volume, p.Volume)
	require.False(t, p.ExportClosed)
	require.Equal(t, digest, w.digest(volume))
	w.consistent()

	w.importImage(t, "debian")
	status, body := w.importPlans(t, wardPlans)
	require.Equal(t, 200, status, body)
	out, err = w.save(func(p *v1.Profile) { p.Description = "the next save does it" })
	w.settled(out, err)
	require.Equal(t, []string{"8"}, out.Effects[0].Rows)
	p = w.profile()
	require.NotEqual(t, volume, p.Volume)
	require.Equal(t, "Normal", p.State)
	require.Empty(t, p.Owed)
	w.consistent()
}

// TestGoBack: the profile names again what it named before a change that failed,
// and has its volume as it was.
func TestGoBack(t *testing.T) {
	w := newWard(t)
	volume, digest := w.scribble()
	var broken atomic.Bool
	broken.Store(true)
	w.d.opts.failpoint = func(point string) {
		if point == "before clone" && broken.Load() {
			panic("the disk is full")
		}
	}
	first, second := "p1", "p2"
	out, err := w.save(func(p *v1.Profile) { p.Deployment = &v1.ProfileDeployment{Plan: &second} })
	require.NoError(t, err)
	require.Equal(t, task.Failed, w.ended(t, *out.Task).State)
	require.Equal(t, []string{"8"}, w.profile().Owed)
	broken.Store(false)
	w.settled(w.save(func(p *v1.Profile) { p.Deployment = &v1.ProfileDeployment{Plan: &first} }))
	p := w.profile()
	require.Equal(t, volume, p.Volume)
	require.Equal(t, "Normal", p.State)
	require.Empty(t, p.Owed)
	require.Equal(t, digest, w.digest(volume))
	w.consistent()
}

// TestFailedMove: a volume that its new server cannot access stays closed, until
// the profile has gone back.
func TestFailedMove(t *testing.T) {
	w := newWard(t)
	volume, digest := w.scribble()
	require.NoError(t, w.d.store.DeleteImage(t.Context(), "debian", ""))
	out, err := w.assign("b1")
	require.NoError(t, err)
	require.Equal(t, task.Failed, w.ended(t, *out.Task).State)
	require.Equal(t, []string{"4"}, w.profile().Owed)
	w.settled(w.assign("a1"))
	p := w.profile()
	require.Equal(t, volume, p.Volume)
	require.Equal(t, "Normal", p.State)
	require.Empty(t, p.Owed)
	require.False(t, p.ExportClosed)
	require.Equal(t, digest, w.digest(volume))
}

// TestClosedExport: without a server nobody opens the volume.
func TestClosedExport(t *testing.T) {
	w := newWard(t)
	volume, _ := w.scribble()
	d, err := w.d.exports.Open(t.Context(), volume)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	w.settled(w.assign(""))
	require.True(t, w.profile().ExportClosed)
	_, err = w.d.exports.Open(t.Context(), volume)
	require.ErrorContains(t, err, "is closed")
	fresh := newExports(w.d.store) // as after a restart
	w.d.exports = fresh
	s, _, err := w.d.life(t.Context())
	require.NoError(t, err)
	require.NoError(t, w.d.loadClosed(t.Context(), s))
	_, err = fresh.Open(t.Context(), volume)
	require.ErrorContains(t, err, "is closed")
	w.settled(w.assign("a2"))
	d, err = fresh.Open(t.Context(), volume)
	require.NoError(t, err)
	require.NoError(t, d.Close())
}

// TestOwnedVolumes: only the profile's rules let its volume go.
func TestOwnedVolumes(t *testing.T) {
	w := newWard(t)
	volume, _ := w.scribble()
	require.ErrorIs(t, w.DeleteVolume(t.Context(), volume), blockstore.ErrInUse)
	require.ErrorIs(t, w.RetireVolume(t.Context(), volume, 1), blockstore.ErrInUse)
	w.settled(w.DeleteResource(t.Context(), v1.ProfileCollection, "web", v1.Change{}))
	require.NoError(t, w.RemoveRetired(t.Context(), volume))
	w.consistent()
}

// TestOutdated: an edit of the image shows, and only a redeploy uses it.
func TestOutdated(t *testing.T) {
	w := newWard(t)
	require.Empty(t, w.profile().Outdated)
	require.NoError(t, w.d.store.DeleteImage(t.Context(), "debian", ""))
	w.importImage(t, "debian")
	status, body := w.importPlans(t, wardPlans)
	require.Equal(t, 200, status, body)
	require.Len(t, w.profile().Outdated, 1)
	w.settled(w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{}))
	require.Empty(t, w.profile().Outdated)
}

// TestServerRuns: a volume is not taken from a server that may run.
func TestServerRuns(t *testing.T) {
	w := newWard(t)
	volume, digest := w.scribble()
	var h v1.Hardware
	_, err := w.edit(&h, "a1", func() { h.Power = "On" })
	require.NoError(t, err)
	_, err = w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{})
	require.ErrorIs(t, err, blockstore.ErrInUse)
	require.ErrorContains(t, err, "Some server profile attributes cannot be changed while the server hardware is powered on")
	require.Equal(t, digest, w.digest(volume))
	_, err = w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{DryRun: true})
	require.NoError(t, err)
	w.settled(w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{Confirmed: true}))
	require.NotEqual(t, volume, w.profile().Volume)
}
