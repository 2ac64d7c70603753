package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestInstallBuildsOnlyWhatIsMissing: root may have no Go.
func TestInstallBuildsOnlyWhatIsMissing(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Makefile"), makefile, 0o644))
	plan := func() string { return tool(t, "make", "-C", dir, "-n", "install", "DESTDIR=/stage") }
	require.Contains(t, plan(), "go build")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", "goldstream"), nil, 0o755))
	require.Contains(t, plan(), "go build", "goldstream-guest is missing")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", "goldstream-guest"), nil, 0o755))
	require.NotContains(t, plan(), "go build")
	require.Contains(t, plan(), "/stage/usr/local/share/bash-completion")
}
