package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/nbd"
)

// snapped makes a volume v with the snapshot s and writes over what it holds.
func (a *api) snapped(t *testing.T) (then, now []byte) {
	path, then := a.disk(t)
	_, err := a.ImportFile(t.Context(), "i", v1.ImportRequest{HostFile: v1.HostFile{Path: path}}, nil)
	require.NoError(t, err)
	_, err = a.CreateVolume(t.Context(), v1.CreateRequest{Name: "v", Image: "i"})
	require.NoError(t, err)
	_, err = a.CreateSnapshot(t.Context(), "v", v1.SnapshotRequest{Name: "s", Owner: "me"})
	require.NoError(t, err)
	d, err := a.d.store.OpenVolume(t.Context(), "v")
	require.NoError(t, err)
	p := bytes.Repeat([]byte("new."), 128<<10)
	require.NoError(t, d.WriteAt(t.Context(), p, 1<<20, false))
	require.NoError(t, d.Close())
	now = bytes.Clone(then)
	copy(now[1<<20:], p)
	return then, now
}

// requireVolume compares what a volume reads as.
func (a *api) requireVolume(t *testing.T, name string, want []byte) {
	t.Helper()
	d, err := a.d.store.OpenVolume(t.Context(), name)
	require.NoError(t, err)
	got := make([]byte, d.Size())
	require.NoError(t, d.ReadAt(t.Context(), got, 0))
	require.NoError(t, d.Close())
	require.True(t, bytes.Equal(want, got))
}

func (a *api) snapshotNames(t *testing.T, volume string) (names []string) {
	t.Helper()
	list, err := a.Snapshots(t.Context(), volume)
	require.NoError(t, err)
	for _, sn := range list {
		require.Equal(t, volume, sn.Volume)
		names = append(names, sn.Name)
	}
	return names
}

func TestSnapshots(t *testing.T) {
	a := newAPI(t)
	then, _ := a.snapped(t)
	first, err := a.CreateSnapshot(t.Context(), "v", v1.SnapshotRequest{Name: "s2"}, v1.WithRequestID("r"))
	require.NoError(t, err)
	again, err := a.CreateSnapshot(t.Context(), "v", v1.SnapshotRequest{Name: "s2"}, v1.WithRequestID("r"))
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = a.CreateSnapshot(t.Context(), "v", v1.SnapshotRequest{Name: "s2"})
	require.ErrorIs(t, err, blockstore.ErrExists)
	require.Equal(t, []string{"s", "s2"}, a.snapshotNames(t, "v"))

	status, body := a.send(t, "GET", "/v1/volumes/v/snapshots/s/export", "", "")
	require.Equal(t, 200, status)
	require.True(t, body == string(then))
	var out bytes.Buffer
	size, err := a.ExportSnapshot(t.Context(), "v", "s", func(int64) (v1.Sink, error) { return v1.NewFlatSink(&out), nil })
	require.NoError(t, err)
	require.EqualValues(t, len(then), size)
	require.True(t, bytes.Equal(then, out.Bytes()))

	info, err := a.CaptureImage(t.Context(), "c", v1.CaptureRequest{Volume: "v", Snapshot: "s", Owner: "me"}, nil)
	require.NoError(t, err)
	require.Equal(t, "me", info.Owner)
	v, err := a.CreateVolume(t.Context(), v1.CreateRequest{Name: "w", Volume: "v", Snapshot: "s", Size: 4 << 20})
	require.NoError(t, err)
	require.Equal(t, "i", v.Image)
	require.NoError(t, a.DeleteSnapshot(t.Context(), "v", "s", v1.WithRequestID("d")))
	require.NoError(t, a.DeleteSnapshot(t.Context(), "v", "s", v1.WithRequestID("d")))
	require.ErrorIs(t, a.DeleteSnapshot(t.Context(), "v", "s"), blockstore.ErrNotFound)
	a.requireVolume(t, "w", append(then, make([]byte, 1<<20)...))
	rep, err := a.VerifyImage(t.Context(), "c", nil)
	require.NoError(t, err)
	require.Empty(t, rep.Bad)
}

