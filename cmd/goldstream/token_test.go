package main

import (
	"encoding/json"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
)

// TestExportTokens: from the network, volumes open by token only. The listener
// on every address is one; that the client comes from this host changes nothing.
func TestExportTokens(t *testing.T) {
	h := newHouse(t)
	h.must("volume", "create", "web", "--size", "8MiB")
	before := strings.TrimSpace(h.must("export", "create", "web"))
	s := h.serve("--nbd", "0.0.0.0:0")
	words := strings.Fields(s.ready)
	u, err := url.Parse(words[len(words)-1])
	require.NoError(t, err)
	open := "nbd://127.0.0.1:" + u.Port() + "/"
	fails := func(uri string) string {
		out, err := exec.Command("nbdinfo", uri).CombinedOutput()
		require.Error(t, err)
		return string(out)
	}

	require.Contains(t, tool(t, "nbdinfo", open+before), "is_read_only: false", "made without a daemon")
	require.NotContains(t, tool(t, "nbdinfo", "--list", open), "web")
	require.Contains(t, tool(t, "nbdinfo", "--list", s.uri), `export="web"`)
	byName := fails(open + "web")
	fails(open + before + "x")

	var ro, far v1.CreatedToken
	require.NoError(t, json.Unmarshal([]byte(h.must("export", "create", "web", "--read-only", "--allow", "127.0.0.0/8", "--json")), &ro))
	require.Contains(t, tool(t, "nbdinfo", open+ro.Token), "is_read_only: true")
	require.NoError(t, json.Unmarshal([]byte(h.must("export", "create", "web", "--allow", "10.255.0.0/16", "--json")), &far))
	require.Equal(t, byName, strings.ReplaceAll(fails(open+far.Token), far.Token, "web"), "nothing tells that it exists")

	listed := h.must("export", "list")
	for _, want := range []string{ro.ID, far.ID, "read-only", "read-write", "10.255.0.0/16", "anywhere"} {
		require.Contains(t, listed, want)
	}
	require.NotContains(t, listed, ro.Token)
	h.must("export", "revoke", ro.ID)
	fails(open + ro.Token)
	require.Equal(t, 3, h.run("export", "revoke", ro.ID).code)
	require.Equal(t, 2, h.run("export", "create", "web", "--allow", "here").code)

	s.stop()
	require.NotContains(t, s.log.String(), before)
	require.NotContains(t, s.log.String(), ro.Token)
}
