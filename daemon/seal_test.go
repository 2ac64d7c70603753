package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/lifecycle/model"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
	"goldstream/personalize/step"
)

// TestSealedProgram: what a task keeps of a deployment shows no password, is the same
// for the same request, and runs as it would have.
func TestSealedProgram(t *testing.T) {
	dir := t.TempDir()
	s, err := openSealer(dir)
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(dir, sealFile))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	d := deployment{
		plan: &model.DeploymentPlan{Size: 5 << 20, Values: []attribute.Value{attribute.NewValue("Two", attribute.Password, "second-s3cret")}},
		build: personalize.BuildPlan{Attributes: []attribute.Definition{
			attribute.NewDefinition("One", attribute.Password, "first-s3cret"),
			attribute.NewDefinition("Two", attribute.Password, ""), attribute.NewDefinition("Three", attribute.Password, ""),
		}},
		steps: []personalize.Step{{Name: "file", Native: &step.Step{File: &step.File{Path: "/a", Content: "@One@ @Two@ @Three@ @VolumeSize@"}}}},
	}
	req := v1.DeployRequest{Name: "v", Values: []attribute.Value{attribute.NewValue("Three", "", "third-s3cret")}}
	text, err := d.program(req).encode()
	require.NoError(t, err)
	sealed := s.seal("v", text)
	require.NotContains(t, string(sealed), "s3cret")
	again, err := openSealer(dir)
	require.NoError(t, err)
	text, err = d.program(req).encode()
	require.NoError(t, err)
	require.Equal(t, sealed, again.seal("v", text), "a request that is sent again")

	text, err = again.open("v", sealed)
	require.NoError(t, err)
	p, err := decodeProgram(text)
	require.NoError(t, err)
	plan, err := p.compile()
	require.NoError(t, err)
	require.Equal(t, []string{"first-s3cret", "second-s3cret", "third-s3cret"}, plan.Values.Secrets())
	require.Equal(t, "******** ******** ******** 5", plan.Steps[0].Shown.File.Content)

	_, err = again.open("w", sealed)
	require.ErrorContains(t, err, "sealed with another key", "of another volume")
	sealed[len(sealed)-1] ^= 1
	_, err = again.open("v", sealed)
	require.ErrorContains(t, err, "deploy again")
	_, err = again.open("v", nil)
	require.Error(t, err)
	require.NoError(t, os.Truncate(filepath.Join(dir, sealFile), 3))
	_, err = openSealer(dir)
	require.ErrorContains(t, err, "3 bytes and not 64")
}
