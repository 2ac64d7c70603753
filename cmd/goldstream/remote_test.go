package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

// remote is a house whose commands reach its daemon over the network only.
func remote(t *testing.T) (h *house, flags []string, oneTime string) {
	h = newHouse(t)
	s := h.serve("--api", "127.0.0.1:0", "--json")
	var ready readiness
	require.NoError(t, json.Unmarshal([]byte(s.ready), &ready), s.ready)
	require.Empty(t, ready.OneTimePassword, "a pipe is no terminal")
	require.Equal(t, filepath.Join(h.data, "access", "first-password"), ready.OneTimePasswordFile)
	p, err := os.ReadFile(ready.OneTimePasswordFile)
	require.NoError(t, err)
	oneTime = strings.TrimSpace(string(p))
	require.Len(t, oneTime, 20)
	require.NotContains(t, s.log.String(), oneTime)
	dir := filepath.Dir(h.data)
	flags = []string{"--server", ready.API[0], "--ca", filepath.Join(h.data, "tls", "ca-cert.pem"), "--token-file", filepath.Join(dir, "token")}
	return h, flags, oneTime
}

func TestRemote(t *testing.T) {
	h, flags, oneTime := remote(t)
	with := func(args ...string) []string { return append(args, flags...) }
	h.in = strings.NewReader(oneTime + "\n")
	require.Equal(t, exitUsage, h.run(with("login")...).code, "the new password is missing")
	h.in = strings.NewReader(oneTime + "\nmuch better now\n")
	require.Contains(t, h.must(with("login")...), "role infrastructure")
	require.NoFileExists(t, filepath.Join(h.data, "access", "first-password"), "it is spent")
	fi, err := os.Stat(flags[5])
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), fi.Mode().Perm())
	require.Contains(t, h.must(with("whoami")...), "administrator")

	// A disk goes there and comes back.
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	disk := rawDisk(t, raw, testDisk, 1)
	h.must(with("image", "import", "debian", raw)...)
	h.must(with("volume", "create", "web-1", "--image", "debian")...)
	h.must(with("image", "export", "debian", raw+".back")...)
	same(t, disk, raw+".back")
	require.Equal(t, h.must("volume", "list"), h.must(with("volume", "list")...), "the same as over the socket")
	h.must(with("check")...)
	h.must(with("store", "dump", raw+".dump")...)

	// Others have roles.
	var operator userMade
	require.NoError(t, json.Unmarshal([]byte(h.must(with("user", "create", "operator", "--role", "software", "--one-time", "--json")...)), &operator))
	require.Contains(t, h.must("user", "list"), "for one login")
	h.in = strings.NewReader(operator.Password + "\nanother good one\n")
	operators := append([]string{}, flags...)
	operators[5] += "-operator"
	h.must(append([]string{"login", "--user", "operator", "--change-password"}, operators...)...)
	r := h.run(append([]string{"volume", "delete", "web-1"}, operators...)...)
	require.Equal(t, exitDenied, r.code, r.err)
	require.Contains(t, r.err, "operator has the role software")
	var made struct{ ID, Token string }
	require.NoError(t, json.Unmarshal([]byte(h.must(append([]string{"token", "create", "ci", "--json"}, operators...)...)), &made))
	require.NoError(t, os.WriteFile(operators[5], []byte(made.Token), 0o600))
	h.must(append([]string{"image", "list"}, operators...)...)
	h.must("token", "revoke", made.ID)
	r = h.run(append([]string{"image", "list"}, operators...)...)
	require.Equal(t, exitDenied, r.code, r.err)

	// What cannot be had there says so.
	for _, args := range [][]string{{"mount", filepath.Dir(raw)}, {"inspect", "debian"}, {"store", "restore", raw + ".dump"}, {"sandbox", "prepare"}} {
		r := h.run(with(args...)...)
		require.NotEqual(t, 0, r.code)
		require.Contains(t, r.err, "daemon's host alone", args)
	}
	require.NoError(t, os.Chmod(flags[5], 0o644))
	require.Contains(t, h.run(with("image", "list")...).err, "chmod 600")
	require.NoError(t, os.Chmod(flags[5], 0o600))
	require.Equal(t, exitUsage, h.run(with("image", "list", "--read-only")...).code)
	r = h.run("image", "list", "--server", flags[1], "--token-file", flags[5])
	require.Contains(t, r.err, "--ca", "an authority that this host does not know")
	require.Equal(t, exitUsage, h.run("image", "list", "--server", "http://192.0.2.1:80", "--token-file", flags[5]).code)
	h.must(with("logout")...)
	require.Equal(t, exitDenied, h.run(with("whoami")...).code)
}