func TestPrune(t *testing.T) {
	a := newAPI(t)
	a.snapped(t)
	for _, name := range []string{"s2", "s3"} {
		_, err := a.CreateSnapshot(t.Context(), "v", v1.SnapshotRequest{Name: name})
		require.NoError(t, err)
	}
	prune := func(req v1.PruneRequest) (names []string) {
		p, err := a.PruneSnapshots(t.Context(), "v", req)
		require.NoError(t, err)
		require.Equal(t, req.DryRun, p.DryRun)
		for _, sn := range p.Deleted {
			names = append(names, sn.Name)
		}
		return names
	}
	one := blockstore.Retention{Last: 1}
	require.Equal(t, []string{"s", "s2"}, prune(v1.PruneRequest{Keep: one, DryRun: true}))
	require.Empty(t, prune(v1.PruneRequest{Keep: one, Owner: "me"}))
	require.Equal(t, []string{"s", "s2", "s3"}, a.snapshotNames(t, "v"))
	require.Equal(t, []string{"s", "s2"}, prune(v1.PruneRequest{Keep: one}))
	require.Equal(t, []string{"s3"}, a.snapshotNames(t, "v"))
	_, err := a.PruneSnapshots(t.Context(), "v", v1.PruneRequest{})
	require.ErrorIs(t, err, blockstore.ErrInvalid)
	status, body := a.send(t, "POST", "/v1/volumes/v/snapshots/prune", v1.TypeJSON, `{"keep":{"last":1}}`)
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"deleted":[],"dryRun":false}`, body)
}

func TestRollback(t *testing.T) {
	a := newAPI(t)
	then, now := a.snapped(t)
	d, err := a.d.store.OpenVolume(t.Context(), "v")
	require.NoError(t, err)
	for _, disconnect := range []bool{false, true} { // there are no NBD clients
		_, err = a.RollBack(t.Context(), "v", v1.RollbackRequest{Snapshot: "s", Disconnect: disconnect})
		require.ErrorIs(t, err, blockstore.ErrInUse)
	}
	require.NoError(t, d.Close())
	req := v1.RollbackRequest{Snapshot: "s", As: "before", Owner: "me"}
	kept, err := a.RollBack(t.Context(), "v", req, v1.WithRequestID("r"))
	require.NoError(t, err)
	require.Equal(t, "before", kept.Name)
	require.Equal(t, "me", kept.Owner)
	require.Equal(t, blockstore.CauseRollback, kept.Cause)
	again, err := a.RollBack(t.Context(), "v", req, v1.WithRequestID("r"))
	require.NoError(t, err)
	require.Equal(t, kept, again)
	a.requireVolume(t, "v", then)
	_, err = a.RollBack(t.Context(), "v", v1.RollbackRequest{Snapshot: "before"})
	require.NoError(t, err)
	a.requireVolume(t, "v", now)
	require.Len(t, a.snapshotNames(t, "v"), 3)
}

// TestRollbackDisconnects rolls back under clients that connect again as soon as
// they are cut off.
func TestRollbackDisconnects(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "data"), Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	ready := make(chan string, 1)
	socket := filepath.Join(t.TempDir(), "nbd")
	go func() {
		ended <- d.Run(ctx, RunConfig{NBD: []Listener{{Address: "unix:" + socket}}, Ready: func(uris []string) { ready <- uris[0] }})
	}()
	<-ready
	c := v1.NewClient(filepath.Join(d.dir, v1.SocketName))
	_, err = c.CreateVolume(ctx, v1.CreateRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	_, err = c.CreateSnapshot(ctx, "v", v1.SnapshotRequest{Name: "empty"})
	require.NoError(t, err)

	clients, leave := context.WithCancel(ctx)
	gone := make(chan struct{})
	for range 3 {
		go func() {
			defer func() { gone <- struct{}{} }()
			for clients.Err() == nil {
				comeBack(clients, socket)
			}
		}()
	}
	rollBack := func(req v1.RollbackRequest) error {
		require.Eventually(t, func() bool { v, err := c.Volume(ctx, "v"); return err == nil && v.Open > 0 }, time.Minute, time.Millisecond)
		_, err := c.RollBack(ctx, "v", req)
		return err
	}
	require.ErrorIs(t, rollBack(v1.RollbackRequest{Snapshot: "nope", Disconnect: true}), blockstore.ErrNotFound)
	require.ErrorIs(t, rollBack(v1.RollbackRequest{Snapshot: "empty", As: "empty", Disconnect: true}), blockstore.ErrExists)
	for range 10 {
		require.NoError(t, rollBack(v1.RollbackRequest{Snapshot: "empty", Disconnect: true}))
	}
	leave()
	for range 3 {
		<-gone
	}
	c.Close()
	cancel()
	require.NoError(t, <-ended)
	require.NoError(t, d.Close())
}

// comeBack connects, and writes until it is cut off.
func comeBack(ctx context.Context, socket string) {
	n, err := nbd.Dial(ctx, "unix", socket, "v")
	if err != nil {
		return // kept out
	}
	defer n.Close()
	for err == nil && ctx.Err() == nil {
		_, err = n.WriteAt(ctx, []byte("here again"), 0)
	}
}

func TestRetired(t *testing.T) {
	a := newAPI(t)
	_, now := a.snapped(t)
	require.NoError(t, a.RetireVolume(t.Context(), "v", time.Hour, v1.WithRequestID("r")))
	require.NoError(t, a.RetireVolume(t.Context(), "v", time.Hour, v1.WithRequestID("r")))
	_, err := a.Volume(t.Context(), "v")
	require.ErrorIs(t, err, blockstore.ErrNotFound)
	list, err := a.RetiredVolumes(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "v", list[0].Name)
	require.Equal(t, time.Hour, list[0].Until.Sub(list[0].Retired))

	_, err = a.CreateVolume(t.Context(), v1.CreateRequest{Name: "v", Image: "i"})
	require.NoError(t, err)
	_, err = a.RestoreVolume(t.Context(), "v", v1.RestoreRequest{})
	require.ErrorIs(t, err, blockstore.ErrExists)
	info, err := a.RestoreVolume(t.Context(), list[0].ID, v1.RestoreRequest{As: "w"}, v1.WithRequestID("b"))
	require.NoError(t, err)
	again, err := a.RestoreVolume(t.Context(), list[0].ID, v1.RestoreRequest{As: "w"}, v1.WithRequestID("b"))
	require.NoError(t, err)
	require.Equal(t, info, again)
	a.requireVolume(t, "w", now)
	require.Equal(t, []string{"s"}, a.snapshotNames(t, "w"))

	require.NoError(t, a.RetireVolume(t.Context(), "w", time.Hour))
	require.NoError(t, a.RemoveRetired(t.Context(), "w"))
	require.ErrorIs(t, a.RemoveRetired(t.Context(), "w"), blockstore.ErrNotFound)
	status, body := a.send(t, "GET", "/v1/retired", "", "")
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"retired":[]}`, body)
}

