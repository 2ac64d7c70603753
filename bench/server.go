package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is an NBD server under test, in a process of its own.
type server struct {
	name    string
	address string
	cmd     *exec.Cmd
}

// uri names an export of the server, "" being the only one of a peer's.
func (s *server) uri(export string) string { return "nbd://" + s.address + "/" + export }

// warm reads an export once, so that it is in the page cache.
func (s *server) warm(ctx context.Context, export string) error {
	return command(ctx, "nbdcopy", s.uri(export), "null:")
}

// startServer starts a server on a free loopback port and waits until it
// listens.
func startServer(ctx context.Context, dir, name string, argv func(port string) []string) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	args := argv(port)
	s := &server{name: name, address: address, cmd: exec.Command(args[0], args[1:]...)}
	log, err := os.Create(filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if err := waitFor(ctx, address); err != nil {
		s.stop()
		out, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return s, nil
}

func waitFor(ctx context.Context, address string) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("does not listen on %s: %w", address, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// cpu returns the CPU time that the server has used, in microseconds.
func (s *server) cpu() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	const tick = 1e6 / 100 // USER_HZ
	return (user + system) * tick
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		_ = s.cmd.Process.Kill()
		<-done
	}
}
