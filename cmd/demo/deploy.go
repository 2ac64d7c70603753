package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// planText is what becomes of the clones that are deployed.
//
//go:embed plan.yaml
var planText []byte

// A server of the demo.
type server struct {
	name    string
	bootMAC string // of the NIC that it boots from, which the system leaves alone
	mac     string // of the NIC for its work, which the plan configures
	address string // of that one
}

var servers = []server{
	{"web-1", "52:54:00:00:01:01", "52:54:00:00:00:01", "10.0.2.15"},
	{"web-2", "52:54:00:00:01:02", "52:54:00:00:00:02", "10.0.2.16"},
}

// deploy makes the servers' volumes: each a clone with a name, an address and a
// login key of its own, made in a sandbox.
func (d *demo) deploy(ctx context.Context) error {
	d.chapter("two OS volumes by a plan: host name, network, SSH key, a larger root, a plan script")
	took, err := d.goldstream(ctx, nil, "sandbox", "prepare")
	if err != nil {
		return err
	}
	d.note("prepare the sandbox", took, "once")
	plan := filepath.Join(d.dir, "plan.yaml")
	if err := os.WriteFile(plan, planText, 0o600); err != nil {
		return err
	}
	if _, err := d.goldstream(ctx, nil, "plan", "import", plan); err != nil {
		return err
	}
	identity := filepath.Join(d.dir, "id")
	if _, err := output(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", identity); err != nil {
		return err
	}
	key, err := os.ReadFile(identity + ".pub")
	if err != nil {
		return err
	}
	for _, s := range servers {
		took, err := d.goldstream(ctx, nil, "deploy", "--plan", "server", "--name", s.name,
			"--set", "NIC1.mac="+s.mac, "--set", "NIC1.ipaddress="+s.address, "--set", "NIC1.netmask=255.255.255.0",
			"--set", "Key="+strings.TrimSpace(string(key)))
		if err != nil {
			return err
		}
		note := "named " + s.name + ", at " + s.address
		if s == servers[0] {
			note += "; the first sandbox boots meanwhile"
		}
		d.note("deploy "+s.name, took, note)
	}
	return nil
}

// assign has the servers boot from their volumes.
func (d *demo) assign(ctx context.Context) error {
	d.chapter("each server is to boot from its volume")
	for _, s := range servers {
		took, err := d.goldstream(ctx, nil, "boot", "assign", s.name, "--mac", s.bootMAC, "--allow", "10.99.0.0/24")
		if err != nil {
			return err
		}
		d.note("assign "+s.name, took, "kernel and initrd read out of the volume, in a sandbox")
	}
	return nil
}

// clone makes volumes as they are. The time is that of the whole command, its
// start included.
func (d *demo) clone(ctx context.Context) error {
	d.chapter("and two plain clones")
	took, err := d.goldstream(ctx, nil, "volume", "create", "--image", imageName, "copy-1")
	if err != nil {
		return err
	}
	d.note("clone copy-1", took, "as large as its image")
	if took, err = d.goldstream(ctx, nil, "volume", "create", "--image", imageName, "--size", "1TiB", "db-1"); err != nil {
		return err
	}
	d.note("clone db-1", took, "grown to 1 TiB")
	return nil
}

// loginMarker is what a server's serial console comes to.
func (s server) loginMarker() string { return fmt.Sprintf("%s login:", s.name) }
