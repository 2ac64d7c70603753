package step

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/attribute"
)

// planAndApply is for steps that are other ones each time.
func planAndApply(t *testing.T, d *tree, s Step) []Op {
	t.Helper()
	ops, err := s.Plan(context.Background(), d, values(t))
	require.NoError(t, err)
	require.NoError(t, Apply(context.Background(), d, ops))
	return ops
}

func (d *tree) names(t *testing.T, dir string) string {
	t.Helper()
	names, err := d.List(context.Background(), dir)
	require.NoError(t, err)
	return strings.Join(names, " ")
}

// fingerprint has ssh-keygen read both halves of a key.
func fingerprint(t *testing.T, d *tree, name string) string {
	t.Helper()
	file := filepath.Join(d.root.Name(), "etc/ssh", name)
	private, err := exec.Command("ssh-keygen", "-y", "-f", file).CombinedOutput()
	require.NoError(t, err, "%s", private)
	require.Equal(t, string(private), d.text(t, "/etc/ssh/"+name+".pub"))
	out, err := exec.Command("ssh-keygen", "-l", "-f", file+".pub").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func TestHostKeys(t *testing.T) {
	d := debian(t, map[string]string{"/etc/ssh/ssh_host_dsa_key": "old", "/etc/ssh/ssh_host_rsa_key": "old", "/etc/ssh/sshd_config": ""})
	ops := planAndApply(t, d, Step{HostKeys: &HostKeys{}})
	require.Equal(t, "ssh_host_ecdsa_key ssh_host_ecdsa_key.pub ssh_host_ed25519_key ssh_host_ed25519_key.pub ssh_host_rsa_key ssh_host_rsa_key.pub sshd_config", d.names(t, "/etc/ssh"))
	seen := map[string]bool{}
	for kind, want := range map[string]string{"ed25519": "256 SHA256:", "ecdsa": "256 SHA256:", "rsa": "3072 SHA256:"} {
		file := "ssh_host_" + kind + "_key"
		f := fingerprint(t, d, file)
		require.True(t, strings.HasPrefix(f, want), f)
		require.Contains(t, f, "("+strings.ToUpper(kind)+")")
		require.Equal(t, fs.FileMode(0o600), d.mode(t, "/etc/ssh/"+file))
		require.Equal(t, fs.FileMode(0o644), d.mode(t, "/etc/ssh/"+file+".pub"))
		seen[f] = true
	}
	require.Len(t, seen, 3)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", ops, ops, ops), "PRIVATE")

	before := fingerprint(t, d, "ssh_host_ed25519_key")
	planAndApply(t, d, Step{HostKeys: &HostKeys{Types: []string{"ed25519"}}})
	require.Equal(t, "ssh_host_ed25519_key ssh_host_ed25519_key.pub sshd_config", d.names(t, "/etc/ssh"))
	require.NotEqual(t, before, fingerprint(t, d, "ssh_host_ed25519_key"), "no two servers share one")

	redHat := debian(t, map[string]string{"/etc/ssh/ssh_host_rsa_key": "old", "/usr/lib/systemd/system/sshd-keygen@.service": ""})
	require.NoError(t, redHat.Chmod(context.Background(), "/etc/ssh/ssh_host_rsa_key", 0o640))
	redHat.owners["/etc/ssh/ssh_host_rsa_key"] = [2]int{0, 996}
	planAndApply(t, redHat, Step{HostKeys: &HostKeys{Types: []string{"ecdsa"}}})
	require.Equal(t, fs.FileMode(0o640), redHat.mode(t, "/etc/ssh/ssh_host_ecdsa_key"), "for the group of ssh-keysign")
	require.Equal(t, [2]int{0, 996}, redHat.owners["/etc/ssh/ssh_host_ecdsa_key"])
	apply(t, redHat, Step{HostKeys: &HostKeys{Remove: true}}, values(t))
	require.Empty(t, redHat.names(t, "/etc/ssh"))
}

func TestWrongHostKeys(t *testing.T) {
	with := map[string]string{"/etc/ssh/ssh_host_rsa_key": "old"}
	for want, row := range map[string]struct {
		h     HostKeys
		files map[string]string
	}{
		"no type of a host key": {HostKeys{Types: []string{"dsa"}}, with},
		"leave one out":         {HostKeys{Types: []string{"rsa"}, Remove: true}, with},
		"install an SSH server": {HostKeys{}, nil},
		"nobody logs in":        {HostKeys{Remove: true}, with},
	} {
		d := debian(t, row.files)
		_, err := Step{HostKeys: &row.h}.Plan(context.Background(), d, values(t))
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, attribute.ErrInvalid)
	}
}

