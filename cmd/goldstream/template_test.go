package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
)

const templatePlans = `
kind: PlanScript
name: host
type: deploy
script: |
  # @Host@ @Root@
---
kind: BuildPlan
name: web
type: deploy
steps:
  - script: host
attributes:
  - {name: Host, type: string}
  - {name: Root, type: password}
---
kind: DeploymentPlan
name: web
image: debian-12
buildPlan: web
---
kind: DeploymentPlan
name: plain
image: debian-12
`

// TestTemplates makes profiles from a template.
func TestTemplates(t *testing.T) {
	const secret, other = "s3cret-of-all", "s3cret-of-one"
	h := newHouse(t)
	h.must("image", "import", "debian-12", write(t, "disk.raw", strings.Repeat("disk", 1<<18)))
	h.must("plan", "import", write(t, "plans.yaml", templatePlans))
	defer h.serve().stop()
	h.must("hardware-type", "add", "SY480")
	out := h.must("template", "add", "web", "--plan", "web", "--type", "SY480", "--firmware", "SPP-1", "--set", "Host=www", "--set-file", "Root="+write(t, "root", secret+"\n"))
	require.NotContains(t, out, secret)
	require.Regexp(t, `web +SY480 .*SPP-1 +web +0`, h.must("template", "list"))
	for _, r := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "add it first", []string{"template", "add", "x", "--type", "SY999"}},
		{exitUsage, "name it with --plan", []string{"template", "add", "x", "--set", "Host=a"}},
		{exitUsage, "Nope", []string{"template", "add", "x", "--plan", "web", "--set", "Nope=a"}},
		{exitConflict, "is taken", []string{"template", "add", "web"}},
		{exitUsage, "goes without", []string{"template", "edit", "web", "--no-plan", "--plan", "web"}},
		{exitUsage, "none of the server-profile-templates", []string{"profile", "create", "x", "--template", "nope"}},
		{exitConflict, "SY480", []string{"hardware-type", "delete", "SY480"}},
		{exitConflict, "cannot be deleted", []string{"plan", "delete", "deployment", "web"}},
	} {
		got := h.run(r.args...)
		require.Equal(t, r.code, got.code, "%v: %s", r.args, got.err)
		require.Contains(t, got.err, r.says, "%v", r.args)
	}

	// What the profile says goes before what the template says.
	h.must("profile", "create", "web-1", "--template", "web", "--set", "Host=web-1")
	h.must("profile", "create", "web-2", "--template", "web", "--plan", "plain")
	one, two := h.profile("web-1"), h.profile("web-2")
	require.Equal(t, "web", one.Template)
	require.Equal(t, "SY480", one.Type)
	require.Equal(t, "SPP-1", one.Firmware)
	require.Equal(t, "web", planOfProfile(&one))
	require.Equal(t, map[string]string{"Host": "web-1", "Root": "********"}, valuesOf(&one))
	require.Empty(t, one.Differs)
	require.Equal(t, "plain", planOfProfile(&two))
	require.Empty(t, valuesOf(&two))
	require.Equal(t, []string{"plan: the template says web"}, two.Differs)
	require.Equal(t, exitConflict, h.run("template", "delete", "web").code)

	// An edit of the template changes no profile, until that complies.
	h.must("template", "edit", "web", "--firmware", "SPP-2", "--description", "new", "--set-file", "Root="+write(t, "root", other+"\n"))
	one = h.profile("web-1")
	require.Equal(t, "SPP-1", one.Firmware)
	require.Equal(t, []string{"firmware: the template says SPP-2"}, one.Differs)
	require.Contains(t, h.must("profile", "list"), "web (differs)")
	require.Contains(t, h.must("profile", "comply", "web-1", "--dry-run"), "nothing was changed")
	require.Equal(t, "SPP-1", h.profile("web-1").Firmware)
	h.must("profile", "comply", "web-1")
	h.must("profile", "comply", "web-2")
	one, two = h.profile("web-1"), h.profile("web-2")
	require.Equal(t, "SPP-2", one.Firmware)
	require.Empty(t, one.Differs)
	require.Equal(t, "web", planOfProfile(&two))
	require.Equal(t, map[string]string{"Host": "www", "Root": "********"}, valuesOf(&two))

	// A template without a plan leaves profiles theirs.
	h.must("template", "edit", "web", "--no-plan")
	require.Contains(t, h.must("profile", "comply", "web-1"), "row 10")
	two = h.profile("web-2")
	require.Equal(t, "web", planOfProfile(&two))
	require.Empty(t, two.Differs)
	require.Equal(t, exitUsage, h.run("profile", "comply", "web-1", "--if-match", "1/1", "--no-such").code)
	require.Equal(t, exitConflict, h.run("profile", "comply", "web-1", "--if-match", "1/1").code)
	h.must("profile", "delete", "web-1")
	h.must("profile", "delete", "web-2")
	h.must("template", "delete", "web")
	require.Equal(t, exitNotFound, h.run("template", "show", "web").code)
	require.NotContains(t, h.must("event", "list", "--json"), secret)
}

func valuesOf(p *v1.Profile) map[string]string {
	m := map[string]string{}
	for _, v := range *p.Deployment.Values {
		m[v.Name] = v.Shown()
	}
	return m
}

// TestPasswordIsChanged: a password that is set again is sent as it is, and not as
// the mask of it.
func TestPasswordIsChanged(t *testing.T) {
	h := newHouse(t)
	h.must("image", "import", "debian-12", write(t, "disk.raw", strings.Repeat("disk", 1<<18)))
	h.must("plan", "import", write(t, "plans.yaml", templatePlans))
	h.must("profile", "create", "web-1", "--plan", "web", "--set", "Root=first")
	first := h.profile("web-1").ETag
	h.must("profile", "edit", "web-1", "--set", "Root=first")
	require.Equal(t, first, h.profile("web-1").ETag, "the same value is no change")
	h.must("profile", "edit", "web-1", "--set", "Root=second")
	second := h.profile("web-1").ETag
	require.NotEqual(t, first, second)
	h.must("profile", "edit", "web-1", "--set", "Root=second")
	require.Equal(t, second, h.profile("web-1").ETag)
}
