package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/lifecycle/task"
)

// identity is a plan for debianImage.
const identity = `
kind: PlanScript
name: release
type: deploy
script: |
  mount /dev/sda /
  !echo "release of @HostName@" > ./issue
  upload ./issue /etc/issue
  !echo "ImageStreamerLog: @Root@ wrote the issue of @HostName@"
  cat /etc/hostname
---
kind: BuildPlan
name: identity
type: deploy
steps:
  - generalize: {}
  - growRoot: true
  - hostname: "@HostName@"
  - network: {nics: [NIC1]}
  - sshKeys: {user: root, keys: "@Key@"}
  - hostKeys: {types: [ed25519]}
  - group: {name: ops, gid: 2000}
  - user: {name: deploy, groups: [ops], password: "@Root@", sshKeys: "@Key@", sudo: password}
  - fstab: {mounts: [{device: LABEL=data, dir: /srv/data, type: xfs, options: nofail}]}
  - file: {path: "/etc/app/secret", content: "@Root@\n", mode: 0o600}
  - file: {path: "@Extra:/etc/motd@", content: "this is @HostName@\n"}
  - script: release
attributes:
  - {name: HostName, type: hostname, default: "{profile}"}
  - {name: NIC1, type: nic}
  - {name: Key, type: string}
  - {name: Root, type: password}
  - {name: Extra, type: string}
---
kind: DeploymentPlan
name: identity
image: debian
buildPlan: identity
size: 64MiB
values: {Key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGiDQKpu1cVpJ0GJxXJmGpHTlVkJhY5XHhxE0e6rYgVd me", NIC1.mac: "52:54:00:00:00:01"}
`

const rootPassword = "Tr0ub4dor-and-3"

