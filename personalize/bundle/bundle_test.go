package bundle

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/personalize"
	"goldstream/personalize/attribute"
	"goldstream/personalize/step"
)

func load(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return b
}

func open(b []byte) (*Bundle, error) { return Open(bytes.NewReader(b), int64(len(b))) }

func opened(t testing.TB, b []byte) *Bundle {
	t.Helper()
	bundle, err := open(b)
	require.NoError(t, err)
	return bundle
}

// TestOpen reads what another program wrote, in the appliance's streaming style.
func TestOpen(t *testing.T) {
	b := opened(t, load(t, "site-linux.zip"))
	require.Empty(t, b.Warnings)
	require.Equal(t, Manifest{"site-linux", "Own artifacts: made for tests", false, time.Date(2019, 6, 11, 11, 22, 36, 362e6, time.UTC)}, b.Manifest)
	require.Len(t, b.Scripts, 4)
	mount := b.Scripts[0]
	require.Equal(t, Head{"3f6d1c1e-0000-4000-8000-000000000001", "site-mount", "About site-mount"}, mount.Head)
	require.Equal(t, personalize.PlanScript{Type: personalize.General, Content: "# Mounts the system.\nmount /dev/sda /", ReadOnly: true}, mount.PlanScript)
	require.False(t, b.Scripts[1].ReadOnly)

	require.Len(t, b.Builds, 2)
	deploy := b.Builds[0]
	require.Equal(t, []personalize.BuildStep{{Script: "site-mount"}, {Script: "site-host"}, {Script: "site-unmount"}}, deploy.Steps, "in the order of serial numbers, not of the file")
	require.Len(t, deploy.Attributes, 4)
	require.Equal(t, "Welcome (here)", deploy.Attributes[1].Default().Reveal())
	require.Equal(t, attribute.Password, deploy.Attributes[2].Type)
	require.JSONEq(t, `{"maxlen":"20","minlen":"6"}`, deploy.Attributes[2].Constraints.String())

	require.Len(t, b.Deployments, 2)
	web, empty := b.Deployments[0], b.Deployments[1]
	require.Equal(t, "Site disk 1.0", web.Image)
	require.Equal(t, "site-deploy", web.Build)
	require.Equal(t, []string{"Motd"}, web.Fixed)
	require.Equal(t, []string{"Motd"}, web.Hidden)
	require.Equal(t, "Hello", web.Attributes[1].Default().Reveal())
	require.Empty(t, empty.Image)

	require.Len(t, b.Images, 1)
	require.True(t, b.Images[0].HasPayload())
	require.NoError(t, b.Verify())
	raw := disk(t, b, b.Images[0])
	require.Len(t, raw, 1<<20)
	require.Equal(t, "SITE       ", string(raw[43:54]), "the label of the file system in it")
}

// disk unpacks the raw disk of an image.
func disk(t *testing.T, b *Bundle, i Image) []byte {
	t.Helper()
	r, size, err := b.OpenImage(i)
	require.NoError(t, err)
	defer r.Close()
	packed, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Len(t, packed, int(size))
	z, err := zip.NewReader(bytes.NewReader(packed), size)
	require.NoError(t, err)
	require.Len(t, z.File, 1)
	in, err := z.File[0].Open()
	require.NoError(t, err)
	defer in.Close()
	raw, err := io.ReadAll(in)
	require.NoError(t, err)
	return raw
}

// TestOpenOld reads SHA-1 sums that name themselves.
func TestOpenOld(t *testing.T) {
	b := opened(t, load(t, "site-old.zip"))
	require.Empty(t, b.Warnings)
	require.True(t, b.ReadOnly)
	require.Len(t, b.Scripts, 4)
	require.Equal(t, sha1Name, b.sums.file)
}

