package daemon

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

const secretPlan = `
kind: PlanScript
name: key
type: deploy
script: |
  write /root/.ssh/id "@Key@"
  -chmod @Key@ /x
---
kind: BuildPlan
name: key
type: deploy
steps: [{script: key}]
attributes:
  - {name: Key, type: password, constraints: {multiline: true}}
---
kind: DeploymentPlan
name: key
size: 8MiB
buildPlan: key
values: {Key: "begin\nhunter2\nend"}
`

func (a *api) importPlans(t *testing.T, text string) (int, string) {
	return a.send(t, http.MethodPost, "/v1/plans", "", text)
}

func TestErrorsOfDeploymentsHidePasswords(t *testing.T) {
	a := newAPI(t)
	status, body := a.importPlans(t, secretPlan)
	require.Equal(t, http.StatusOK, status, body)
	for _, path := range []string{"/v1/deployments/preview", "/v1/deployments"} {
		status, body = a.send(t, http.MethodPost, path, "application/json", `{"plan":"key","name":"v"}`)
		require.Equal(t, http.StatusBadRequest, status, body)
		require.Contains(t, body, "the double quote has no end")
		require.Contains(t, body, `unknown command \"********\"`)
		require.NotContains(t, body, "hunter2")
	}
}

// TestValuesFollowTheirBuildPlan changes a build plan alone.
func TestValuesFollowTheirBuildPlan(t *testing.T) {
	const (
		build = "\nkind: BuildPlan\nname: b\ntype: deploy\nattributes:\n  - {name: Key, type: %s}\n"
		plan  = "---\nkind: DeploymentPlan\nname: p\nsize: 8MiB\nbuildPlan: b\nvalues: {Key: hunter2}\n"
	)
	a := newAPI(t)
	shown := func() string {
		status, body := a.send(t, http.MethodGet, "/v1/plans/DeploymentPlan/p", "", "")
		require.Equal(t, http.StatusOK, status, body)
		return body
	}
	imported := func(text string) string {
		status, body := a.importPlans(t, text)
		require.Equal(t, http.StatusOK, status, body)
		return body
	}
	imported(fmt.Sprintf(build, "string") + plan)
	require.Contains(t, shown(), "hunter2")
	body := imported(fmt.Sprintf(build, "password"))
	require.Contains(t, body, `"kind":"DeploymentPlan","name":"p","change":"changed"`)
	require.NotContains(t, shown(), "hunter2")
	require.Contains(t, shown(), `"type":"password"`)
	require.NotContains(t, imported(fmt.Sprintf(build, "password")), `"changed"`)

	for _, wrong := range []string{fmt.Sprintf(build, "string"), fmt.Sprintf(build, "number"), "kind: BuildPlan\nname: b\ntype: deploy\n", "kind: BuildPlan\nname: b\ntype: capture\n"} {
		status, body := a.importPlans(t, wrong)
		require.Equal(t, http.StatusBadRequest, status, body)
		require.Contains(t, body, `deployment plan \"p\" would no longer be right`)
		require.NotContains(t, body, "hunter2")
	}
	require.NotContains(t, shown(), "hunter2")
	imported(fmt.Sprintf(build, "string") + plan)
	require.Contains(t, shown(), "hunter2", "whoever changes it knows the value")
}
