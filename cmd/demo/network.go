package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The demo's network is two namespaces: that of others, with the DHCP server that gives
// addresses, and goldstream's, joined by a bridge that servers are on too. Nothing of it
// is seen by this host's network.
const (
	nodeAddress   = "10.99.0.1"
	othersAddress = "10.99.0.2"
	netPrefix     = "goldstream-demo-"
)

func (d *demo) node() string   { return netPrefix + strconv.Itoa(os.Getpid()) }
func (d *demo) others() string { return d.node() + "-dhcp" }

// in prepares a program that runs in a namespace; ip replaces itself by it.
func in(ctx context.Context, namespace string, args ...string) *exec.Cmd {
	return command(ctx, "ip", append([]string{"netns", "exec", namespace}, args...)...)
}

// makeNetwork makes it and starts its DHCP server. remove may be called whatever has
// been made.
func (d *demo) makeNetwork(ctx context.Context) (remove func() error, err error) {
	d.chapter("a network: a bridge, and a DHCP server that knows nothing of goldstream")
	removeOld(ctx)
	var dhcp *exec.Cmd
	remove = func() error {
		if dhcp != nil {
			_ = dhcp.Process.Signal(syscall.SIGTERM)
			_ = dhcp.Wait()
		}
		// After a Ctrl-C, too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		return errors.Join(removeNetwork(ctx, d.node()), removeNetwork(ctx, d.others()))
	}
	for _, line := range []string{
		"netns add " + d.node(),
		"netns add " + d.others(),
		"-n " + d.node() + " link set lo up",
		"-n " + d.node() + " link add br0 type bridge",
		"-n " + d.node() + " addr add " + nodeAddress + "/24 dev br0",
		"-n " + d.node() + " link set br0 up",
		"-n " + d.node() + " link add uplink type veth peer name eth0 netns " + d.others(),
		"-n " + d.node() + " link set uplink master br0 up",
		"-n " + d.others() + " addr add " + othersAddress + "/24 dev eth0",
		"-n " + d.others() + " link set eth0 up",
	} {
		if _, err := output(ctx, "ip", strings.Fields(line)...); err != nil {
			return remove, err
		}
	}
	log, err := os.Create(filepath.Join(d.logs, "dhcp.log"))
	if err != nil {
		return remove, err
	}
	defer log.Close()
	cmd := in(context.WithoutCancel(ctx), d.others(), "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--log-facility=-", "--port=0",
		"--bind-interfaces", "--interface=eth0", "--no-ping", "--leasefile-ro", "--dhcp-range=10.99.0.100,10.99.0.120,1h")
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return remove, err
	}
	dhcp = cmd
	d.say("  namespaces %s and %s", d.node(), d.others())
	return remove, nil
}

// removeNetwork removes a namespace, and ends what is left in it: a goldstream that was
// killed and never came again has left its dnsmasq.
func removeNetwork(ctx context.Context, namespace string) error {
	if _, err := os.Stat("/run/netns/" + namespace); err != nil {
		return nil
	}
	inside, err := output(ctx, "ip", "netns", "pids", namespace)
	for _, word := range strings.Fields(string(inside)) {
		if pid, e := strconv.Atoi(word); e == nil && pid > 1 {
			if e := syscall.Kill(pid, syscall.SIGKILL); !errors.Is(e, syscall.ESRCH) {
				err = errors.Join(err, e)
			}
		}
	}
	_, e := output(ctx, "ip", "netns", "del", namespace)
	return errors.Join(err, e)
}

// removeOld removes what a demo left that was killed.
func removeOld(ctx context.Context) {
	list, _ := filepath.Glob("/run/netns/" + netPrefix + "*")
	for _, path := range list {
		name := filepath.Base(path)
		pid, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, netPrefix), "-dhcp"))
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = removeNetwork(ctx, name)
		}
	}
}

// plugIn makes the network's end of a server's cable.
func (d *demo) plugIn(ctx context.Context, tap string) error {
	for _, line := range []string{"tuntap add " + tap + " mode tap", "link set " + tap + " master br0 up"} {
		if _, err := output(ctx, "ip", append([]string{"-n", d.node()}, strings.Fields(line)...)...); err != nil {
			return fmt.Errorf("the cable of a server: %w", err)
		}
	}
	return nil
}

// bootStages asks how far a server came, and when, counted from its power-on.
func (d *demo) bootStages(ctx context.Context, s server, on time.Time) (string, error) {
	var status struct {
		Last struct {
			Stages []struct {
				Name string
				Time time.Time
			}
		}
	}
	if _, err := d.goldstream(ctx, &status, "boot", "status", s.name); err != nil {
		return "", err
	}
	var parts []string
	for _, stage := range status.Last.Stages {
		parts = append(parts, fmt.Sprintf("%s %s", stage.Name, short(stage.Time.Sub(on))))
	}
	return strings.Join(parts, ", "), nil
}