// debianImage makes a disk with the files of a Debian that steps look at.
func debianImage(t *testing.T) string {
	dir := t.TempDir()
	for path, text := range map[string]string{
		"etc/os-release":           "ID=debian\nVERSION_ID=12\n",
		"etc/hostname":             "golden\n",
		"etc/hosts":                "127.0.0.1 localhost\n127.0.1.1 golden\n",
		"etc/passwd":               "root:x:0:0:root:/root:/bin/bash\n",
		"etc/machine-id":           "0123456789abcdef0123456789abcdef\n",
		"etc/network/interfaces":   "source /etc/network/interfaces.d/*\n",
		"usr/sbin/ifup":            "",
		"root/.profile":            "",
		"root/.bash_history":       "passwd\n",
		"etc/shadow":               "root:*:19000:0:99999:7:::\n",
		"etc/group":                "root:x:0:\n",
		"etc/sudoers":              "@includedir /etc/sudoers.d\n",
		"etc/skel/.bashrc":         "# new here\n",
		"etc/fstab":                "/dev/vda / ext4 defaults 0 1\n",
		"etc/ssh/ssh_host_rsa_key": "the image's",
		"var/log/syslog":           "golden started\n",
		"var/log/syslog.1":         "golden was made\n",
	} {
		path = filepath.Join(dir, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	raw := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "truncate", "-s", "24M", raw)
	tool(t, "mke2fs", "-q", "-t", "ext4", "-d", dir, raw)
	return raw
}

// TestPersonalized deploys two servers from one image with a daemon, which is asked
// for each in another process, and looks at their disks, and for a password in all
// that is left.
func TestPersonalized(t *testing.T) {
	needFUSE(t)
	h := newHouse(t)
	guest := buildGuest(t)
	h.must("image", "import", "debian", debianImage(t))
	h.must("plan", "import", write(t, "identity.yaml", identity))
	password := write(t, "password", rootPassword+"\n")
	deploy := func(name, address string, more ...string) []string {
		return append([]string{"deploy", "--plan", "identity", "--name", name, "--set-file", "Root=" + password,
			"--set", "NIC1.ipaddress=" + address, "--set", "NIC1.netmask=255.255.255.0"}, more...)
	}
	r := h.run(deploy("web-1", "192.0.2.1", "--guest", guest)...)
	require.Equal(t, exitNotFound, r.code)
	require.Contains(t, r.err, "goldstream sandbox prepare")
	require.Equal(t, exitNotFound, h.run("volume", "inspect", "web-1").code)
	h.must("sandbox", "prepare", "--guest", guest)

	s := h.serve("--guest", guest, "--sandboxes", "1")
	h.must(deploy("web-1", "192.0.2.1")...)
	h.must(deploy("web-2", "192.0.2.2")...)
	// A path that is none shows when the step runs.
	r = h.run(deploy("web-3", "192.0.2.3", "--set", "Extra=/etc/passwd/"+rootPassword)...)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "the task failed at personalize: step 11 of 12, file @Extra:/etc/motd@: ")
	require.Equal(t, exitNotFound, h.run("volume", "inspect", "web-3").code, "nothing is left")
	kept := h.run(deploy("web-3", "192.0.2.3", "--keep", "--set", "Extra=/root/..")...)
	require.Equal(t, exitFailure, kept.code)
	require.Contains(t, kept.err, "is no path of a file")

	var keys []string
	for name, address := range map[string]string{"web-1": "192.0.2.1", "web-2": "192.0.2.2"} {
		file, super := diskReader(t, s, name)
		require.Contains(t, super, "Block count: 65536 ", "64 MiB of 1 KiB")
		require.Equal(t, name+"\n", file("/etc/hostname"))
		require.Equal(t, "this is "+name+"\n", file("/etc/motd"))
		require.Equal(t, "release of "+name+"\n", file("/etc/issue"))
		require.Contains(t, file("/etc/hosts"), "127.0.1.1 "+name)
		require.Contains(t, file("/etc/network/interfaces.d/goldstream-nic1"), "address "+address+"/24")
		require.Contains(t, file("/root/.ssh/authorized_keys"), "ssh-ed25519 ")
		require.Equal(t, rootPassword+"\n", file("/etc/app/secret"))
		require.Empty(t, file("/etc/machine-id")+file("/var/log/syslog")+file("/var/log/syslog.1")+file("/root/.bash_history")+file("/etc/ssh/ssh_host_rsa_key"))
		require.Contains(t, file("/etc/passwd"), "\ndeploy:x:1000:1000::/home/deploy:/bin/sh\n")
		require.Regexp(t, `\ndeploy:\$6\$[^:]+:\d+:0:99999:7:::\n`, file("/etc/shadow"))
		require.Contains(t, file("/etc/group"), "\nops:x:2000:deploy\n")
		require.Equal(t, "# new here\n", file("/home/deploy/.bashrc"))
		require.Contains(t, file("/home/deploy/.ssh/authorized_keys"), "ssh-ed25519 ")
		require.Contains(t, file("/etc/sudoers.d/goldstream-deploy"), "deploy ALL=(ALL:ALL) ALL\n")
		require.Contains(t, file("/etc/fstab"), "LABEL=data /srv/data xfs nofail 0 0\n")
		key := file("/etc/ssh/ssh_host_ed25519_key")
		require.Contains(t, key, "BEGIN OPENSSH PRIVATE KEY")
		require.NotContains(t, keys, key, "no two servers share one")
		keys = append(keys, key)
	}
	file, _ := diskReader(t, s, "web-3")
	require.Equal(t, "web-3\n", file("/etc/hostname"), "kept as the step left it")

	planless(t, h, s)

	var tasks []task.Info
	shown := h.must("task", "list", "--json")
	require.NoError(t, json.Unmarshal([]byte(shown), &tasks))
	for _, one := range tasks {
		require.True(t, one.State.Finished())
		shown += h.must("task", "show", one.ID) + h.must("task", "show", one.ID, "--json")
	}
	require.Contains(t, shown, "make /etc/app/secret, 16 bytes, mode 0600")
	require.Contains(t, shown, "wrote the issue of web-1")
	require.Contains(t, shown, "  web-1", "a script sees what native steps have written")
	s.stop()
	require.NotContains(t, shown+s.log.String()+r.err+kept.err, rootPassword)
	noneOf(t, h.data, rootPassword)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), h.data)
	require.NoDirExists(t, filepath.Join(h.data, "slots"))
}

