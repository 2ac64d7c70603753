package task

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/lifecycle/store"
)

// The child of TestCrash runs with these.
const (
	crashDir  = "TASK_CRASH_DIR"
	crashAt   = "TASK_CRASH_AT" // failpoint, or "" for none
	crashKind = "TASK_CRASH_KIND"
)

// outside is a step that makes a file, as a step does that has effects beside
// the store: it may be run again and must then do nothing more.
func outside(dir, name string, err error) step {
	return step{
		Name: name,
		Do: func(_ context.Context, r *Run) (Commit[tx], error) {
			path := filepath.Join(dir, "effects", strings.ReplaceAll(r.RequestID(), "/", "_"))
			f, made := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if made == nil {
				made = f.Close()
			} else if errors.Is(made, fs.ErrExist) {
				made = nil
			}
			return enclosure(name), errors.Join(made, err)
		},
		Undo: func(_ context.Context, r *Run) (Commit[tx], error) {
			path := filepath.Join(dir, "effects", r.ID()+"_"+name)
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			return removed(name), nil
		},
	}
}

// crashKinds are those that the crash test runs: one that is completed, one
// that fails, one that a kill undoes.
func crashKinds(dir string) []kind {
	boom := errors.New("boom")
	return []kind{
		{Name: "done", Steps: []step{outside(dir, "a", nil), outside(dir, "b", nil), outside(dir, "c", nil)}},
		{Name: "fails", Steps: []step{outside(dir, "a", nil), outside(dir, "b", nil), outside(dir, "c", boom)}},
		{Name: "undone", AtCrash: RollBack, Steps: []step{outside(dir, "a", nil), outside(dir, "b", nil), outside(dir, "c", nil)}},
	}
}

// TestCrashChild is what TestCrash runs and kills.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("run by TestCrash")
	}
	s, err := store.Open(filepath.Join(dir, "store"), store.Options{})
	require.NoError(t, err)
	e, err := Open[tx](context.Background(), s, crashKinds(dir), Options{UndoPause: time.Millisecond, Failpoint: func(name string) {
		if name == os.Getenv(crashAt) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	require.NoError(t, err)
	i, err := e.Submit(context.Background(), Request{Kind: os.Getenv(crashKind), Name: "n", Owner: "me", Key: "once"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for !i.State.Finished() {
		i, err = e.Wait(ctx, i.ID, i.Revision, 0)
		require.NoError(t, err)
	}
	fmt.Printf("STATE %s runs=%d\n", i.State, i.Runs)
	e.Close()
	require.NoError(t, s.Close())
}

func crashChild(t *testing.T, dir, kindName, at string) (out string, killed bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestCrashChild$", "-test.v")
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashAt+"="+at, crashKind+"="+kindName)
	b, err := cmd.CombinedOutput()
	require.NoError(t, ctx.Err())
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed = ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	if !killed {
		require.NoError(t, err, "%s at %q: %s", kindName, at, b)
	}
	return string(b), killed
}

// TestCrash kills the program at each failpoint of each kind and starts it
// again: no task is stuck, each effect is there once or not at all.
func TestCrash(t *testing.T) {
	forward := []string{"submitted", "begun", "before a", "after a", "saved a", "before b", "after b", "saved b", "before c", "after c", "saved c"}
	back := []string{"undoing", "before undo c", "after undo c", "undone c", "before undo b", "after undo b", "undone b", "before undo a", "after undo a", "undone a", "undone"}
	for kindName, row := range map[string]struct {
		points []string
		state  State
	}{
		"done":   {forward, Completed},
		"fails":  {slices.Concat(forward[:9], back), Failed},
		"undone": {forward, Failed},
	} {
		t.Run(kindName, func(t *testing.T) {
			t.Parallel()
			for i, at := range row.points {
				if testing.Short() && i%4 != 0 {
					continue
				}
				crashOnce(t, kindName, at, row.state)
			}
		})
	}
}

// memoryDir is a directory in memory where there is one: a kill loses nothing
// of it, and hundreds of syncs are free.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "task-crash-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func crashOnce(t *testing.T, kindName, at string, want State) {
	dir := memoryDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "effects"), 0o700))
	_, killed := crashChild(t, dir, kindName, at)
	require.True(t, killed, "%s never comes to %q", kindName, at)
	out, _ := crashChild(t, dir, kindName, "")
	if kindName == "undone" && (at == "submitted" || at == "saved c") {
		want = Completed // it had not begun, or was complete
	}
	require.Contains(t, out, "STATE "+string(want), "%s at %q", kindName, at)
	effects, err := os.ReadDir(filepath.Join(dir, "effects"))
	require.NoError(t, err)
	s := &site{t: t}
	s.store, err = store.Open(filepath.Join(dir, "store"), store.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.store.Close()) }()
	count := 0
	if want == Completed {
		count = 3
	}
	require.Len(t, effects, count, "%s at %q", kindName, at)
	for _, name := range []string{"a", "b", "c"} {
		require.Equal(t, want == Completed, s.has(name), "%s at %q: resource %s", kindName, at, name)
	}
	tasks := 0
	require.NoError(t, s.store.LoadJournal(context.Background(), func(id string, _ []byte) error {
		if id != "" {
			tasks++
		}
		return nil
	}))
	require.Equal(t, 1, tasks, "the request that was sent again is the same task")
}
