package daemon

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

// restarted does what the next start does before it serves.
func (w *ward) restarted() {
	w.t.Helper()
	s, tasks, err := w.d.life(w.t.Context())
	require.NoError(w.t, err)
	w.d.exports = newExports(w.d.store)
	require.NoError(w.t, w.d.loadClosed(w.t.Context(), s))
	require.NoError(w.t, w.d.settle(w.t.Context(), s, tasks))
}

func (w *ward) requireOpens(volume string) {
	w.t.Helper()
	d, err := w.d.exports.Open(w.t.Context(), volume)
	require.NoError(w.t, err)
	require.NoError(w.t, d.Close())
}

// TestNameReused: a volume that has the name of a profile's retired one is its
// maker's, whatever is done about the retired one.
func TestNameReused(t *testing.T) {
	w := newWard(t)
	name, digest := w.scribble()
	w.settled(w.DeleteResource(t.Context(), v1.ProfileCollection, "web", v1.Change{}))
	retired, err := w.d.store.RetiredVolumes(t.Context())
	require.NoError(t, err)
	require.Len(t, retired, 1)
	mine, err := w.CreateVolume(t.Context(), v1.CreateRequest{Name: name, Size: 1 << 20})
	require.NoError(t, err)

	w.restarted()
	now, err := w.Volume(t.Context(), name)
	require.NoError(t, err)
	require.Equal(t, mine.ID, now.ID)
	w.requireOpens(name)
	found, err := w.CheckProfiles(t.Context())
	require.NoError(t, err)
	require.Empty(t, found.Found)

	require.NoError(t, w.RetireVolume(t.Context(), name, 1<<40))
	require.NoError(t, w.RemoveRetired(t.Context(), mine.ID))
	w.restarted()
	left, err := w.d.store.RetiredVolumes(t.Context())
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(left, func(v blockstore.RetiredVolume) bool { return v.ID == retired[0].ID }))
	_, err = w.RestoreVolume(t.Context(), name, v1.RestoreRequest{})
	require.NoError(t, err)
	w.restarted()
	require.Equal(t, digest, w.digest(name))
}

// TestRestoreAfterRestart: a restored volume is opened by anybody who may.
func TestRestoreAfterRestart(t *testing.T) {
	w := newWard(t)
	name, digest := w.scribble()
	w.settled(w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{}))
	w.restarted()
	_, err := w.RestoreVolume(t.Context(), name, v1.RestoreRequest{})
	require.NoError(t, err)
	w.requireOpens(name)
	require.Equal(t, digest, w.digest(name))
}

// TestRestoreLeft: a volume that somebody reads when it is deleted is retired at
// the next start, whatever is asked for meanwhile.
func TestRestoreLeft(t *testing.T) {
	w := newWard(t)
	name, digest := w.scribble()
	reader, err := w.d.store.OpenVolume(t.Context(), name)
	require.NoError(t, err)
	w.settled(w.Redeploy(t.Context(), "web", new(v1.Profile), v1.Change{}))
	_, err = w.Volume(t.Context(), name)
	require.NoError(t, err, "it could not be retired")
	_, err = w.RestoreVolume(t.Context(), name, v1.RestoreRequest{})
	require.ErrorIs(t, err, blockstore.ErrNotFound)
	require.NoError(t, reader.Close())

	w.restarted()
	_, err = w.Volume(t.Context(), name)
	require.ErrorIs(t, err, blockstore.ErrNotFound)
	_, err = w.RestoreVolume(t.Context(), name, v1.RestoreRequest{})
	require.NoError(t, err)
	w.requireOpens(name)
	require.Equal(t, digest, w.digest(name))
}