func TestUsage(t *testing.T) {
	a := newAPI(t)
	a.snapped(t)
	u, err := a.Usage(t.Context())
	require.NoError(t, err)
	require.Equal(t, []blockstore.Usage{
		{Kind: "image", Name: "i", Logical: 3 << 20, Mapped: 2 << 20}, // v stands on it
		{Kind: "snapshot", Name: "v/s", Logical: 3 << 20, Mapped: 2 << 20},
		{Kind: "volume", Name: "v", Logical: 3 << 20, Mapped: 5 << 19, Exclusive: 1 << 19},
	}, u.Disks)
	require.GreaterOrEqual(t, u.Data, int64(5<<19))
}

// TestSnapshotExports lists and opens snapshots as the NBD server does.
func TestSnapshotExports(t *testing.T) {
	a := newAPI(t)
	then, _ := a.snapped(t)
	e := newExports(a.d.store)
	list, err := e.List(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, nbd.ExportInfo{Name: "snapshots/v/s", Description: "snapshot of v", Size: int64(len(then)), ReadOnly: true}, list[2])
	d, err := e.Open(t.Context(), "snapshots/v/s")
	require.NoError(t, err)
	require.True(t, d.ReadOnly())
	got := make([]byte, d.Size())
	require.NoError(t, d.ReadAt(t.Context(), got, 0))
	require.NoError(t, d.Close())
	require.True(t, bytes.Equal(then, got))
	for _, name := range []string{"snapshots/", "snapshots/v", "snapshots/v/", "snapshots/v/s/", "snapshots/v/t", "snapshots/w/s"} {
		_, err := e.Open(t.Context(), name)
		require.ErrorIs(t, err, blockstore.ErrNotFound, name)
	}

	lift := e.bar("v")
	_, err = e.Open(t.Context(), "v")
	require.ErrorIs(t, err, blockstore.ErrInUse)
	lift()
	d, err = e.Open(t.Context(), "v")
	require.NoError(t, err)
	require.NoError(t, d.Close())
}

