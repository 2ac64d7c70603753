package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
)

const profilePlans = `
kind: DeploymentPlan
name: debian
image: debian-12
---
kind: DeploymentPlan
name: larger
image: debian-12
size: 8MiB
`

func (h *house) profile(name string) (p v1.Profile) {
	h.tb.Helper()
	require.NoError(h.tb, json.Unmarshal([]byte(h.must("profile", "show", name, "--json")), &p))
	return p
}

// TestProfiles goes the whole way of a profile, with a daemon and without one.
func TestProfiles(t *testing.T) {
	for _, served := range []bool{false, true} {
		h := newHouse(t)
		h.must("image", "import", "debian-12", write(t, "disk.raw", strings.Repeat("disk", 1<<20)))
		h.must("plan", "import", write(t, "plans.yaml", profilePlans))
		if served {
			defer h.serve().stop()
		}
		h.must("hardware", "add", "rack-1")
		h.must("hardware", "add", "rack-2")
		h.must("enclosure", "add", "frame-1")
		h.must("logical-enclosure", "add", "le-1", "--enclosure", "frame-1")
		h.must("hardware", "add", "bay-1", "--enclosure", "frame-1", "--bay", "1")

		out := h.must("profile", "create", "web-1", "--plan", "debian", "--hardware", "rack-1", "--dry-run")
		require.Contains(t, out, "nothing was changed")
		require.Contains(t, out, "row 7")
		require.Equal(t, exitNotFound, h.run("profile", "show", "web-1").code)
		h.must("profile", "create", "web-1", "--plan", "debian", "--hardware", "rack-1")
		first := h.profile("web-1")
		require.Equal(t, "Normal", first.State)
		require.Contains(t, h.must("volume", "list"), first.Volume)
		require.Regexp(t, `rack-1 .*web-1`, h.must("hardware", "list"))
		r := h.run("volume", "delete", first.Volume)
		require.Equal(t, exitConflict, r.code)
		require.Contains(t, r.err, `that of server profile "web-1"`)
		require.Equal(t, exitConflict, h.run("profile", "create", "web-2", "--hardware", "rack-1").code, "two profiles for one server")

		require.Contains(t, h.must("profile", "unassign", "web-1"), "row 1")
		h.must("profile", "assign", "web-1", "rack-2")
		require.Equal(t, first.Volume, h.profile("web-1").Volume)
		out = h.must("profile", "assign", "web-1", "bay-1", "--dry-run")
		require.Regexp(t, `regenerate volume web-1-\w+ \(4 MiB\), row 4: .*cannot access`, out)
		require.Equal(t, first.Volume, h.profile("web-1").Volume)
		h.must("profile", "assign", "web-1", "bay-1")
		second := h.profile("web-1")
		require.NotEqual(t, first.Volume, second.Volume)
		require.Equal(t, "le-1", second.Home)
		require.Contains(t, h.must("volume", "list", "--retired"), first.Volume)

		h.must("profile", "edit", "web-1", "--plan", "larger")
		third := h.profile("web-1")
		require.NotEqual(t, second.Volume, third.Volume)
		require.Contains(t, h.must("volume", "inspect", third.Volume), "8 MiB")
		require.Contains(t, h.must("profile", "edit", "web-1", "--description", "x"), "row 10")
		require.Equal(t, exitConflict, h.run("logical-enclosure", "delete", "le-1").code)
		require.Equal(t, exitConflict, h.run("plan", "delete", "deployment", "larger").code)
		require.Equal(t, exitUsage, h.run("profile", "create", "web-2", "--plan", "nope").code)
		require.Equal(t, exitUsage, h.run("profile", "create", "web-2", "--set", "A=b").code)
		require.Equal(t, exitNotFound, h.run("profile", "assign", "nope", "rack-1").code)
		require.Equal(t, exitUsage, h.run("profile", "assign", "web-1", "nope").code)

		require.Contains(t, h.must("event", "list"), "change profile web-1: regenerate by row 4")
		h.must("profile", "delete", "web-1", "--request-id", "gone")
		require.Equal(t, exitNotFound, h.run("profile", "show", "web-1").code)
		require.NotContains(t, h.must("volume", "list"), third.Volume)
		require.Contains(t, h.must("profile", "delete", "web-1", "--request-id", "gone"), "deleted")
		h.must("volume", "restore", third.Volume)
		h.must("volume", "delete", third.Volume)
		require.Contains(t, h.must("profile", "check"), "0 places")
		require.Contains(t, h.must("check"), "0 damaged, 0 warnings")
	}
}