// TestPrintedPassword: whoever asks for it has it on standard output, and no file.
func TestPrintedPassword(t *testing.T) {
	h := newHouse(t)
	s := h.serve("--api", "127.0.0.1:0", "--json", "--print-password")
	var ready readiness
	require.NoError(t, json.Unmarshal([]byte(s.ready), &ready), s.ready)
	require.Len(t, ready.OneTimePassword, 20)
	require.NotContains(t, s.log.String(), ready.OneTimePassword)
	require.NoFileExists(t, filepath.Join(h.data, "access", "first-password"))
	s.stop()
}

// TestEveryVerbIsRemote runs each verb with a server that refuses all: each that does
// not say that it cannot asks it, and none looks at the data of this host.
func TestEveryVerbIsRemote(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":{"code":"unauthenticated","message":"no"}}`)
	}))
	defer srv.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, make([]byte, 4096), 0o600))
	plan := filepath.Join(dir, "plan.yaml")
	require.NoError(t, os.WriteFile(plan, []byte("kind: BuildPlan\nname: x\ntype: deploy\nsteps: []\n"), 0o600))
	t.Setenv("GOLDSTREAM_TOKEN", "gst_x")
	t.Setenv("GOLDSTREAM_DATA", filepath.Join(dir, "data"))

	own := map[string]bool{} // they are about this host
	for _, name := range []string{"serve", "attach", "detach", "unmount", "doctor", "version", "completion", "plan check", "plan commands", "plan attributes", "sandbox check"} {
		own[name] = true
	}
	here := map[string]bool{"mount": true, "inspect": true, "boot files": true,
		"store accept": true, "store restore": true, "store restore-checkpoint": true, "sandbox prepare": true}
	arguments := map[string][]string{
		"image import": {"x", file}, "image repair": {"x", file}, "plan import": {plan}, "plan show": {"build", "x"}, "plan delete": {"build", "x"},
		"bundle import": {file}, "bundle export": {"x", filepath.Join(dir, "bundle")}, "bundle create": {"x", "--image", "y"},
		"deploy":       {"--plan", "x", "--name", "y"},
		"image export": {"x", filepath.Join(dir, "out")}, "snapshot export": {"x", "y", filepath.Join(dir, "out")},
		"store dump": {filepath.Join(dir, "dump")}, "login": {"--user", "x"}, "capture": {"x", "--name", "y"}, "volume create": {"x", "--size", "1MiB"},
		"volume grow": {"x", "--size", "1MiB"}, "volume set": {"x", "--quota", "1MiB"}, "image capture": {"x", "--volume", "y"},
		"snapshot prune": {"x", "--keep-last", "1"}, "mount": {dir}, "boot assign": {"x", "--mac", "52:54:00:00:00:01"}, "user create": {"x", "--one-time"}, "user password": {"x", "--one-time"},
	}
	for _, v := range leaves(newApp(streams{}).Commands, "") {
		if own[v.name] {
			continue
		}
		args := arguments[v.name]
		if args == nil {
			for range strings.Fields(v.command.ArgsUsage) {
				args = append(args, "x")
			}
		}
		before := asked.Load()
		var out, errs bytes.Buffer
		line := append([]string{"goldstream"}, append(strings.Fields(v.name), args...)...)
		code := run(context.Background(), streams{strings.NewReader("password one\n"), &out, &errs}, append(line, "--server", srv.URL))
		switch {
		case here[v.name]:
			require.Contains(t, errs.String(), "daemon's host alone", v.name)
			require.NotZero(t, code, v.name)
		default:
			assert.Greater(t, asked.Load(), before, "%s asked no server: %s", v.name, errs.String())
			assert.Equal(t, exitDenied, code, "%s: %s", v.name, errs.String())
		}
	}
	require.NoDirExists(t, filepath.Join(dir, "data"))
}

type leaf struct {
	name    string
	command *cli.Command
}

func leaves(commands []*cli.Command, prefix string) (list []leaf) {
	for _, c := range commands {
		name := strings.TrimSpace(prefix + " " + c.Name)
		if len(c.Subcommands) > 0 {
			list = append(list, leaves(c.Subcommands, name)...)
		} else if c.Name != "help" {
			list = append(list, leaf{name, c})
		}
	}
	return list
}
