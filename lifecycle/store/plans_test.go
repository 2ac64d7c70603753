package store

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"goldstream/lifecycle/model"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

// TestPlansAreKept saves plans and reads them in a store that is opened again.
func TestPlansAreKept(t *testing.T) {
	ctx, fs := context.Background(), vfs.NewMem()
	s, err := Open("/d", Options{FS: fs})
	require.NoError(t, err)
	script := &model.PlanScript{Meta: model.Meta{URI: model.NewURI(model.PlanScripts), Name: "host"}, PlanScript: personalize.PlanScript{Type: personalize.Deploy, Content: "echo @Host@ @Root@"}}
	build := &model.BuildPlan{Meta: model.Meta{Name: "web"}, BuildPlan: personalize.BuildPlan{Type: personalize.Deploy,
		Steps: []personalize.BuildStep{{Script: string(script.URI)}, {Script: string(script.URI)}},
		Attributes: []attribute.Definition{
			attribute.NewDefinition("Host", attribute.Hostname, "web"), attribute.NewDefinition("Root", attribute.Password, "s3cret"),
		}}}
	cause := Cause{Who: "test", Why: "plans"}
	require.NoError(t, s.Update(ctx, cause, func(tx *Tx) error {
		require.NoError(t, tx.Create(script))
		return tx.Create(build)
	}))
	require.NoError(t, s.Close())
	s, err = Open("/d", Options{FS: fs})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.View(ctx, func(r *Reader) error {
		got, err := r.ByName(model.BuildPlans, "web")
		require.NoError(t, err)
		require.Equal(t, build, got)
		require.Equal(t, "s3cret", got.(*model.BuildPlan).Attributes[1].Default().Reveal())
		body, err := json.Marshal(got)
		require.NoError(t, err)
		require.NotContains(t, string(body), "s3cret")
		require.Contains(t, string(body), `"name":"web"`)
		got, err = r.Get(script.URI)
		require.Equal(t, script, got)
		return err
	}))
	require.ErrorIs(t, s.Update(ctx, cause, func(tx *Tx) error { return tx.Delete(script.URI, AnyETag) }), ErrInUse)
	build.Attributes = nil
	script.Content = "bogus"
	require.ErrorIs(t, s.Update(ctx, cause, func(tx *Tx) error { return tx.Save(script) }), model.ErrInvalid)
}