// golden has what a machine that ran leaves behind.
func golden(t *testing.T) *tree {
	d := debian(t, map[string]string{
		"/var/lib/dbus/machine-id":                      "0123\n",
		"/etc/ssh/ssh_host_ed25519_key":                 "old",
		"/etc/ssh/ssh_host_ed25519_key.pub":             "old",
		"/etc/ssh/ssh_config":                           "kept",
		"/var/lib/systemd/random-seed":                  "seed",
		"/var/lib/dhcp/dhclient.eth0.leases":            "lease",
		"/var/lib/dhcp/README":                          "kept",
		"/var/lib/NetworkManager/internal-1-eth0.lease": "lease",
		"/var/lib/NetworkManager/secret_key":            "secret",
		"/var/lib/NetworkManager/NetworkManager.state":  "kept",
		"/etc/udev/rules.d/70-persistent-net.rules":     "rule",
		"/etc/udev/rules.d/99-ours.rules":               "kept",
		"/root/.bash_history":                           "passwd",
		"/home/admin/.bash_history":                     "ls",
		"/home/admin/.viminfo":                          "x",
		"/home/admin/history":                           "kept",
		"/var/log/syslog":                               "log",
		"/var/log/syslog.1":                             "log",
		"/var/log/syslog.2.gz":                          "log",
		"/var/log/messages-20260101":                    "log",
		"/var/log/empty.log":                            "",
		"/var/log/app/app-2.log":                        "log",
		"/var/log/journal/0123/system.journal":          "log",
		"/srv/not-a-log":                                "kept",
	})
	require.NoError(t, d.root.Symlink("../../srv", "var/log/elsewhere"))
	require.NoError(t, d.root.Symlink("../../dev/null", "home/admin/.python_history"))
	require.NoError(t, d.root.Symlink("../../srv/not-a-log", "var/log/link.log"))
	return d
}

func TestGeneralize(t *testing.T) {
	d := golden(t)
	ops := planAndApply(t, d, Step{Generalize: &Generalize{}})
	require.Empty(t, d.text(t, "/etc/machine-id"))
	require.Equal(t, "ssh_config ssh_host_ed25519_key ssh_host_ed25519_key.pub", d.names(t, "/etc/ssh"))
	fingerprint(t, d, "ssh_host_ed25519_key")
	require.Empty(t, d.names(t, "/var/lib/dbus")+d.names(t, "/var/lib/systemd")+d.names(t, "/root"))
	require.Equal(t, "README", d.names(t, "/var/lib/dhcp"))
	require.Equal(t, "NetworkManager.state", d.names(t, "/var/lib/NetworkManager"))
	require.Equal(t, "99-ours.rules", d.names(t, "/etc/udev/rules.d"))
	require.Equal(t, ".profile .python_history history", d.names(t, "/home/admin"))
	require.Equal(t, "app elsewhere empty.log journal link.log syslog", d.names(t, "/var/log"))
	require.Empty(t, d.text(t, "/var/log/syslog")+d.text(t, "/var/log/app/app-2.log"))
	require.Equal(t, "kept", d.text(t, "/srv/not-a-log"), "links out of the logs are not followed")
	require.NotContains(t, fmt.Sprint(ops), "empty.log")

	again, err := Step{Generalize: &Generalize{Keep: []string{"hostKeys"}}}.Plan(context.Background(), d, values(t))
	require.NoError(t, err)
	require.Empty(t, again, "keys alone are other ones each time")

	bare := debian(t, nil)
	require.Len(t, planAndApply(t, bare, Step{Generalize: &Generalize{}}), 1, "the machine ID")
	require.NoError(t, bare.Remove(context.Background(), "/etc/machine-id"))
	require.Empty(t, planAndApply(t, bare, Step{Generalize: &Generalize{}}), "no file is made")
	first := debian(t, map[string]string{"/etc/machine-id": "uninitialized\n"})
	require.Empty(t, planAndApply(t, first, Step{Generalize: &Generalize{}}), "it waits for its very first boot")
	redHat := debian(t, map[string]string{"/etc/ssh/ssh_host_ed25519_key": "old", "/usr/lib/systemd/system/sshd-keygen@.service": ""})
	apply(t, redHat, Step{Generalize: &Generalize{}}, values(t))
	require.Empty(t, redHat.names(t, "/etc/ssh"), "its first boot makes them")
	dsa := debian(t, map[string]string{"/etc/ssh/ssh_host_dsa_key": "old"})
	planAndApply(t, dsa, Step{Generalize: &Generalize{}})
	require.NotContains(t, dsa.names(t, "/etc/ssh"), "_dsa_")
	fingerprint(t, dsa, "ssh_host_rsa_key")
}

// TestGeneralizeKeeps has each trait kept alone: then all others would change.
func TestGeneralizeKeeps(t *testing.T) {
	all := len(planAndApply(t, golden(t), Step{Generalize: &Generalize{}}))
	sum := 0
	for _, name := range Traits() {
		left := len(planAndApply(t, golden(t), Step{Generalize: &Generalize{Keep: []string{name}}}))
		require.Less(t, left, all, name)
		sum += all - left
	}
	require.Equal(t, all, sum)
	d := golden(t)
	apply(t, d, Step{Generalize: &Generalize{Keep: Traits()}}, values(t))
	require.Equal(t, "seed", d.text(t, "/var/lib/systemd/random-seed"))
	_, err := Step{Generalize: &Generalize{Keep: []string{"x"}}}.Plan(context.Background(), d, values(t))
	require.ErrorContains(t, err, "keep takes machineId, hostKeys,")
	require.ErrorIs(t, err, attribute.ErrInvalid)
}
