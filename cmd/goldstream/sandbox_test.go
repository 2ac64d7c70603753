package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSandboxCommands(t *testing.T) {
	guest := buildGuest(t)
	h := newHouse(t)
	data := h.data
	require.NoError(t, os.Mkdir(data, 0o755))

	r := h.run("sandbox", "check", "--guest", guest)
	require.Equal(t, exitNotFound, r.code, r.err)
	require.Contains(t, r.err, "goldstream sandbox prepare")
	r = h.run("sandbox", "prepare", "--guest", guest, "--uml", "/no/kernel")
	require.Equal(t, exitNotFound, r.code, r.err)
	require.Contains(t, r.err, "user-mode-linux")
	r = h.run("sandbox", "prepare", "--data", filepath.Join(data, "none"), "--guest", guest)
	require.Equal(t, exitNotFound, r.code, r.err)

	r = h.run("sandbox", "prepare", "--guest", guest, "--json")
	require.Zero(t, r.code, r.err)
	var made sandboxState
	require.NoError(t, json.Unmarshal([]byte(r.out), &made))
	require.FileExists(t, made.Image)
	r = h.run("sandbox", "check", "--guest", guest)
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.out, made.Image)
	require.Regexp(t, `boot +\d`, r.out)
}
