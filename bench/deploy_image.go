package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// deployPlan is what a server gets of its own: mount, host name, network, account, SSH
// keys, a shell, unmount.
const deployPlan = `
kind: PlanScript
name: mount
type: deploy
script: |
  mount /dev/sda1 /
---
kind: PlanScript
name: shell
type: deploy
script: |
  !echo "release of @HostName@" > ./issue
  upload ./issue /etc/issue
---
kind: PlanScript
name: unmount
type: deploy
script: |
  umount /
---
kind: BuildPlan
name: server
type: deploy
steps:
  - script: mount
  - hostname: "@HostName@"
  - network: {nics: [NIC1]}
  - user: {name: deploy, noPassword: true}
  - sshKeys: {user: root, keys: "@Key@"}
  - script: shell
  - script: unmount
attributes:
  - {name: HostName, type: hostname, default: "{profile}"}
  - {name: NIC1, type: nic}
  - {name: Key, type: string}
---
kind: DeploymentPlan
name: server
image: debian
buildPlan: server
values: {Key: "` + deployKey + `", NIC1.mac: "52:54:00:00:00:01", NIC1.dhcp: "true"}
`

const deployKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGiDQKpu1cVpJ0GJxXJmGpHTlVkJhY5XHhxE0e6rYgVd me"

// systemTree has what personalization looks at, and what peers need to see a Debian in
// it and run a shell.
func systemTree() map[string]string {
	return map[string]string{
		"etc/os-release":               "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n",
		"etc/debian_version":           "12.1\n",
		"etc/hostname":                 "golden\n",
		"etc/hosts":                    "127.0.0.1 localhost\n127.0.1.1 golden\n",
		"etc/passwd":                   "root:x:0:0:root:/root:/bin/sh\n",
		"etc/shadow":                   "root:*:19000:0:99999:7:::\n",
		"etc/group":                    "root:x:0:\n",
		"etc/fstab":                    "/dev/sda1 / ext4 defaults 0 1\n",
		"etc/machine-id":               "0123456789abcdef0123456789abcdef\n",
		"etc/network/interfaces":       "source /etc/network/interfaces.d/*\n",
		"etc/ssh/ssh_host_rsa_key":     "the image's",
		"etc/ssh/ssh_host_ecdsa_key":   "the image's",
		"etc/ssh/ssh_host_ed25519_key": "the image's",
		"etc/skel/.bashrc":             "#\n",
		"usr/sbin/ifup":                "",
		"root/.profile":                "",
		"var/log/syslog":               "golden started\n",
	}
}

// makeSystem makes a disk of 1 GiB with one partition, ext4.
func makeSystem(ctx context.Context, scratch, file string) error {
	tree := filepath.Join(scratch, "tree")
	for name, text := range systemTree() {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, dir := range []string{"bin", "tmp", "dev", "proc", "sys", "run", "home"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	script := strings.Join([]string{
		`cp /bin/busybox "$1/bin/" && ln -s busybox "$1/bin/sh"`,
		`truncate -s 1G "$2"`,
		`echo 'start=2048, type=83' | sfdisk -q "$2"`,
		`mke2fs -q -t ext4 -d "$1" -E offset=1048576 "$2" 1047552k`,
	}, " && ")
	return command(ctx, "sh", "-c", script, "sh", tree, file)
}
