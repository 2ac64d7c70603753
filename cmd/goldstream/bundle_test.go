package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBundleCommands takes a bundle from one site to another.
func TestBundleCommands(t *testing.T) {
	own := filepath.Join("..", "..", "personalize", "bundle", "testdata", "site-linux.zip")
	one, two, dir := newHouse(t), newHouse(t), t.TempDir()
	must := func(h *house, args ...string) string { return h.must(args...) }
	require.Contains(t, must(one, "bundle", "inspect", own), "site-mount, site-host, site-unmount")
	require.Contains(t, must(one, "bundle", "import", own, "--dry-run"), "created")
	require.NotContains(t, must(one, "bundle", "list"), "site-linux", "a dry run keeps nothing")
	require.Contains(t, must(one, "bundle", "import", own), "created")
	require.Contains(t, must(one, "bundle", "import", "site-linux"), "unchanged")
	require.Contains(t, must(one, "bundle", "list"), "site-linux")
	require.Contains(t, must(one, "bundle", "create", "mine", "--deployment", "site-web"), "Site disk 1.0")
	file := filepath.Join(dir, "mine.zip")
	require.Contains(t, must(one, "bundle", "export", "mine", file), "exported mine")
	require.Contains(t, must(two, "bundle", "import", file, "--name", "theirs", "--json"), `"created"`)
	require.Contains(t, must(two, "plan", "show", "deployment", "site-web"), "Site disk 1.0")
	must(two, "bundle", "delete", "theirs")

	bad := filepath.Join(dir, "bad.zip")
	require.NoError(t, os.WriteFile(bad, []byte("PK"), 0o600))
	for _, args := range [][]string{{"bundle", "inspect", bad}, {"bundle", "import", bad}, {"bundle", "import", filepath.Join(dir, "none.zip")}, {"bundle", "import", file, "--on-conflict", "maybe"}, {"bundle", "export", "nobody", file}} {
		r := two.run(args...)
		require.NotEqual(t, 0, r.code, "%v", args)
		require.NotEmpty(t, r.err)
	}
	require.NotContains(t, must(two, "bundle", "list"), "bad")
}

// TestBundleIsPlain: what stands in a file does nothing to the terminal.
func TestBundleIsPlain(t *testing.T) {
	require.Equal(t, "a [31m b  c?", plain("a\x1b[31m b\t\u202ec\xff"))
}
