package jail

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// helperVariable makes the test binary, inside a jail, carry out one attack
// of helper_test.go instead of the tests.
const helperVariable = "JAIL_TEST_HELPER"

func TestMain(m *testing.M) {
	MaybeInit()
	if name := os.Getenv(helperVariable); name != "" {
		os.Exit(runHelper(name, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

func unfiltered() Profile { return Profile{unfiltered: true} }

// helperSpec runs the test binary itself in a jail, to carry out an attack.
func helperSpec(t testing.TB, attack string, args ...string) Spec {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	binds, err := Executables(self)
	require.NoError(t, err)
	return Spec{
		Path:    self,
		Args:    args,
		Env:     []string{helperVariable + "=" + attack},
		Binds:   binds,
		Profile: Script(),
	}
}

// result is what an attack printed and how it ended.
type result struct {
	out string
	err error
}

func runSpec(t testing.TB, s Spec) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	s.Stdout, s.Stderr = &out, &out
	p, err := Start(ctx, s)
	require.NoError(t, err)
	err = p.Wait()
	return result{strings.TrimSpace(out.String()), err}
}

// both runs a test with the profile and without any, so that the layers
// below seccomp are seen to hold alone.
func both(t *testing.T, test func(t *testing.T, profile Profile)) {
	t.Run("filtered", func(t *testing.T) { test(t, Script()) })
	t.Run("unfiltered", func(t *testing.T) { test(t, unfiltered()) })
}

func privileged() bool { return hasSysAdmin() }

// tempFile makes a file that everyone may read, in a directory that everyone
// may enter (t.TempDir is 0700 at the top).
func tempFile(t testing.TB, name, text string, mode os.FileMode) string {
	t.Helper()
	dir := openDir(t)
	file := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	require.NoError(t, os.Chmod(file, mode))
	return file
}

func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "jailtest")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }
