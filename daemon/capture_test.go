package daemon

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/lifecycle/task"
	"goldstream/personalize/attribute"
	"goldstream/personalize/sandbox"
)

// tidy wants nothing of a capture left but the image.
func (a *api) tidy(t *testing.T, volume string) {
	t.Helper()
	volumes, err := a.Volumes(t.Context())
	require.NoError(t, err)
	require.Len(t, volumes, 1)
	snapshots, err := a.Snapshots(t.Context(), volume)
	require.NoError(t, err)
	require.Empty(t, snapshots)
}

// withVolume has a volume v of an image.
func withVolume(t *testing.T) *api {
	t.Helper()
	a := newAPI(t)
	disk, _ := a.disk(t)
	f, err := os.Open(disk)
	require.NoError(t, err)
	defer f.Close()
	_, err = a.ImportStream(t.Context(), "golden", f, -1, "", nil)
	require.NoError(t, err)
	_, err = a.CreateVolume(t.Context(), v1.CreateRequest{Name: "v", Image: "golden"})
	require.NoError(t, err)
	return a
}

// TestCaptureAsItIs makes an image that reads as the volume did, and leaves nothing
// else.
func TestCaptureAsItIs(t *testing.T) {
	a := withVolume(t)
	v, err := a.d.store.OpenVolume(t.Context(), "v")
	require.NoError(t, err)
	require.NoError(t, v.WriteAt(t.Context(), []byte(strings.Repeat("changed!", 512)), 0, false))
	i, err := a.Capture(t.Context(), v1.CaptureByPlan{Volume: "v", Name: "tuned"}, v1.WithRequestID("once"))
	require.NoError(t, err)
	i = a.finished(t, i)
	require.Equal(t, task.Completed, i.State, "%+v", i.Failure)
	require.NoError(t, v.WriteAt(t.Context(), []byte(strings.Repeat("no more!", 512)), 0, false), "the volume is in use all the time")
	require.NoError(t, v.Close())
	disk, err := a.d.store.OpenImage(t.Context(), "tuned")
	require.NoError(t, err)
	defer disk.Close()
	p := make([]byte, 4096)
	require.NoError(t, disk.ReadAt(t.Context(), p, 0))
	require.Equal(t, strings.Repeat("changed!", 512), string(p))
	a.tidy(t, "v")
	again, err := a.Capture(t.Context(), v1.CaptureByPlan{Volume: "v", Name: "tuned"}, v1.WithRequestID("once"))
	require.NoError(t, err)
	require.Equal(t, i.ID, again.ID)
}

func TestCaptureRefuses(t *testing.T) {
	a := withVolume(t)
	status, body := a.importPlans(t, "kind: BuildPlan\nname: deploy\ntype: deploy\n")
	require.Equal(t, http.StatusOK, status, body)
	for name, c := range map[string]struct {
		req v1.CaptureByPlan
		is  error
	}{
		"no volume":     {v1.CaptureByPlan{Volume: "w", Name: "x"}, blockstore.ErrNotFound},
		"bad name":      {v1.CaptureByPlan{Volume: "v", Name: "a/b"}, blockstore.ErrInvalid},
		"taken":         {v1.CaptureByPlan{Volume: "v", Name: "golden"}, blockstore.ErrExists},
		"no plan":       {v1.CaptureByPlan{Volume: "v", Name: "x", Plan: "none"}, blockstore.ErrNotFound},
		"a deploy plan": {v1.CaptureByPlan{Volume: "v", Name: "x", Plan: "deploy"}, blockstore.ErrInvalid},
	} {
		_, err := a.Capture(t.Context(), c.req)
		require.ErrorIs(t, err, c.is, name)
		_, err = a.PreviewCapture(t.Context(), c.req)
		require.ErrorIs(t, err, c.is, name)
	}
	a.tidy(t, "v")
}

// TestCaptureUndone has somebody take the name meanwhile.
func TestCaptureUndone(t *testing.T) {
	a := withVolume(t)
	taken := false
	a.d.opts.failpoint = func(name string) {
		if name == "snapshot" && !taken {
			taken = true
			_, err := a.CaptureImage(context.Background(), "tuned", v1.CaptureRequest{Volume: "v"}, nil)
			require.NoError(t, err)
		}
	}
	i, err := a.Capture(t.Context(), v1.CaptureByPlan{Volume: "v", Name: "tuned"})
	require.NoError(t, err)
	i = a.finished(t, i)
	require.Equal(t, task.Failed, i.State)
	require.Equal(t, "seal", i.Failure.Step)
	require.Empty(t, i.Failure.Left)
	a.tidy(t, "v")
	info, err := a.Image(t.Context(), "tuned")
	require.NoError(t, err)
	require.Empty(t, info.Owner, "the image of somebody else stays")
}

