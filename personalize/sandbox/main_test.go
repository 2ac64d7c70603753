package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"goldstream/jail"
)

func TestMain(m *testing.M) {
	jail.MaybeInit()
	if disk := os.Getenv(holderVariable); disk != "" {
		os.Exit(hold(disk))
	}
	if os.Getenv(attackVariable) != "" {
		os.Exit(attack(os.Args[1:]))
	}
	code := m.Run()
	_ = os.RemoveAll(shared)
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// shared is where the tests' one tool root is.
var shared = filepath.Join(os.TempDir(), fmt.Sprintf("goldstream-sandbox-test-%d", os.Getpid()))

func testOptions(dir string) Options {
	return Options{Dir: filepath.Join(dir, "tools"), Guest: filepath.Join(dir, guestName)}
}

// tools builds the guest and makes the tool root.
var tools = sync.OnceValues(func() (Tools, error) {
	o := testOptions(shared)
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", o.Guest, "goldstream/cmd/goldstream-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return Tools{}, fmt.Errorf("%w: %s", err, out)
	}
	return Prepare(context.Background(), o)
})

// start boots a cell that is killed with the test.
func start(t testing.TB, cfg Config) *Cell {
	t.Helper()
	c, err := tryStart(t, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Log(c.Console())
		}
	})
	return c
}

func tryStart(t testing.TB, cfg Config) (*Cell, error) {
	t.Helper()
	var err error
	cfg.Tools, err = tools()
	require.NoError(t, err)
	return Start(t.Context(), cfg)
}

// makeDisk makes a sparse disk and has sfdisk partition it.
func makeDisk(t testing.TB, size int64, table string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(file)
	require.NoError(t, err)
	require.NoError(t, errors.Join(f.Truncate(size), f.Close()))
	if table != "" {
		cmd := exec.Command("sfdisk", "-q", file)
		if cmd.Stdin, err = os.Open(writeFile(t, table)); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	return file
}

func writeFile(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// patience is for what must happen, on a machine with anything else to do.
func patience(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
