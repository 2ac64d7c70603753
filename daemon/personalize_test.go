package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/fuse"
	"goldstream/lifecycle/task"
	"goldstream/personalize/attribute"
	"goldstream/personalize/sandbox"
)

// needCells skips tests that boot many sandboxes, but for make test-sandbox.
func needCells(t *testing.T) {
	t.Helper()
	if os.Getenv("GOLDSTREAM_SANDBOX") == "" {
		t.Skip("run by make test-sandbox")
	}
}

// guest builds what cells boot.
var guest = sync.OnceValues(func() (string, error) {
	file := filepath.Join(os.TempDir(), "goldstream-guest")
	build := exec.Command("go", "build", "-o", file, "goldstream/cmd/goldstream-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return file, nil
})

// personalPlan writes a file whose text tests look for in what goes to the disk, and
// one that cannot be written where Path says so.
const personalPlan = `
kind: BuildPlan
name: p
type: deploy
steps:
  - file: {path: /etc/motd, content: "written by a step, @Root@\n"}
  - file: {path: "@Path@", content: "x"}
attributes:
  - {name: Root, type: password}
  - {name: Path, type: string, default: /etc/last}
---
kind: DeploymentPlan
name: p
image: debian
buildPlan: p
values: {Root: "s3cret-of-the-plan"}
`

// prepared is a data directory with a plan with steps, and what a sandbox needs.
func prepared(t *testing.T) (dir string, o Options) {
	t.Helper()
	file, err := guest()
	require.NoError(t, err)
	base := t.TempDir()
	dir = filepath.Join(base, "data")
	tree := filepath.Join(base, "tree/etc")
	require.NoError(t, os.MkdirAll(tree, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "os-release"), []byte("ID=debian\n"), 0o644))
	raw := filepath.Join(base, "raw")
	require.NoError(t, os.WriteFile(raw, nil, 0o600))
	require.NoError(t, os.Truncate(raw, 16<<20))
	out, err := exec.Command("mke2fs", "-q", "-t", "ext4", "-d", filepath.Dir(tree), raw).CombinedOutput()
	require.NoError(t, err, "%s", out)

	o = Options{Sandboxes: 1, Sandbox: sandbox.Options{Guest: file}}
	d, err := Open(dir, o)
	require.NoError(t, err)
	e := d.Embed()
	_, err = e.ImportFile(t.Context(), "debian", v1.ImportRequest{HostFile: v1.HostFile{Path: raw}}, nil)
	require.NoError(t, err)
	_, err = e.ImportPlans(t.Context(), personalPlan, false)
	require.NoError(t, err)
	_, err = sandbox.Prepare(t.Context(), d.sandboxOptions())
	require.NoError(t, err)
	require.NoError(t, errors.Join(e.Close(), d.Close()))
	return dir, o
}

// house is a daemon on such a directory.
type house struct {
	*Embedded
	d *Daemon
}

func openHouse(t *testing.T, dir string, o Options) *house {
	t.Helper()
	d, err := Open(dir, o)
	require.NoError(t, err)
	h := &house{d.Embed(), d}
	t.Cleanup(h.shut)
	return h
}

func (h *house) shut() {
	_ = h.Close()
	_ = h.d.Close()
}

// deploy deploys and waits for the end.
func (h *house) deploy(t *testing.T, req v1.DeployRequest) task.Info {
	t.Helper()
	req.Plan = "p"
	i, err := h.Deploy(t.Context(), req)
	require.NoError(t, err)
	return h.end(t, i)
}

func (h *house) end(t *testing.T, i task.Info) task.Info {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var err error
	for !i.State.Finished() {
		i, err = h.WaitTask(ctx, i.ID, i.Revision, 0)
		require.NoError(t, err)
	}
	return i
}

func (h *house) absent(t *testing.T, volume string) {
	t.Helper()
	_, err := h.Volume(t.Context(), volume)
	require.ErrorIs(t, err, blockstore.ErrNotFound)
}

// content is all of a volume.
func (h *house) content(t *testing.T, volume string) string {
	t.Helper()
	disk, err := h.d.store.OpenVolume(t.Context(), volume)
	require.NoError(t, err)
	b := make([]byte, disk.Size())
	require.NoError(t, errors.Join(disk.ReadAt(t.Context(), b, 0), disk.Close()))
	return string(b)
}