// again writes what was read, in the order that references need.
func again(t *testing.T, b *Bundle) []byte {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, b.Manifest)
	for _, s := range b.Scripts {
		require.NoError(t, w.Script(s))
	}
	for _, i := range b.Images {
		require.NoError(t, w.Image(i, func(to io.Writer) error {
			_, err := to.Write(disk(t, b, i))
			return err
		}))
	}
	for _, p := range b.Builds {
		require.NoError(t, w.Build(p))
	}
	for _, d := range b.Deployments {
		require.NoError(t, w.Deployment(d))
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	first := opened(t, load(t, "site-linux.zip"))
	text := again(t, first)
	second := opened(t, text)
	require.Empty(t, second.Warnings)
	require.NoError(t, second.Verify())
	require.Equal(t, disk(t, first, first.Images[0]), disk(t, second, second.Images[0]))
	for _, b := range []*Bundle{first, second} {
		b.sums = sums{}
		b.Images[0].payload = nil
	}
	require.Equal(t, first, second)

	z, err := zip.NewReader(bytes.NewReader(text), int64(len(text)))
	require.NoError(t, err)
	last := len(z.File) - 1
	require.Equal(t, []string{manifestName, sha256Name}, []string{z.File[last-1].Name, z.File[last].Name})
	var object map[string]any
	for _, f := range z.File {
		if f.Name == second.Builds[0].ID+"_buildplan.json" {
			decode(t, f, &object)
		}
	}
	require.Contains(t, object, "dependentArtifacts")
	require.Equal(t, map[string]any{"planScriptUri": "/rest/plan-scripts/" + first.Scripts[0].ID, "planScriptName": "site-mount", "serialNumber": "1", "parameters": nil}, object["buildStep"].([]any)[0])
}

// TestWriteKeepsSecrets writes defaults and values of passwords to no bundle.
func TestWriteKeepsSecrets(t *testing.T) {
	const secret = "hunter2-hunter2"
	password := attribute.NewDefinition("Root", attribute.Password, secret)
	var out bytes.Buffer
	w := NewWriter(&out, Manifest{Name: "x"})
	require.NoError(t, w.Build(Build{Head{"b", "b", ""}, personalize.BuildPlan{Type: personalize.Deploy, Attributes: []attribute.Definition{password}}}))
	require.NoError(t, w.Deployment(Deployment{Head: Head{"d", "d", ""}, Build: "b", Attributes: []attribute.Definition{password}}))
	require.NoError(t, w.Close())
	z, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	require.NoError(t, err)
	for _, f := range z.File {
		r, err := f.Open()
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NotContains(t, string(text), secret)
		require.NotContains(t, string(text), attribute.Mask)
	}
	b := opened(t, out.Bytes())
	require.Empty(t, b.Builds[0].Attributes[0].Default().Reveal())
}

// TestNativeSteps come back as they went.
func TestNativeSteps(t *testing.T) {
	native := &step.Step{Hostname: "@Name@"}
	var out bytes.Buffer
	w := NewWriter(&out, Manifest{Name: "two\nlines: here"})
	plan := personalize.BuildPlan{Type: personalize.Deploy, Steps: []personalize.BuildStep{{Native: native}}, Attributes: []attribute.Definition{attribute.NewDefinition("Name", attribute.Hostname, "")}}
	require.NoError(t, w.Build(Build{Head{"b", "b", ""}, plan}))
	require.NoError(t, w.Close())
	b := opened(t, out.Bytes())
	require.Equal(t, native, b.Builds[0].Steps[0].Native)
	require.Equal(t, "two lines: here", b.Name)
}

// TestWriteRefuses what would make a bundle that nobody can read.
func TestWriteRefuses(t *testing.T) {
	w := NewWriter(io.Discard, Manifest{Name: "x"})
	s := Script{Head{"1", "one", ""}, personalize.PlanScript{Type: personalize.General}}
	require.NoError(t, w.Script(s))
	require.ErrorContains(t, w.Script(s), "two entries")
	s.ID = "../1"
	require.ErrorIs(t, w.Script(s), attribute.ErrInvalid)
	for _, name := range []string{manifestName, sha256Name, "a/b"} {
		err := w.Image(Image{Head: Head{"9" + name[:1], name, ""}}, func(io.Writer) error { return nil })
		require.ErrorIs(t, err, attribute.ErrInvalid, name)
	}
	require.ErrorContains(t, w.Build(Build{Head{"b", "b", ""}, personalize.BuildPlan{Type: personalize.Deploy, Steps: []personalize.BuildStep{{Script: "two"}}}}), "before its script")
}

// TestPublishedOpen opens other people's bundles, which are not part of this project.
func TestPublishedOpen(t *testing.T) {
	dir := os.Getenv("GOLDSTREAM_BUNDLES")
	if dir == "" {
		t.Skip("needs a directory of artifact bundles in GOLDSTREAM_BUNDLES")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.zip"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		b, err := open(text)
		require.NoError(t, err, file)
		require.Empty(t, b.Warnings, file)
		require.NoError(t, b.Verify(), file)
		second := opened(t, again(t, b))
		b.sums, second.sums = sums{}, sums{}
		require.Equal(t, b, second, file)
		t.Logf("%s: %d scripts, %d build plans, %d deployment plans, %d images", filepath.Base(file), len(b.Scripts), len(b.Builds), len(b.Deployments), len(b.Images))
	}
}
