package jail

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMakeRoom stands files in for a cgroup: the machine of a test delegates
// none.
func TestMakeRoom(t *testing.T) {
	dir := t.TempDir()
	require.False(t, delegated(dir))
	if err := unix.Setxattr(dir, "user.delegate", []byte("1"), 0); err == nil { // not on every file system
		require.True(t, delegated(dir))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("4711\n"), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, subgroup), 0o755)) // left by an earlier run
	moved := filepath.Join(dir, subgroup, "cgroup.procs")
	require.NoError(t, os.WriteFile(moved, nil, 0o644))
	require.NoError(t, makeRoom(dir))
	text, err := os.ReadFile(moved)
	require.NoError(t, err)
	require.Equal(t, "4711", string(text))
}

func TestOnlyOne(t *testing.T) {
	require.True(t, onlyOne("       995        995          1\n"))
	require.False(t, onlyOne("         0          0 4294967295\n"))
	require.False(t, onlyOne("         0        995          1\n         1     100000      65536\n"))
	require.False(t, onlyOne(""))
}
