package daemon

import (
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
