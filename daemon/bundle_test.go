package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/task"
	"goldstream/personalize"
	"goldstream/personalize/bundle"
)

// ownBundle is one in the format of others.
func ownBundle(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "personalize", "bundle", "testdata", name))
	require.NoError(t, err)
	return text
}

func (a *api) addBundle(t *testing.T, name string, text []byte) v1.BundleInfo {
	t.Helper()
	info, err := a.AddBundle(t.Context(), name, bytes.NewReader(text), int64(len(text)))
	require.NoError(t, err)
	return info
}

// finished waits for a task.
func (a *api) finished(t *testing.T, info task.Info) task.Info {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for !info.State.Finished() {
		var err error
		info, err = a.WaitTask(ctx, info.ID, info.Revision, 0)
		require.NoError(t, err)
	}
	return info
}

func (a *api) importBundle(t *testing.T, name string, on v1.Conflict) map[string]string {
	t.Helper()
	info, err := a.ImportBundle(t.Context(), name, on)
	require.NoError(t, err)
	info = a.finished(t, info)
	require.Equal(t, task.Completed, info.State, "%v", info.Failure)
	text, err := json.Marshal(info.Result)
	require.NoError(t, err)
	var out v1.BundleChanges
	require.NoError(t, json.Unmarshal(text, &out))
	return changesOf(out)
}

// changesOf maps names to what was done.
func changesOf(l v1.BundleChanges) map[string]string {
	m := map[string]string{}
	for _, c := range l.Artifacts {
		m[c.Name] = c.Change
		if c.As != "" {
			m[c.Name] += " " + c.As
		}
	}
	return m
}

func same(change string) map[string]string {
	m := map[string]string{}
	for _, name := range []string{"site-mount", "site-host", "site-generalize", "site-unmount", "site-deploy", "site-capture", "site-web", "site-empty", "Site disk 1.0"} {
		m[name] = change
	}
	return m
}

func TestBundleImport(t *testing.T) {
	a := newAPI(t)
	text := ownBundle(t, "site-linux.zip")
	info := a.addBundle(t, "", text)
	require.Equal(t, "site-linux", info.Name)
	require.Len(t, info.Artifacts, 9)
	require.Equal(t, info, a.addBundle(t, "", text), "the same file again is the same bundle")
	plans, err := a.Plans(t.Context())
	require.NoError(t, err)
	require.Empty(t, plans, "an upload imports nothing")

	preview, err := a.PreviewBundle(t.Context(), "site-linux", "")
	require.NoError(t, err)
	require.Equal(t, same("created"), changesOf(preview))
	images, err := a.Images(t.Context())
	require.NoError(t, err)
	require.Empty(t, images, "nor does a preview")

	require.Equal(t, same("created"), a.importBundle(t, info.URI, ""))
	image, err := a.Image(t.Context(), "Site disk 1.0")
	require.NoError(t, err)
	require.Equal(t, int64(1<<20), image.Size)
	web, err := a.Plan(t.Context(), personalize.KindDeployment, "site-web")
	require.NoError(t, err)
	require.Equal(t, "/rest/deployment-plans/3f6d1c1e-0000-4000-8000-000000000031", web.URI, "clients know it by that ID")
	require.Equal(t, []string{"Motd"}, web.Fixed)
	require.Equal(t, []string{"Motd"}, web.Hidden)
	require.Equal(t, "Site disk 1.0", web.Image)
	require.Equal(t, "Hello", web.Values[0].Reveal())
	empty, err := a.Plan(t.Context(), personalize.KindDeployment, "site-empty")
	require.NoError(t, err)
	require.Equal(t, int64(64<<20), empty.Size)
	script, err := a.Plan(t.Context(), personalize.KindScript, "site-mount")
	require.NoError(t, err)
	require.Equal(t, "About site-mount", script.Description)

	require.Equal(t, same("unchanged"), a.importBundle(t, "site-linux", ""))
}