// The child of TestCaptureCrash runs with these.
const (
	captureDir = "CAPTURE_CRASH_DIR"
	captureAt  = "CAPTURE_CRASH_AT"
)

// TestCaptureCrashChild is the daemon that TestCaptureCrash kills.
func TestCaptureCrashChild(t *testing.T) {
	dir := os.Getenv(captureDir)
	if dir == "" {
		t.Skip("run by TestCaptureCrash")
	}
	point := func(name string) {
		if name == os.Getenv(captureAt) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	d, err := Open(dir, Options{failpoint: point, taskpoint: point})
	require.NoError(t, err)
	e := d.Embed()
	_, err = e.CreateVolume(t.Context(), v1.CreateRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	i, err := e.Capture(t.Context(), v1.CaptureByPlan{Volume: "v", Name: "tuned"})
	require.NoError(t, err)
	(&api{Embedded: e, d: d}).finished(t, i)
	t.Fatal("it was not killed")
}

// TestCaptureCrash kills the daemon at each place; the next one brings the capture to
// its end, once.
func TestCaptureCrash(t *testing.T) {
	for _, at := range []string{"before clone", "snapshot", "after clone", "after generalize", "captured", "after seal", "saved seal", "after tidy"} {
		t.Run(at, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			cmd := exec.Command(os.Args[0], "-test.run", "^TestCaptureCrashChild$")
			cmd.Env = append(os.Environ(), captureDir+"="+dir, captureAt+"="+at)
			out, err := cmd.CombinedOutput()
			require.ErrorContains(t, err, "killed", "%s", out)
			d, err := Open(dir, Options{})
			require.NoError(t, err)
			e := d.Embed()
			a := &api{Embedded: e, d: d}
			list, err := a.Tasks(t.Context())
			require.NoError(t, err)
			require.Len(t, list, 1)
			i := a.finished(t, list[0])
			require.Equal(t, task.Completed, i.State, "%+v", i.Failure)
			images, err := a.Images(t.Context())
			require.NoError(t, err)
			require.Len(t, images, 1)
			a.tidy(t, "v")
			require.NoError(t, e.Close())
			require.NoError(t, d.Close())
		})
	}
}

// TestCaptureShielded: at a start nobody opens the clone of a capture that goes on,
// also before it does; what they would write would be sealed.
func TestCaptureShielded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	cmd := exec.Command(os.Args[0], "-test.run", "^TestCaptureCrashChild$")
	cmd.Env = append(os.Environ(), captureDir+"="+dir, captureAt+"=saved generalize")
	out, err := cmd.CombinedOutput()
	require.ErrorContains(t, err, "killed", "%s", out)
	run := make(chan struct{})
	d, err := Open(dir, Options{taskpoint: func(p string) {
		if p == "begun" {
			<-run
		}
	}})
	require.NoError(t, err)
	a := &api{Embedded: d.Embed(), d: d}
	list, err := a.Tasks(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	clone := "capture-" + list[0].ID
	_, there := a.Volume(t.Context(), clone)
	_, err = d.exports.Open(t.Context(), clone)
	close(run)
	require.NoError(t, there)
	require.ErrorIs(t, err, blockstore.ErrInUse)
	i := a.finished(t, list[0])
	require.Equal(t, task.Completed, i.State, "%+v", i.Failure)
	a.tidy(t, "v")
	require.False(t, d.exports.isBarred(clone))
	require.NoError(t, a.Embedded.Close())
	require.NoError(t, d.Close())
}

// TestCaptureByPlan runs scripts on a clone. The volume has what they removed.
func TestCaptureByPlan(t *testing.T) {
	needCells(t)
	dir, o := prepared(t)
	h := openHouse(t, dir, o)
	_, err := h.ImportPlans(t.Context(), `
kind: PlanScript
name: generalize
type: capture
script: |
  mount /dev/sda /
  rm-f /etc/motd
  !echo "generalized by a script" > ./mark
  upload ./mark /ImageStreamerCapture
  rm-f /etc/last
---
kind: BuildPlan
name: generalize
type: capture
steps: [{script: generalize}]
---
kind: PlanScript
name: broken
type: capture
script: |
  mount /dev/sda /
  write /half "half-made"
  cat /none
---
kind: BuildPlan
name: broken
type: capture
steps: [{script: broken}]
`, false)
	require.NoError(t, err)
	i := h.deploy(t, v1.DeployRequest{Name: "v", Values: []attribute.Value{attribute.NewValue("Root", attribute.Password, "s3cret")}})
	require.Equal(t, task.Completed, i.State, "%+v", i.Failure)
	before := h.content(t, "v")

	p, err := h.PreviewCapture(t.Context(), v1.CaptureByPlan{Volume: "v", Name: "tuned", Plan: "generalize"})
	require.NoError(t, err)
	require.Contains(t, p.Text, "rm-f /etc/motd")
	began := time.Now()
	i, err = h.Capture(t.Context(), v1.CaptureByPlan{Volume: "v", Name: "tuned", Plan: "generalize"})
	require.NoError(t, err)
	i = h.end(t, i)
	require.Equal(t, task.Completed, i.State, "%+v", i.Failure)
	t.Logf("captured in %v", time.Since(began))
	require.Equal(t, before, h.content(t, "v"), "the volume itself stays as it is")
	_, err = h.CreateVolume(t.Context(), v1.CreateRequest{Name: "next", Image: "tuned"})
	require.NoError(t, err)
	require.Contains(t, h.content(t, "next"), "generalized by a script")

	i, err = h.Capture(t.Context(), v1.CaptureByPlan{Volume: "v", Name: "no", Plan: "broken"})
	require.NoError(t, err)
	i = h.end(t, i)
	require.Equal(t, task.Failed, i.State)
	require.Equal(t, "generalize", i.Failure.Step)
	require.Contains(t, i.Failure.Message, "cat /none")
	_, err = h.Image(t.Context(), "no")
	require.ErrorIs(t, err, blockstore.ErrNotFound)
	volumes, err := h.Volumes(t.Context())
	require.NoError(t, err)
	require.Len(t, volumes, 2)
	snapshots, err := h.Snapshots(t.Context(), "v")
	require.NoError(t, err)
	require.Empty(t, snapshots)
}

// TestCaptureCrashTwiceChild is the daemon that TestCaptureCrashTwice kills.
func TestCaptureCrashTwiceChild(t *testing.T) {
	dir := os.Getenv(captureTwice)
	if dir == "" {
		t.Skip("run by TestCaptureCrashTwice")
	}
	file, err := guest()
	require.NoError(t, err)
	h := openHouse(t, dir, Options{Sandboxes: 1, Sandbox: sandbox.Options{Guest: file}, failpoint: func(name string) {
		if name == "stepped" {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	list, err := h.Tasks(t.Context())
	require.NoError(t, err)
	if len(list) == 0 {
		i, err := h.Capture(t.Context(), v1.CaptureByPlan{Volume: "v", Name: "tuned", Plan: "generalize"})
		require.NoError(t, err)
		list = append(list, i)
	}
	h.end(t, list[0])
	t.Fatal("it was not killed")
}

const captureTwice = "CAPTURE_CRASH_TWICE_DIR"

// TestCaptureCrashTwice kills the daemon while the steps run, and the next one too: each
// begins on a fresh clone.
func TestCaptureCrashTwice(t *testing.T) {
	needCells(t)
	dir, o := prepared(t)
	h := openHouse(t, dir, o)
	_, err := h.ImportPlans(t.Context(), "kind: BuildPlan\nname: generalize\ntype: capture\nsteps:\n  - file: {path: /etc/mark, content: \"generalized\\n\"}\n", false)
	require.NoError(t, err)
	_, err = h.CreateVolume(t.Context(), v1.CreateRequest{Name: "v", Image: "debian"})
	require.NoError(t, err)
	h.shut()
	for range 2 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestCaptureCrashTwiceChild$")
		cmd.Env = append(os.Environ(), captureTwice+"="+dir)
		out, err := cmd.CombinedOutput()
		require.ErrorContains(t, err, "killed", "%s", out)
	}
	h = openHouse(t, dir, o)
	list, err := h.Tasks(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	i := h.end(t, list[0])
	require.Equal(t, task.Completed, i.State, "%+v", i.Failure)
	volumes, err := h.Volumes(t.Context())
	require.NoError(t, err)
	require.Len(t, volumes, 1)
}
