package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"
)

// TestCrashAnywhere loses power before each operation on the file system, from
// the creation of a store on, with none or all of what was not synced. (Of one
// directory, file systems keep the order: parts of it are not tried.)
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	mem := vfs.NewCrashableMem()
	type crash struct {
		fs            *vfs.MemFS
		before, after int64 // updates that were acknowledged around the clone
		op            string
	}
	var (
		mu      sync.Mutex
		crashes []crash
		done    atomic.Int64
		rng     = rand.New(rand.NewPCG(1, 2))
	)
	fs := vfs.WithLogging(mem, func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		for _, percent := range []int{0, 100} {
			cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}
			before := done.Load()
			clone := mem.CrashClone(cfg)
			crashes = append(crashes, crash{clone, before, done.Load(), fmt.Sprintf(format, args...)})
		}
	})
	s, err := Open("/data/site", Options{FS: fs})
	require.NoError(t, err)
	e := enclosure("n0")
	create(t, s, e)
	done.Add(1)
	const updates = 10
	for i := 1; i < updates; i++ {
		e.Name = fmt.Sprint("n", i)
		require.NoError(t, save(s, e))
		done.Add(1)
	}
	require.NoError(t, s.Close())
	require.Greater(t, len(crashes), 50)

	for i, c := range crashes {
		s, err := Open("/data/site", Options{FS: c.fs})
		require.NoError(t, err, "crash %d before %s", i, c.op)
		check(t, s)
		list, err := s.Audit(ctx, 0, 100)
		require.NoError(t, err)
		n := int64(len(list)) - 1 // without the defaults
		// One more may be written and not be acknowledged yet.
		require.True(t, c.before <= n && n <= c.after+1, "crash %d before %s: %d updates, %d to %d were acknowledged", i, c.op, n, c.before, c.after)
		if n > 0 {
			require.Equal(t, fmt.Sprint("n", n-1), get(t, s, e.URI).Head().Name)
		}
		create(t, s, enclosure("next"))
		require.NoError(t, s.Close())
	}
}

// TestDiskFails has a write or a sync of the log fail. Run in a process of its
// own: the goroutine that stands still never ends.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	kind := os.Getenv("GOLDSTREAM_TEST_DISK")
	if kind == "" {
		for _, kind := range []string{"write", "sync"} {
			cmd := exec.Command(os.Args[0], "-test.run=^TestDiskFails$", "-test.v")
			cmd.Env = append(os.Environ(), "GOLDSTREAM_TEST_DISK="+kind)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s: %s", kind, out)
			require.Contains(t, string(out), "stood still")
		}
		return
	}
	var broken atomic.Bool
	fs := errorfs.Wrap(vfs.NewCrashableMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		failing := op.Kind == errorfs.OpFileWrite
		if kind == "sync" {
			failing = op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData
		}
		if failing && broken.Load() {
			return errorfs.ErrInjected
		}
		return nil
	}))
	s, err := Open("/site", Options{FS: fs})
	require.NoError(t, err)
	create(t, s, enclosure("before"))
	broken.Store(true)
	require.ErrorIs(t, tryCreate(s, enclosure("a")), ErrFailed)
	require.ErrorIs(t, tryCreate(s, enclosure("b")), ErrFailed)
	require.ErrorIs(t, s.View(ctx, func(*Reader) error { return nil }), ErrFailed)
	require.ErrorIs(t, s.Close(), ErrFailed)
	fmt.Println("stood still")
	os.Exit(0) // the leak is meant
}