const stepless = `
kind: DeploymentPlan
name: stepless
image: debian
---
kind: DeploymentPlan
name: nothing
image: nothing
---
kind: DeploymentPlan
name: empty
size: 8MiB
`

// planless deploys without any step of a plan: the identity of the image's machine
// stays only where that is asked for, and a disk without a system is no error.
func planless(t *testing.T, h *house, s *service) {
	h.must("image", "import", "nothing", write(t, "nothing.raw", strings.Repeat("no file system ", 1<<20)))
	h.must("plan", "import", write(t, "stepless.yaml", stepless))
	require.Contains(t, h.must("deploy", "--plan", "stepless", "--name", "like-new", "--dry-run"), "generalize:")
	require.NotContains(t, h.must("deploy", "--plan", "stepless", "--name", "as-is", "--as-is", "--dry-run"), "generalize:")
	require.NotContains(t, h.must("deploy", "--plan", "empty", "--name", "empty", "--dry-run"), "generalize:")
	require.Equal(t, 1, strings.Count(h.must("deploy", "--plan", "identity", "--name", "x", "--dry-run", "--set", "NIC1.dhcp=true", "--set", "Root=x"), "generalize:"), "the plan's own")
	h.must("deploy", "--plan", "stepless", "--name", "like-new")
	h.must("deploy", "--plan", "stepless", "--name", "as-is", "--as-is")
	h.must("deploy", "--plan", "nothing", "--name", "nothing")
	h.must("deploy", "--plan", "empty", "--name", "empty")

	file, _ := diskReader(t, s, "as-is")
	require.Equal(t, "the image's", file("/etc/ssh/ssh_host_rsa_key"))
	require.NotEmpty(t, file("/etc/machine-id"))
	file, _ = diskReader(t, s, "like-new")
	require.Contains(t, file("/etc/ssh/ssh_host_rsa_key"), "BEGIN OPENSSH PRIVATE KEY")
	require.Empty(t, file("/etc/machine-id")+file("/var/log/syslog"))
	require.Equal(t, "golden\n", file("/etc/hostname"), "the name is a plan's affair")
	var log string
	var tasks []task.Info
	require.NoError(t, json.Unmarshal([]byte(h.must("task", "list", "--json")), &tasks))
	for _, one := range tasks {
		if one.Name == "deploy nothing" {
			log = h.must("task", "show", one.ID)
		}
	}
	require.Contains(t, log, "generalize did nothing: the disk's operating system cannot be told: no file system has an os-release file")
	require.Contains(t, h.must("volume", "inspect", "empty"), "8 MiB")
}

// diskReader reads files on a volume's ext4 over NBD: "" is none. super is what the
// superblock says.
func diskReader(t *testing.T, s *service, volume string) (file func(path string) string, super string) {
	copied := filepath.Join(t.TempDir(), "disk")
	tool(t, "nbdcopy", s.uri+"/"+volume, copied)
	tool(t, "e2fsck", "-fn", copied)
	debugfs := func(request string) string {
		out, err := exec.Command("debugfs", "-R", request, copied).Output()
		require.NoError(t, err)
		return string(out)
	}
	header := debugfs("show_super_stats -h")
	return func(path string) string { return debugfs("cat " + path) }, strings.Join(strings.Fields(header), " ")
}

// noneOf looks for a secret in all files below the data directory but the data of
// the disks, where it belongs.
func noneOf(t *testing.T, data, secret string) {
	t.Helper()
	disks := regexp.MustCompile(`^` + regexp.QuoteMeta(filepath.Join(data, "blocks")) + `/(layers|rings)/`)
	seen := 0
	require.NoError(t, filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || disks.MatchString(path) {
			return err
		}
		seen++
		text, err := os.ReadFile(path)
		require.False(t, strings.Contains(string(text), secret), "%s has the password", path)
		return err
	}))
	require.Greater(t, seen, 10)
}
