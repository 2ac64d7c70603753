package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// unitUser is nobody's.
const unitUser = "64917"

// TestUnit deploys under what the systemd unit starts, with the rights that it leaves:
// a user's, no capability, no new ones.
func TestUnit(t *testing.T) {
	if os.Getenv("GOLDSTREAM_SANDBOX") == "" || os.Geteuid() != 0 {
		t.Skip("run by make test-sandbox, as root")
	}
	unit, err := os.ReadFile("systemd/goldstream.service")
	require.NoError(t, err)
	dir := shortTempDir(t) // of which the user has to reach all
	require.NoError(t, os.Chmod(dir, 0o755))
	for _, name := range []string{"goldstream", "goldstream-guest"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, name), "../"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	data := filepath.Join(dir, "data")
	require.NoError(t, os.Mkdir(data, 0o750))
	require.NoError(t, os.Chown(data, 64917, 64917))
	limited := []string{"--reuid", unitUser, "--regid", unitUser, "--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--"}
	as := func(args ...string) *exec.Cmd {
		cmd := exec.Command("setpriv", append(limited[:len(limited):len(limited)], args...)...)
		cmd.Env = append(os.Environ(), "GOLDSTREAM_DATA="+data, "GOLDSTREAM_NBD=127.0.0.1:0", "GOLDSTREAM_OPTIONS=--sandboxes 1", "HOME="+dir)
		return cmd
	}
	program := filepath.Join(dir, "goldstream")
	must := func(args ...string) {
		t.Helper()
		out, err := as(append([]string{program}, args...)...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	raw := filepath.Join(dir, "debian.raw")
	tool(t, "cp", debianImage(t), raw)
	require.NoError(t, os.Chmod(raw, 0o644))
	plans := filepath.Join(dir, "plans.yaml")
	require.NoError(t, os.WriteFile(plans, []byte("kind: DeploymentPlan\nname: p\nimage: debian\n"), 0o644))
	must("image", "import", "debian", raw)
	must("plan", "import", plans)
	must("sandbox", "prepare")

	_, start, found := strings.Cut(string(unit), "\nExecStart=/bin/sh -c '")
	require.True(t, found)
	start, _, _ = strings.Cut(start, "'\n")
	daemon := as("/bin/sh", "-c", strings.NewReplacer("$$", "$", "@BINDIR@", dir).Replace(start))
	var log lockedBuffer
	daemon.Stderr = &log
	ready, err := daemon.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, daemon.Start())
	defer daemon.Process.Kill()
	_, err = bufio.NewReader(ready).ReadString('\n')
	require.NoError(t, err, "%s", &log)
	privileges, err := os.ReadFile("/proc/" + strconv.Itoa(daemon.Process.Pid) + "/uid_map")
	require.NoError(t, err)
	require.Equal(t, []string{unitUser, unitUser, "1"}, strings.Fields(string(privileges)), "%s", &log)

	must("deploy", "--plan", "p", "--name", "web-1")
	out, err := exec.Command(program, "--data", data, "deploy", "--plan", "p", "--name", "web-2").CombinedOutput() // as root
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(program, "--data", data, "image", "import", "by-root", raw).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, daemon.Process.Signal(syscall.SIGTERM))
	require.NoError(t, daemon.Wait(), "%s", &log)
	require.NoDirExists(t, filepath.Join(data, "slots"))
}

// TestUnitRights starts what the unit does in a network of its own: with the rights of the
// drop-in that docs/netboot.md has, servers are told where their boot is; with the setting
// that docs/migrating.md has, and none, port 443 is served.
func TestUnitRights(t *testing.T) {
	if os.Getenv("GOLDSTREAM_SANDBOX") == "" || os.Geteuid() != 0 {
		t.Skip("run by make test-sandbox, as root")
	}
	doc, err := os.ReadFile("../../docs/netboot.md")
	require.NoError(t, err)
	_, rights, found := strings.Cut(string(doc), "\n    AmbientCapabilities=")
	require.True(t, found)
	rights, _, _ = strings.Cut(rights, "\n")
	rights = strings.ToLower("+" + strings.ReplaceAll(strings.ReplaceAll(rights, " ", ",+"), "CAP_", ""))
	doc, err = os.ReadFile("../../docs/migrating.md")
	require.NoError(t, err)
	require.Contains(t, string(doc), "net.ipv4.ip_unprivileged_port_start=443")
	unit, err := os.ReadFile("systemd/goldstream.service")
	require.NoError(t, err)
	_, start, found := strings.Cut(string(unit), "\nExecStart=/bin/sh -c '")
	require.True(t, found)
	start, _, _ = strings.Cut(start, "'\n")
	dir := shortTempDir(t)
	require.NoError(t, os.Chmod(dir, 0o755))
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "goldstream"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	start = strings.NewReplacer("$$", "$", "@BINDIR@", dir).Replace(start)

	for name, c := range map[string]struct{ rights, before, options, proof string }{
		"drop-in": {rights, "true", "--api 10.77.0.1:443 --boot 10.77.0.1:8480 --boot-dhcp proxy", "boot/dhcp/0.pid"},
		"setting": {"-all", "echo 443 > /proc/sys/net/ipv4/ip_unprivileged_port_start", "--api 10.77.0.1:443", "goldstream.sock"},
	} {
		data := filepath.Join(dir, name)
		require.NoError(t, os.Mkdir(data, 0o750))
		require.NoError(t, os.Chown(data, 64917, 64917))
		bounding := strings.ReplaceAll("-all,"+c.rights, "-all,-all", "-all")
		inner := "ip link set lo up && ip link add srv0 type veth peer name cli0 && ip addr add 10.77.0.1/24 dev srv0 && ip link set srv0 up && ip link set cli0 up && " + c.before +
			" && exec setpriv --reuid " + unitUser + " --regid " + unitUser + " --clear-groups --no-new-privs --inh-caps=" + bounding + " --ambient-caps=" + bounding + " --bounding-set=" + bounding + ` -- /bin/sh -c "$START"`
		daemon := exec.Command("unshare", "--net", "--mount", "sh", "-c", inner)
		daemon.Env = append(os.Environ(), "START="+start, "GOLDSTREAM_DATA="+data, "GOLDSTREAM_NBD=127.0.0.1:0", "GOLDSTREAM_OPTIONS="+c.options, "HOME="+dir)
		var log lockedBuffer
		daemon.Stderr = &log
		ready, err := daemon.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, daemon.Start())
		defer daemon.Process.Kill()
		_, err = bufio.NewReader(ready).ReadString('\n')
		require.NoError(t, err, "%s: %s", name, &log)
		require.FileExists(t, filepath.Join(data, c.proof), "%s: %s", name, &log)
		require.NoError(t, daemon.Process.Signal(syscall.SIGTERM))
		require.NoError(t, daemon.Wait(), "%s: %s", name, &log)
	}
}

// TestUnitMasksNoProc: who sees a part of /proc masked may mount none, and no sandbox
// would start.
func TestUnitMasksNoProc(t *testing.T) {
	unit, err := os.ReadFile("systemd/goldstream.service")
	require.NoError(t, err)
	for line := range strings.Lines(string(unit)) {
		for _, option := range []string{"ProtectKernelTunables=", "ProtectKernelLogs=", "ProtectProc=", "ProcSubset=", "RestrictNamespaces=", "PrivateUsers=", "PrivateDevices="} {
			require.False(t, strings.HasPrefix(line, option), line)
		}
		if strings.HasPrefix(line, "SystemCallFilter=") {
			require.NotContains(t, line, "@mount")
			require.NotContains(t, line, "@cpu-emulation")
		}
	}
}
