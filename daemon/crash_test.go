package daemon

import (
	"context"
	"encoding/json"
	"flag"
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
)

// The crash test of changes. A process of its own makes a change and kills itself
// at a failpoint. Whoever opens the data directory next must find the change done
// or undone as a whole, and no volume that is nobody's.

const crashEnv = "GOLDSTREAM_TEST_CRASH"

// crashOrder is what the process that dies is told.
type crashOrder struct{ Dir, Change, Point string }

// crashChange is a change, what it leaves where it is carried out, and what where
// it fails.
type crashChange struct {
	do func(w *ward) (v1.Outcome, error)
	// kept: the old volume is the profile's; anew: another is; gone: none is.
	want string
	// fails: there is no image to make a volume from.
	fails bool
}

func crashChanges() map[string]crashChange {
	return map[string]crashChange{
		"regenerate": {func(w *ward) (v1.Outcome, error) { return w.assign("b1") }, anew, false},
		"fail":       {func(w *ward) (v1.Outcome, error) { return w.assign("b1") }, kept, true},
		"unassign":   {func(w *ward) (v1.Outcome, error) { return w.assign("") }, kept, false},
		"move":       {func(w *ward) (v1.Outcome, error) { return w.assign("a2") }, kept, false},
		"delete": {func(w *ward) (v1.Outcome, error) {
			return w.DeleteResource(w.t.Context(), v1.ProfileCollection, "web", v1.Change{})
		}, gone, false},
	}
}

// crashPoints are where a change can be killed. Each is reached by some change.
func crashPoints() (list []string) {
	for _, step := range []string{"intent", "clone", "fence", "swap", "retire", "open-export", "undo clone", "undo fence", "undo intent"} {
		list = append(list, "before "+step, "after "+step)
	}
	return append(list, "submitted")
}

// TestCrashChild is the process that dies.
func TestCrashChild(t *testing.T) {
	text := os.Getenv(crashEnv)
	if text == "" {
		t.Skip("is run by TestChangeCrash")
	}
	var order crashOrder
	require.NoError(t, json.Unmarshal([]byte(text), &order))
	w := openWard(t, order.Dir, func(point string) {
		if point == order.Point {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	out, err := crashChanges()[order.Change].do(w)
	require.NoError(t, err)
	w.ended(t, *out.Task)
}

// openWard opens a data directory that newWard has filled.
func openWard(t *testing.T, dir string, failpoint func(string)) *ward {
	d, err := Open(dir, Options{failpoint: failpoint})
	require.NoError(t, err)
	return openedWard(t, d)
}

func openedWard(t *testing.T, d *Daemon) *ward {
	e := d.Embed()
	t.Cleanup(func() {
		require.NoError(t, e.Close())
		require.NoError(t, d.Close())
	})
	return &ward{api: &api{Embedded: e, d: d}, t: t}
}

// crashSite is a data directory at rest, to be copied.
type crashSite struct {
	dir    string
	volume string // of the profile
	digest [32]byte
}

func newCrashSite(t *testing.T, withoutImage bool) (s crashSite) {
	s.dir = filepath.Join(t.TempDir(), "data")
	t.Run("site", func(t *testing.T) { // whose end closes the ward
		w := newWard(t)
		s.volume, s.digest = w.scribble()
		if withoutImage {
			require.NoError(t, w.d.store.DeleteImage(t.Context(), "debian", ""))
		}
		require.NoError(t, w.Embedded.Close())
		require.NoError(t, w.d.Close())
		copyData(t, w.d.dir, s.dir)
	})
	return s
}

// copyData copies a data directory, whose files are sparse.
func copyData(t *testing.T, from, to string) {
	out, err := exec.Command("cp", "-a", "--sparse=always", from, to).CombinedOutput()
	require.NoError(t, err, string(out))
}

func TestChangeCrash(t *testing.T) {
	sites := map[bool]crashSite{false: newCrashSite(t, false), true: newCrashSite(t, true)}
	reached := map[string]bool{}
	for name, change := range crashChanges() {
		for _, point := range crashPoints() {
			undo := strings.Contains(point, "undo")
			if !*crashAll && !(name == "regenerate" && !undo || name == "fail" && undo || point == "after fence" || point == "after swap") {
				continue
			}
			t.Run(name+" "+point, func(t *testing.T) {
				if crashOnce(t, sites[change.fails], name, point) {
					reached[point] = true
				}
			})
		}
	}
	for _, point := range crashPoints() {
		require.True(t, reached[point] || strings.HasSuffix(point, "undo fence"), "nothing was killed at %q", point)
	}
}

var crashAll = flag.Bool("crash.all", false, "kill each change at each failpoint")

// crashed has a process make a change and die at a point; it tells whether that was
// reached, and where the data is.
func crashed(t *testing.T, site crashSite, name, point string) (dir string, died bool) {
	dir = filepath.Join(t.TempDir(), "data")
	copyData(t, site.dir, dir)
	order, err := json.Marshal(crashOrder{dir, name, point})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestCrashChild$", "-test.count", "1")
	child.Env = append(os.Environ(), crashEnv+"="+string(order))
	out, err := child.CombinedOutput()
	if err == nil {
		return dir, false
	}
	require.NoError(t, ctx.Err(), "the change never ends: %s", out)
	require.Contains(t, err.Error(), "killed", string(out))
	return dir, true
}

// crashOnce tells whether the change gets to the point.
func crashOnce(t *testing.T, site crashSite, name, point string) bool {
	dir, died := crashed(t, site, name, point)
	if !died {
		return false
	}
	w := openWard(t, dir, nil)
	_, tasks, err := w.d.life(context.Background())
	require.NoError(t, err)
	for _, i := range tasks.List() {
		require.Empty(t, w.ended(t, i).Halted)
	}
	w.consistent()
	change := crashChanges()[name]
	if change.want == gone {
		require.ErrorIs(t, w.Resource(t.Context(), "web", new(v1.Profile)), blockstore.ErrNotFound)
	} else {
		p := w.profile()
		require.Equal(t, change.want == kept, p.Volume == site.volume)
		require.Equal(t, change.fails, p.State == "Error")
		require.Equal(t, p.Hardware == "" || change.fails, p.ExportClosed)
	}
	if change.want != kept {
		_, err := w.RestoreVolume(t.Context(), site.volume, v1.RestoreRequest{})
		require.NoError(t, err)
	}
	require.Equal(t, site.digest, w.digest(site.volume))
	return true
}