// faultyDisk fails as its fields say, once armed.
type faultyDisk struct {
	fuse.WritableDisk
	write, flush error
	hits         *atomic.Int64
}

func (f *faultyDisk) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	if f.write != nil && bytes.Contains(p, []byte("written by a step")) {
		f.hits.Add(1)
		return f.write
	}
	return f.WritableDisk.WriteAt(ctx, p, off, fua)
}

func (f *faultyDisk) Flush(ctx context.Context) error {
	if f.flush != nil {
		f.hits.Add(1)
		return f.flush
	}
	return f.WritableDisk.Flush(ctx)
}

// TestDeployOnFailingStore: what the store fails in the middle of a run fails the
// deployment, whatever the guest learnt of it, and nothing is left but what was to be
// kept. A cancel in the middle leaves nothing either, and the slot goes on.
func TestDeployOnFailingStore(t *testing.T) {
	needCells(t)
	dir, o := prepared(t)
	var fault faultyDisk
	var attached func()
	o.failpoint = func(name string) {
		if name == "attached" && attached != nil {
			attached()
		}
	}
	var h *house
	o.openVolume = func(ctx context.Context, name string) (fuse.WritableDisk, error) {
		disk, err := h.d.store.OpenVolume(ctx, name)
		return &faultyDisk{disk, fault.write, fault.flush, fault.hits}, err
	}
	h = openHouse(t, dir, o)
	for name, f := range map[string]faultyDisk{"EIO": {write: syscall.EIO}, "ENOSPC": {write: syscall.ENOSPC}, "flush": {flush: syscall.EIO}} {
		f.hits = new(atomic.Int64)
		fault = f
		i := h.deploy(t, v1.DeployRequest{Name: "v"})
		require.Positive(t, f.hits.Load(), name)
		require.Equal(t, task.Failed, i.State, name)
		require.Equal(t, "personalize", i.Failure.Step, name)
		require.Contains(t, i.Failure.Message, `the store failed on volume "v"`, name)
		require.Empty(t, i.Failure.Left, name)
		h.absent(t, "v")
	}
	fault = faultyDisk{flush: syscall.EIO, hits: new(atomic.Int64)}
	i := h.deploy(t, v1.DeployRequest{Name: "kept", Keep: true})
	require.Equal(t, task.Failed, i.State)
	require.True(t, strings.Contains(h.content(t, "kept"), "written by a step, s3cret-of-the-plan"))

	fault = faultyDisk{}
	id := make(chan string, 1)
	attached = func() {
		_, err := h.CancelTask(context.Background(), <-id)
		require.NoError(t, err)
	}
	i, err := h.Deploy(t.Context(), v1.DeployRequest{Plan: "p", Name: "v"})
	require.NoError(t, err)
	id <- i.ID
	require.Equal(t, task.Cancelled, h.end(t, i).State)
	h.absent(t, "v")

	// Nobody else opens a volume that is half made.
	attached = func() {
		_, err := h.d.exports.Open(context.Background(), "v")
		require.ErrorIs(t, err, blockstore.ErrInUse)
	}
	i = h.deploy(t, v1.DeployRequest{Name: "v"})
	require.Equal(t, task.Completed, i.State, "%+v", i.Failure)
	require.Contains(t, h.content(t, "v"), "written by a step, s3cret-of-the-plan")
	disk, err := h.d.exports.Open(t.Context(), "v")
	require.NoError(t, err)
	require.NoError(t, disk.Close())
	require.NotContains(t, fmt.Sprintf("%+v", i), "s3cret")
}

// The child of TestDeployCrash runs with these.
const (
	deployDir  = "DEPLOY_CRASH_DIR"
	deployAt   = "DEPLOY_CRASH_AT" // failpoint, or "" for none
	deployPath = "DEPLOY_CRASH_PATH"
)