// TestBundleConflicts imports what has other texts under the same names.
func TestBundleConflicts(t *testing.T) {
	a := newAPI(t)
	const mine = `
kind: PlanScript
name: site-host
type: deploy
script: echo mine
---
kind: BuildPlan
name: site-deploy
type: deploy
steps: [{script: site-host}]
attributes: [{name: RootPassword, type: password, default: hunter2-hunter2}]
`
	status, body := a.importPlans(t, mine)
	require.Equal(t, http.StatusOK, status, body)
	disk, _ := a.disk(t)
	f, err := os.Open(disk)
	require.NoError(t, err)
	defer f.Close()
	_, err = a.ImportStream(t.Context(), "Site disk 1.0", f, -1, "", nil)
	require.NoError(t, err)
	a.addBundle(t, "", ownBundle(t, "site-linux.zip"))

	_, err = a.ImportBundle(t.Context(), "site-linux", v1.ConflictFail)
	require.ErrorIs(t, err, blockstore.ErrExists)
	require.ErrorContains(t, err, `plan script "site-host", golden image "Site disk 1.0", build plan "site-deploy"`)
	plans, err := a.Plans(t.Context())
	require.NoError(t, err)
	require.Len(t, plans, 2, "nothing was imported")
	_, err = a.ImportBundle(t.Context(), "site-linux", "perhaps")
	require.ErrorContains(t, err, `"perhaps" says nothing about conflicts`)

	want := same("created")
	want["site-host"], want["site-deploy"], want["Site disk 1.0"] = "renamed site-host (2)", "renamed site-deploy (2)", "renamed Site disk 1.0 (2)"
	require.Equal(t, want, a.importBundle(t, "site-linux", v1.ConflictRename))
	web, err := a.Plan(t.Context(), personalize.KindDeployment, "site-web")
	require.NoError(t, err)
	require.Equal(t, []string{"Site disk 1.0 (2)", "site-deploy (2)"}, []string{web.Image, web.BuildPlan})
	build, err := a.Plan(t.Context(), personalize.KindBuild, "site-deploy (2)")
	require.NoError(t, err)
	require.Equal(t, []string{"site-mount", "site-host (2)", "site-unmount"}, build.Steps)

	kept := a.importBundle(t, "site-linux", v1.ConflictKeep)
	require.Equal(t, "kept", kept["site-host"])
	require.Equal(t, "kept", kept["Site disk 1.0"])
	require.Equal(t, "unchanged", kept["site-mount"])

	over := a.importBundle(t, "site-linux", v1.ConflictOverwrite)
	require.Equal(t, "changed", over["site-host"])
	require.Equal(t, "changed", over["site-deploy"])
	require.Equal(t, "renamed Site disk 1.0 (3)", over["Site disk 1.0"], "volumes stand on the image that is here")
	build, err = a.Plan(t.Context(), personalize.KindBuild, "site-deploy")
	require.NoError(t, err)
	require.Equal(t, []string{"site-mount", "site-host", "site-unmount"}, build.Steps)
	require.Equal(t, "********", build.Attributes[2].Default().Reveal(), "the bundle has no password: the one that was here stays, masked")
}

