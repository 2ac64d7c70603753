package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// planOf returns the example of docs/plans.md as a file.
func planOf(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/plans.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(doc), "    kind: PlanScript\n")
	require.True(t, ok)
	text, _, ok := strings.Cut("    kind: PlanScript\n"+rest, "\n\n`goldstream plan check")
	require.True(t, ok)
	path := filepath.Join(t.TempDir(), "web.yaml")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll("\n"+text+"\n", "\n    ", "\n")), 0o600))
	return path
}

func TestPlanCheck(t *testing.T) {
	h := newHouse(t)
	path := planOf(t)
	doc, err := os.ReadFile("../../docs/plans.md")
	require.NoError(t, err)
	for line := range strings.Lines(h.must("plan", "check", path)) {
		require.Contains(t, string(doc), "    "+line, "as the documentation shows it")
	}
	require.Contains(t, h.must("plan", "check", path, "--json"), `"uses": [`)
	script := filepath.Join(t.TempDir(), "s.gf")
	require.NoError(t, os.WriteFile(script, []byte("echo @A@\nmoutn /dev/sda1 /\n-bogus\n"), 0o600))
	r := h.run("plan", "check", path, script)
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.err, script+`:2:1: unknown command "moutn"`)
	require.Equal(t, exitUsage, h.run("plan", "check").code)
	require.Equal(t, exitNotFound, h.run("plan", "check", "/no/such").code)
	require.Contains(t, h.must("plan", "commands"), "vgrename")
	require.Equal(t, "attributes: []\n", h.must("plan", "attributes", path), "the plan declares all that its script uses")
	require.NoError(t, os.WriteFile(script, []byte("mount /dev/@Disk:sda3@ /\necho @NIC1.mac@ @NIC1.ipaddress@\n"), 0o600))
	shown := h.must("plan", "attributes", script)
	require.Contains(t, string(doc), "    "+strings.ReplaceAll(strings.TrimSuffix(shown, "\n"), "\n", "\n    ")+"\n", "as the documentation shows it")
	require.Contains(t, h.must("plan", "attributes", script, "--json"), `"default": "sda3"`)
	require.NoDirExists(t, h.data, "nothing was opened")
}
