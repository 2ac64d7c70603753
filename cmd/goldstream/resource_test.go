package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
)

// TestResources goes the whole way of servers and enclosures, with a daemon and
// without one.
func TestResources(t *testing.T) {
	for _, served := range []bool{false, true} {
		h := newHouse(t)
		h.must("volume", "create", "v", "--size", "1MiB") // there is data
		if served {
			defer h.serve().stop()
		}
		// A plain rack server needs nothing else.
		out := h.must("hardware", "add", "rack-1", "--mac", "52-54-00-AA-00-01")
		require.Regexp(t, `type +default`, out)
		require.Regexp(t, `logical enclosure +default`, out)
		require.Contains(t, out, "52:54:00:aa:00:01")

		h.must("hardware-type", "add", "SY480", "--model", "Synergy 480")
		h.must("enclosure", "add", "frame-1", "--serial", "CN1")
		h.must("enclosure-group", "add", "production")
		h.must("logical-enclosure", "add", "le-1", "--group", "production", "--enclosure", "frame-1")
		require.Contains(t, h.must("enclosure", "show", "frame-1"), "le-1")
		out = h.must("hardware", "add", "bay-3", "--type", "SY480", "--enclosure", "frame-1", "--bay", "3", "--dry-run")
		require.Contains(t, out, "nothing was changed")
		require.NotContains(t, h.must("hardware", "list"), "bay-3")
		h.must("hardware", "add", "bay-3", "--type", "SY480", "--enclosure", "frame-1", "--bay", "3")
		require.Regexp(t, `bay-3 +SY480 +le-1 +frame-1 +3 +Unknown`, h.must("hardware", "list"))

		resourceRefusals(t, h)
		resourceTags(t, h)

		h.must("hardware", "edit", "bay-3", "--power", "Off", "--rename", "bay-three")
		require.Regexp(t, `power +Off`, h.must("hardware", "show", "bay-three"))
		h.must("hardware", "delete", "bay-three")
		h.must("logical-enclosure", "edit", "le-1", "--no-enclosures", "--group", "default")
		for _, gone := range [][]string{{"enclosure", "frame-1"}, {"enclosure-group", "production"}, {"logical-enclosure", "le-1"}, {"hardware-type", "SY480"}} {
			require.Contains(t, h.must(gone[0], "delete", gone[1], "--dry-run"), "would delete")
			h.must(gone[0], "delete", gone[1])
			require.Equal(t, exitNotFound, h.run(gone[0], "show", gone[1]).code)
		}
	}
}

// resourceRefusals asks for what cannot be.
func resourceRefusals(t *testing.T, h *house) {
	for _, r := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "add it first", []string{"hardware", "add", "x", "--type", "SY999"}},
		{exitUsage, "is no MAC address", []string{"hardware", "add", "x", "--mac", "nope"}},
		{exitUsage, "no power state", []string{"hardware", "add", "x", "--power", "Maybe"}},
		{exitUsage, "no enclosure", []string{"hardware", "add", "x", "--bay", "3"}},
		{exitUsage, "is no name", []string{"hardware", "add", "a/b"}},
		{exitConflict, "bay 3", []string{"hardware", "add", "x", "--enclosure", "frame-1", "--bay", "3"}},
		{exitConflict, "MAC address", []string{"hardware", "add", "x", "--mac", "52:54:00:aa:00:01"}},
		{exitConflict, "the name bay-3 is taken", []string{"hardware", "add", "bay-3"}},
		{exitConflict, "frame-1", []string{"enclosure", "delete", "frame-1"}},
		{exitConflict, "SY480", []string{"hardware-type", "delete", "SY480"}},
		{exitConflict, "production", []string{"enclosure-group", "delete", "production"}},
		{exitConflict, "is taken by", []string{"logical-enclosure", "add", "le-2", "--enclosure", "frame-1"}},
		{exitUsage, "twice", []string{"logical-enclosure", "add", "le-2", "--enclosure", "frame-1", "--enclosure", "frame-1"}},
		{exitUsage, "cannot be deleted", []string{"logical-enclosure", "delete", "default"}},
		{exitUsage, "keeps its name", []string{"logical-enclosure", "edit", "default", "--rename", "x"}},
		{exitNotFound, "none of the server-hardware", []string{"hardware", "edit", "nope", "--power", "On"}},
	} {
		got := h.run(r.args...)
		require.Equal(t, r.code, got.code, "%v: %s", r.args, got.err)
		require.Contains(t, got.err, r.says, "%v", r.args)
	}
	require.NotContains(t, h.must("logical-enclosure", "list"), "le-2")
}

// resourceTags changes by eTag.
func resourceTags(t *testing.T, h *house) {
	var before, after v1.Hardware
	require.NoError(t, json.Unmarshal([]byte(h.must("hardware", "show", "rack-1", "--json")), &before))
	h.must("hardware", "edit", "rack-1", "--serial", "1", "--if-match", before.ETag)
	r := h.run("hardware", "edit", "rack-1", "--serial", "2", "--if-match", before.ETag)
	require.Equal(t, exitConflict, r.code)
	require.Contains(t, r.err, "changed meanwhile")
	require.Equal(t, exitConflict, h.run("hardware", "delete", "rack-1", "--if-match", before.ETag).code)
	require.NoError(t, json.Unmarshal([]byte(h.must("hardware", "show", "rack-1", "--json")), &after))
	require.Equal(t, "1", after.Serial)
	h.must("hardware", "edit", "rack-1", "--serial", "1")
	require.Contains(t, h.must("hardware", "show", "rack-1", "--json"), after.ETag, "what changes nothing is no new state")
}