// TestDeployCrashChild is the daemon that TestDeployCrash kills.
func TestDeployCrashChild(t *testing.T) {
	dir := os.Getenv(deployDir)
	if dir == "" {
		t.Skip("run by TestDeployCrash")
	}
	file, err := guest()
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var failed error
	point := func(name string) {
		if name == os.Getenv(deployAt) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	d, err := Open(dir, Options{Sandboxes: 1, Sandbox: sandbox.Options{Guest: file}, failpoint: point, taskpoint: point})
	require.NoError(t, err)
	failed = d.Run(ctx, RunConfig{Ready: func([]string) {
		go func() {
			defer stop()
			client := v1.NewClient(filepath.Join(dir, v1.SocketName))
			defer client.Close()
			req := v1.DeployRequest{Plan: "p", Name: "v"}
			req.Values = []attribute.Value{attribute.NewValue("Path", "", os.Getenv(deployPath))}
			i, err := client.Deploy(ctx, req, v1.WithRequestID("once"))
			for err == nil && !i.State.Finished() {
				i, err = client.WaitTask(ctx, i.ID, i.Revision, 0)
			}
			fmt.Printf("STATE %s %v %+v\n", i.State, err, i.Failure)
		}()
	}})
	require.NoError(t, errors.Join(failed, d.Close()))
}

func deployChild(t *testing.T, dir, at, path string) (out string, killed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestDeployCrashChild$", "-test.v")
	cmd.Env = append(os.Environ(), deployDir+"="+dir, deployAt+"="+at, deployPath+"="+path)
	b, err := cmd.CombinedOutput()
	require.NoError(t, ctx.Err(), "%s", b)
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed = ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	if !killed {
		require.NoError(t, err, "%s", b)
	}
	return string(b), killed
}

// TestDeployCrash kills a daemon at each failpoint of a deployment with steps, one
// that succeeds and one that fails, and starts it again: the task ends as it should,
// and no volume, mount, slot or process is left that should not be.
func TestDeployCrash(t *testing.T) {
	needCells(t)
	forward := []string{"submitted", "begun", "before clone", "after clone", "saved clone", "before personalize", "attached", "stepped", "detached"}
	for path, row := range map[string]struct {
		points []string
		state  task.State
	}{
		"/etc/last":        {append(forward[:len(forward):len(forward)], "after personalize", "saved personalize"), task.Completed},
		"/etc/os-release/": {append(forward[:len(forward):len(forward)], "undoing", "before undo clone", "after undo clone", "undone clone", "undone"), task.Failed},
	} {
		dir, o := prepared(t)
		for _, at := range row.points {
			_, killed := deployChild(t, dir, at, path)
			require.True(t, killed, "at %q", at)
			if at == "attached" { // and again, in the repair
				_, killed = deployChild(t, dir, "deleted", path)
				require.True(t, killed)
			}
			noProcess(t, dir)
			out, killed := deployChild(t, dir, "", path)
			require.False(t, killed)
			require.Contains(t, out, "STATE "+string(row.state)+" ", "killed at %q", at)
			require.NotContains(t, out, "s3cret")
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			require.NoError(t, err)
			require.NotContains(t, string(mounts), dir, "killed at %q", at)
			require.NoDirExists(t, filepath.Join(dir, "slots"))

			h := openHouse(t, dir, o)
			volumes, err := h.Volumes(t.Context())
			require.NoError(t, err)
			if row.state == task.Completed {
				require.Len(t, volumes, 1)
				require.Contains(t, h.content(t, "v"), "written by a step, s3cret-of-the-plan", "killed at %q", at)
				require.NoError(t, h.DeleteVolume(t.Context(), "v"))
			} else {
				require.Empty(t, volumes, "killed at %q", at)
			}
			h.shut()
			// The next round is another request of the same ID.
			require.NoError(t, os.RemoveAll(filepath.Join(dir, "lifecycle")))
			h = openHouse(t, dir, o)
			_, err = h.ImportPlans(t.Context(), personalPlan, false)
			require.NoError(t, err)
			h.shut()
		}
	}
}

// noProcess waits until no process has anything of dir mounted: jails of a process
// that was killed end with it.
func noProcess(t *testing.T, dir string) {
	t.Helper()
	require.Eventually(t, func() bool {
		files, err := filepath.Glob("/proc/[0-9]*/mountinfo")
		require.NoError(t, err)
		for _, file := range files {
			text, _ := os.ReadFile(file) // it may be gone
			if filepath.Base(filepath.Dir(file)) != fmt.Sprint(os.Getpid()) && strings.Contains(string(text), filepath.Join(dir, "sandbox")) {
				return false
			}
		}
		return true
	}, time.Minute, 50*time.Millisecond, "a jail of the daemon that was killed is left")
}
