package daemon

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/task"
)

func (a *api) importImage(t *testing.T, name string) blockstore.ImageInfo {
	path, _ := a.disk(t)
	_, err := a.ImportFile(context.Background(), name, v1.ImportRequest{HostFile: v1.HostFile{Path: path}}, nil)
	require.NoError(t, err)
	info, err := a.d.store.Image(context.Background(), name)
	require.NoError(t, err)
	return info
}

// deployed submits a deployment as a task and waits for its end.
func (a *api) deployed(t *testing.T, in deployInput) task.Info {
	_, tasks, err := a.d.life(context.Background())
	require.NoError(t, err)
	i, err := tasks.Submit(context.Background(), task.Request{Kind: deployKindName, Name: "deploy", Owner: "api", Input: in})
	require.NoError(t, err)
	return a.ended(t, i)
}

// ended waits for the end of a task.
func (a *api) ended(t *testing.T, i task.Info) task.Info {
	_, tasks, err := a.d.life(context.Background())
	require.NoError(t, err)
	for err == nil && !i.State.Finished() {
		i, err = tasks.Wait(context.Background(), i.ID, i.Revision, 0)
	}
	require.NoError(t, err)
	return i
}

// TestAnotherImageOfTheName deletes an image that a plan is for, and imports
// another under its name.
func TestAnotherImageOfTheName(t *testing.T) {
	a := newAPI(t)
	ctx := context.Background()
	old := a.importImage(t, "debian")
	status, body := a.importPlans(t, "kind: DeploymentPlan\nname: p\nimage: debian\n")
	require.Equal(t, http.StatusOK, status, body)
	backend := &backend{Store: a.d.store, d: a.d}
	i, err := backend.Deploy(ctx, v1.DeployRequest{Plan: "p", Name: "v1", AsIs: true}, "")
	require.NoError(t, err)
	require.Equal(t, task.Completed, a.ended(t, i).State)

	require.NoError(t, a.d.store.DeleteImage(ctx, "debian", ""))
	a.importImage(t, "debian")
	i, err = backend.Deploy(ctx, v1.DeployRequest{Plan: "p", Name: "v2", AsIs: true}, "")
	require.NoError(t, err)
	i = a.ended(t, i)
	require.Equal(t, task.Failed, i.State)
	require.Contains(t, i.Failure.Message, "another of that name")
	require.Empty(t, i.Failure.Left)
	_, err = a.d.store.Volume(ctx, "v2")
	require.ErrorIs(t, err, blockstore.ErrNotFound)
	_, err = backend.Preview(ctx, v1.DeployRequest{Plan: "p", Name: "v2"})
	require.ErrorContains(t, err, "another of that name")
	require.Equal(t, task.Failed, a.deployed(t, deployInput{Name: "v3", Image: "debian", ImageID: old.ID}).State)
	require.Equal(t, task.Completed, a.deployed(t, deployInput{Name: "v3", Image: "debian"}).State, "an old record has no ID")

	status, body = a.importPlans(t, "kind: DeploymentPlan\nname: p\nimage: debian\n")
	require.Equal(t, http.StatusOK, status, body)
	i, err = backend.Deploy(ctx, v1.DeployRequest{Plan: "p", Name: "v2", AsIs: true}, "")
	require.NoError(t, err)
	require.Equal(t, task.Completed, a.ended(t, i).State)
}
