package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/lifecycle/task"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const bare = `
kind: DeploymentPlan
name: bare
image: debian-12
size: 20MiB
---
kind: DeploymentPlan
name: empty
size: 8MiB
`

const withSecret = `
kind: PlanScript
name: user
type: deploy
script: |
  !echo 'root:@Root@' | chpasswd
---
kind: BuildPlan
name: user
type: deploy
steps: [{script: user}]
attributes:
  - {name: Root, type: password, default: initial-s3cret, constraints: {minlen: 4}}
  - {name: Count, type: number, constraints: {maximum: 4}}
---
kind: DeploymentPlan
name: user
size: 8MiB
buildPlan: user
`

// TestPlansAndDeploy goes the whole way, with a daemon and without one.
func TestPlansAndDeploy(t *testing.T) {
	for _, served := range []bool{false, true} {
		h := newHouse(t)
		h.must("image", "import", "debian-12", write(t, "disk.raw", strings.Repeat("disk", 1<<20)))
		var log *lockedBuffer
		if served {
			s := h.serve()
			log = s.log
			defer s.stop()
		}
		file := write(t, "plans.yaml", bare)
		require.Contains(t, h.must("plan", "import", file, planOf(t), "--dry-run"), "created")
		require.NotContains(t, h.must("plan", "list"), "bare", "a dry run keeps nothing")
		h.must("plan", "import", file, planOf(t))
		require.NotContains(t, h.must("plan", "import", file, planOf(t), "--json"), "created", "the second time nothing changes")

		r := h.run("deploy", "--plan", "bare", "--name", "web-1")
		require.Equal(t, exitNotFound, r.code)
		require.Contains(t, r.err, "'--as-is' deploys without a sandbox")
		h.must("deploy", "--plan", "bare", "--name", "web-1", "--as-is", "--request-id", "r1")
		h.must("deploy", "--plan", "bare", "--name", "web-1", "--as-is", "--request-id", "r1")
		require.Contains(t, h.must("volume", "inspect", "web-1"), "20 MiB")
		r = h.run("deploy", "--plan", "bare", "--name", "web-1", "--as-is")
		require.Equal(t, exitFailure, r.code)
		require.Contains(t, r.err, "the task failed at clone: there is a volume")
		require.Contains(t, h.must("volume", "inspect", "web-1"), "20 MiB", "what the task did not make stays")
		h.must("deploy", "--plan", "empty", "--name", "web-2")
		var tasks []task.Info
		require.NoError(t, json.Unmarshal([]byte(h.must("task", "list", "--json")), &tasks))
		require.Len(t, tasks, 3)
		require.Equal(t, task.Failed, tasks[1].State)
		require.Contains(t, h.must("task", "show", tasks[0].ID), "Completed")
		require.Contains(t, h.must("task", "watch", tasks[0].ID), "from image debian-12")
		require.Equal(t, exitFailure, h.run("task", "watch", tasks[1].ID).code)
		require.Equal(t, exitConflict, h.run("task", "cancel", tasks[0].ID).code)
		require.Equal(t, exitNotFound, h.run("task", "show", "nope").code)

		planSteps(t, h)
		planNative(t, h)
		planSecrets(t, h, log)
	}
}

// planSteps looks at a plan with a script, which is shown, and not run where no
// sandbox was prepared.
func planSteps(t *testing.T, h *house) {
	plan := "web server on Debian 12"
	r := h.run("deploy", "--plan", plan, "--name", "web-3")
	require.Equal(t, exitNotFound, r.code)
	require.Contains(t, r.err, "goldstream sandbox")
	out := h.must("deploy", "--plan", plan, "--name", "web-3", "--dry-run")
	require.Contains(t, out, "mount /dev/sda3 /")
	require.Contains(t, out, "       | web-3\n", "the default names the server")
	require.Contains(t, h.run("deploy", "--plan", plan, "--name", "web-3", "--set", "Disk=sdb", "--dry-run").err, `"Disk" cannot be changed`)
	require.Equal(t, exitConflict, h.run("plan", "delete", "script", "host name").code)
	require.Equal(t, exitNotFound, h.run("plan", "show", "build", "nope").code)
	broken := write(t, "broken.yaml", "kind: PlanScript\nname: host name\ntype: deploy\nscript: echo @Other@\n")
	r = h.run("plan", "import", broken)
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.err, `build plan "web server" would no longer be right`)
	require.Contains(t, h.must("plan", "show", "script", "host name"), "@HostName@", "nothing was changed")
	require.Equal(t, exitNotFound, h.run("volume", "inspect", "web-3").code)
}

const withNative = `
kind: BuildPlan
name: native
type: deploy
steps:
  - hostname: "@HostName@"
  - file: {path: /etc/pw, content: "@Root@"}
attributes:
  - {name: HostName, type: hostname, default: "{profile}"}
  - {name: Root, type: password, default: initial-s3cret}
---
kind: DeploymentPlan
name: native
size: 8MiB
buildPlan: native
`

// planNative looks at a plan with steps that are no scripts.
func planNative(t *testing.T, h *house) {
	file := write(t, "native.yaml", withNative)
	require.Contains(t, h.must("plan", "check", file), "HostName Root")
	h.must("plan", "import", file)
	require.NotContains(t, h.must("plan", "import", file, "--json"), `"changed"`, "the second time nothing changes")
	shown := h.must("plan", "show", "build", "native")
	require.Contains(t, shown, "file /etc/pw")
	require.Contains(t, shown, "hostname: '@HostName@'")
	require.Contains(t, h.must("plan", "show", "build", "native", "--json"), `"hostname": "@HostName@"`)
	out := h.must("deploy", "--plan", "native", "--name", "web-5", "--dry-run")
	require.Contains(t, out, "hostname: web-5")
	require.Contains(t, out, "content: '********'")
	wrong := write(t, "wrong.yaml", strings.Replace(withNative, "@Root@", "@Rot@", 1))
	r := h.run("plan", "import", wrong)
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.err, `declares no attribute "Rot"`)
}

// planSecrets looks for a password in all that is shown and logged.
func planSecrets(t *testing.T, h *house, log *lockedBuffer) {
	h.must("plan", "import", write(t, "user.yaml", withSecret))
	secret := write(t, "secret", "given-s3cret\n")
	shown := h.must("deploy", "--plan", "user", "--name", "web-4", "--dry-run", "--set-file", "Root="+secret)
	require.Contains(t, shown, "!echo 'root:********' | chpasswd")
	shown += h.must("deploy", "--plan", "user", "--name", "web-4", "--dry-run", "--json", "--set-file", "Root="+secret)
	shown += h.must("plan", "show", "build", "user") + h.must("plan", "show", "build", "user", "--json")
	r := h.run("deploy", "--plan", "user", "--name", "web-4", "--dry-run", "--set", "Count=9", "--set-file", "Root="+write(t, "short", "s3c"))
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.err, `attribute "Root" cannot be "********": it needs at least 4 characters`)
	require.Contains(t, r.err, `attribute "Count" cannot be "9": the maximum is 4`)
	shown += r.err
	if log != nil {
		shown += log.String()
	}
	require.NotContains(t, shown, "s3c")
}
