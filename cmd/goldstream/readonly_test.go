package main

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// listing names all files below a directory, with lengths and times, and the
// digests of the small ones.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, path, info.Mode(), info.Size(), info.ModTime())
		if info.Mode().IsRegular() && info.Size() < 64<<20 {
			content, err := os.ReadFile(path)
			fmt.Fprintf(&b, "%x\n", sha256.Sum256(content))
			return err
		}
		return nil
	}))
	return b.String()
}

// TestReadOnlyCommands read, refuse to run beside a daemon, and leave no trace.
func TestReadOnlyCommands(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	disk := rawDisk(t, raw, testDisk, 7)
	h.must("image", "import", "debian", raw)
	h.must("volume", "create", "web-1", "--image", "debian")
	h.must("snapshot", "create", "web-1", "s")
	before := listing(t, h.data)
	for _, words := range []string{
		"image list", "image inspect debian", "image verify debian", "image digest debian --sha256", "volume list", "volume inspect web-1",
		"snapshot list web-1", "space", "status", "scrub status",
	} {
		h.must(append(strings.Fields(words), "--read-only")...)
	}
	for _, words := range []string{"image export debian", "snapshot export web-1 s"} {
		out := filepath.Join(t.TempDir(), "out.raw")
		h.must(append(strings.Fields(words), out, "--read-only")...)
		got, err := os.ReadFile(out)
		require.NoError(t, err)
		require.True(t, string(disk) == string(got))
	}
	require.Equal(t, before, listing(t, h.data))
	require.Equal(t, exitUsage, h.run("volume", "delete", "web-1", "--read-only").code, "there is no such flag")
	none := h.run("image", "list", "--read-only", "--data", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, exitNotFound, none.code, none.err)
}