func TestSnapshotRequestsAreStrict(t *testing.T) {
	a := newAPI(t)
	a.snapped(t)
	for _, r := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/volumes/v/snapshots", `{"name":"x","volume":"v"}`, 400},
		{"POST", "/v1/volumes/v/snapshots", `{"name":"a/b"}`, 400},
		{"POST", "/v1/volumes/w/snapshots", `{"name":"x"}`, 404},
		{"GET", "/v1/volumes/w/snapshots", "", 404},
		{"GET", "/v1/volumes/v/snapshots?owner=me", "", 400},
		{"GET", "/v1/volumes/v/snapshots/x/export", "", 404},
		{"GET", "/v1/volumes/v/snapshots/s/export?format=vmdk", "", 400},
		{"POST", "/v1/volumes/v/snapshots/prune", `{"keep":{"daily":-1}}`, 400},
		{"POST", "/v1/volumes/v/snapshots/prune", `{"keep":{"dialy":1}}`, 400},
		{"POST", "/v1/volumes/v/rollback", `{}`, 404},
		{"POST", "/v1/volumes", `{"name":"x","image":"i","volume":"v","snapshot":"s"}`, 400},
		{"POST", "/v1/volumes", `{"name":"x","snapshot":"s"}`, 400},
		{"POST", "/v1/images/x/capture", `{"volume":"v","snapshot":"x"}`, 404},
		{"DELETE", "/v1/volumes/v?keep=", "", 400},
		{"DELETE", "/v1/volumes/v?keep=3", "", 400},
		{"DELETE", "/v1/volumes/v?keep=-1h", "", 400},
		{"DELETE", "/v1/volumes/v?kept=1h", "", 400},
		{"POST", "/v1/retired/x/restore", `{}`, 404},
		{"DELETE", "/v1/retired/x", "", 404},
		{"GET", "/v1/usage?kind=image", "", 400},
	} {
		status, body := a.send(t, r.method, r.path, v1.TypeJSON, r.body)
		require.Equal(t, r.status, status, "%s %s: %s", r.method, r.path, body)
		var e struct{ Error v1.Error }
		require.NoError(t, json.Unmarshal([]byte(body), &e), body)
		require.NotEmpty(t, e.Error.Message)
	}
	require.Equal(t, []string{"s"}, a.snapshotNames(t, "v"))
}

// TestAcceptLossWithoutAFailure: there is nothing to accept, and whoever has the
// volume open is not disturbed for it.
func TestAcceptLossWithoutAFailure(t *testing.T) {
	a := newAPI(t)
	a.snapped(t)
	_, err := a.AcceptLoss(t.Context(), "v", v1.AcceptLossRequest{})
	require.ErrorIs(t, err, blockstore.ErrInvalid)
	require.ErrorContains(t, err, "did not fail")
	_, err = a.AcceptLoss(t.Context(), "nope", v1.AcceptLossRequest{Disconnect: true})
	require.ErrorIs(t, err, blockstore.ErrNotFound)
	status, body := a.send(t, "POST", "/v1/volumes/v/accept-loss", "application/json", `{"disconect":true}`)
	require.Equal(t, 400, status, body)
}