// TestBundleRoundTrip makes a bundle of what another brought, on another site.
func TestBundleRoundTrip(t *testing.T) {
	a, b := newAPI(t), newAPI(t)
	a.addBundle(t, "", ownBundle(t, "site-linux.zip"))
	a.importBundle(t, "site-linux", "")
	info, err := a.CreateBundle(t.Context(), v1.BundleRequest{
		Name: "mine", Description: "two\nlines", Deployments: []v1.BundleItem{{Name: "site-web"}, {Name: "/rest/deployment-plans/3f6d1c1e-0000-4000-8000-000000000032"}},
		Builds: []v1.BundleItem{{Name: "site-capture", ReadOnly: true}},
	})
	require.NoError(t, err)
	info = a.finished(t, info)
	require.Equal(t, task.Completed, info.State, "%v", info.Failure)
	var file bytes.Buffer
	n, err := a.DownloadBundle(t.Context(), "mine", &file)
	require.NoError(t, err)
	require.Equal(t, int64(file.Len()), n)
	open, err := bundle.Open(bytes.NewReader(file.Bytes()), n)
	require.NoError(t, err)
	require.NoError(t, open.Verify())
	require.Len(t, open.Artifacts(), 9)

	b.addBundle(t, "", file.Bytes())
	require.Equal(t, same("created"), b.importBundle(t, "mine", ""))
	for _, name := range []string{"site-web", "site-empty"} {
		x, err := a.Plan(t.Context(), personalize.KindDeployment, name)
		require.NoError(t, err)
		y, err := b.Plan(t.Context(), personalize.KindDeployment, name)
		require.NoError(t, err)
		x.ETag, x.Modified, y.ETag, y.Modified = "", time.Time{}, "", time.Time{}
		require.Equal(t, x, y)
	}
	before, err := a.DigestImage(t.Context(), "Site disk 1.0", true, nil)
	require.NoError(t, err)
	after, err := b.DigestImage(t.Context(), "Site disk 1.0", true, nil)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// TestBundleFiles keeps files and records together.
func TestBundleFiles(t *testing.T) {
	a := newAPI(t)
	info := a.addBundle(t, "one", ownBundle(t, "site-old.zip"))
	_, err := a.AddBundle(t.Context(), "one", bytes.NewReader(ownBundle(t, "site-linux.zip")), -1)
	require.ErrorIs(t, err, blockstore.ErrExists)
	_, err = a.AddBundle(t.Context(), "two", bytes.NewReader([]byte("no bundle")), 9)
	require.ErrorIs(t, err, blockstore.ErrInvalid)
	info, err = a.ChangeBundle(t.Context(), "one", v1.BundleChangeRequest{Name: "first", Description: "old", ETag: info.ETag})
	require.NoError(t, err)
	_, err = a.ChangeBundle(t.Context(), "first", v1.BundleChangeRequest{Name: "x", ETag: "0/0"})
	require.ErrorIs(t, err, v1.ErrStale)
	list, err := a.Bundles(t.Context())
	require.NoError(t, err)
	require.Equal(t, 6, list[0].Count)
	info.Artifacts = nil
	require.Equal(t, []v1.BundleInfo{info}, list)

	files := func() (names []string) {
		list, err := os.ReadDir(a.d.bundlesDir())
		require.NoError(t, err)
		for _, e := range list {
			names = append(names, e.Name())
		}
		return names
	}
	require.Len(t, files(), 1, "what was refused leaves nothing")
	for _, name := range []string{".partial-1", "gone.zip", "x y.zip"} {
		require.NoError(t, os.WriteFile(filepath.Join(a.d.bundlesDir(), name), nil, 0o600))
	}
	require.NoError(t, os.MkdirAll(filepath.Join(a.d.bundlesDir(), "dir.zip", "x"), 0o700))
	s, _, err := a.d.life(t.Context())
	require.NoError(t, err)
	require.NoError(t, a.d.sweepBundles(t.Context(), s))
	require.ElementsMatch(t, []string{info.URI[len("/rest/artifact-bundles/"):] + ".zip", "x y.zip", "dir.zip", "lost"}, files(), "only what was never complete is removed")
	require.FileExists(t, filepath.Join(a.d.bundlesDir(), "lost", "gone.zip"), "the store may have been restored from an older backup")
	for _, name := range []string{"x y.zip", "dir.zip", "lost"} {
		require.NoError(t, os.RemoveAll(filepath.Join(a.d.bundlesDir(), name)))
	}

	status, _ := a.send(t, http.MethodGet, "/v1/bundles/first/file?x=y", "", "")
	require.Equal(t, http.StatusBadRequest, status)
	require.NoError(t, a.DeleteBundle(t.Context(), info.URI))
	require.Empty(t, files())
	require.ErrorIs(t, a.DeleteBundle(t.Context(), "first"), blockstore.ErrNotFound)
}

// TestBundleImportUndone removes the image of an import that came to nothing.
func TestBundleImportUndone(t *testing.T) {
	a := newAPI(t)
	info := a.addBundle(t, "", ownBundle(t, "site-linux.zip"))
	// Between the check and the plans somebody takes a name.
	var taken bool
	a.d.opts.failpoint = func(name string) {
		if name == "bundle image" && !taken {
			taken = true
			status, body := a.importPlans(t, "kind: PlanScript\nname: site-host\ntype: deploy\nscript: echo mine\n")
			require.Equal(t, http.StatusOK, status, body)
		}
	}
	run, err := a.ImportBundle(t.Context(), info.Name, "")
	require.NoError(t, err)
	run = a.finished(t, run)
	require.Equal(t, task.Failed, run.State)
	require.Contains(t, run.Failure.Message, `plan script "site-host"`)
	require.Empty(t, run.Failure.Left)
	images, err := a.Images(t.Context())
	require.NoError(t, err)
	require.Empty(t, images)
	plans, err := a.Plans(t.Context())
	require.NoError(t, err)
	require.Len(t, plans, 1)
}

// TestBundleCreateRefuses what cannot become a bundle.
func TestBundleCreateRefuses(t *testing.T) {
	a := newAPI(t)
	for name, req := range map[string]v1.BundleRequest{
		"would be empty": {Name: "x"}, "is no name": {Name: "a/b"}, "is called": {Name: "x", Scripts: []v1.BundleItem{{Name: "nobody"}}},
	} {
		_, err := a.CreateBundle(t.Context(), req)
		require.ErrorContains(t, err, name)
	}
}

// The child of TestBundleCrash runs with these.
const (
	bundleDir = "BUNDLE_CRASH_DIR"
	bundleAt  = "BUNDLE_CRASH_AT"
)

// TestBundleCrashChild is the daemon that TestBundleCrash kills.
func TestBundleCrashChild(t *testing.T) {
	dir := os.Getenv(bundleDir)
	if dir == "" {
		t.Skip("run by TestBundleCrash")
	}
	point := func(name string) {
		if name == os.Getenv(bundleAt) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	d, err := Open(dir, Options{failpoint: point, taskpoint: point})
	require.NoError(t, err)
	a := &api{Embedded: d.Embed(), d: d}
	_, err = a.ImportPlans(t.Context(), "kind: PlanScript\nname: site-host\ntype: deploy\nscript: echo mine\n", false)
	require.NoError(t, err)
	info := a.addBundle(t, "", ownBundle(t, "site-linux.zip"))
	i, err := a.ImportBundle(t.Context(), info.URI, v1.ConflictRename)
	require.NoError(t, err)
	a.finished(t, i)
	t.Fatal("it was not killed")
}

// TestBundleCrash kills the daemon at each place; the next one brings the import to its
// end, once: nothing is renamed twice, and no image is there twice.
func TestBundleCrash(t *testing.T) {
	for _, at := range []string{"before images", "bundle image", "after images", "before plans", "after plans", "saved plans"} {
		t.Run(at, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			cmd := exec.Command(os.Args[0], "-test.run", "^TestBundleCrashChild$")
			cmd.Env = append(os.Environ(), bundleDir+"="+dir, bundleAt+"="+at)
			out, err := cmd.CombinedOutput()
			require.ErrorContains(t, err, "killed", "%s", out)
			d, err := Open(dir, Options{})
			require.NoError(t, err)
			a := &api{Embedded: d.Embed(), d: d}
			list, err := a.Tasks(t.Context())
			require.NoError(t, err)
			require.Len(t, list, 1)
			i := a.finished(t, list[0])
			require.Equal(t, task.Completed, i.State, "%+v", i.Failure)
			plans, err := a.Plans(t.Context())
			require.NoError(t, err)
			require.Len(t, plans, 9, "eight of the bundle, and the one that was here")
			images, err := a.Images(t.Context())
			require.NoError(t, err)
			require.Len(t, images, 1)
			require.NoError(t, a.Embedded.Close())
			require.NoError(t, d.Close())
		})
	}
}
