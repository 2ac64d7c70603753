package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopGrace is how long a program gets to end by itself.
const stopGrace = 15 * time.Second

// command prepares a program that is asked to end when ctx ends, and made to
// after stopGrace. It has a process group of its own, so that a Ctrl-C on the
// terminal reaches it through us and in our order, together with its children.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	return cmd
}

// goldstream runs one command of it against the daemon. Progress goes to the
// terminal; what it prints as JSON goes to result unless that is nil.
func (d *demo) goldstream(ctx context.Context, result any, args ...string) (time.Duration, error) {
	args = append([]string{"--data", d.data(), "--json"}, args...)
	cmd := command(ctx, d.program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err == nil && result != nil {
		err = json.Unmarshal(out.Bytes(), result)
	}
	if err != nil {
		return took, fmt.Errorf("goldstream %s: %w", strings.Join(args, " "), err)
	}
	return took, nil
}

// output runs a program of others and returns what it printed.
func output(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := command(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(errs.Bytes()))
	}
	return out.Bytes(), nil
}

// daemon is the running goldstream serve.
type daemon struct {
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{} // closed when it has ended
	err  error         // how, valid after done
}

// startDaemon starts it on a free port and waits until it says where it
// listens. Its life is not bound to ctx: it has to outlive the work that a
// Ctrl-C ends.
func (d *demo) startDaemon(ctx context.Context) (*daemon, error) {
	name := filepath.Join(d.logs, "daemon.log")
	log, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	s := &daemon{log: log, done: make(chan struct{})}
	s.cmd = command(context.WithoutCancel(ctx), d.program, "serve", "--data", d.data(), "--nbd", "127.0.0.1:0")
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		log.Close()
		return nil, fmt.Errorf("starting goldstream (make build): %w", err)
	}
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	if d.uri, err = s.ready(ctx, name); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	d.chapter("goldstream serve on %s", d.uri)
	return s, nil
}

// ready waits for "goldstream VERSION ready: URI" and returns the URI.
func (s *daemon) ready(ctx context.Context, log string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		text, err := os.ReadFile(log)
		if err != nil {
			return "", err
		}
		if _, rest, found := strings.Cut(string(text), " ready: "); found && strings.Contains(rest, "\n") {
			return strings.Fields(rest)[0], nil
		}
		select {
		case <-s.done:
			return "", fmt.Errorf("the daemon ended at once: %v", s.err)
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for the daemon: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// watch runs one part of the demo and ends it if the daemon dies meanwhile.
func (s *daemon) watch(ctx context.Context, part func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-s.done:
			cancel()
		case <-over:
		}
	}()
	err := part(ctx)
	select {
	case <-s.done:
		return errors.Join(fmt.Errorf("the daemon died: %v", s.err), err)
	default:
		return err
	}
}

// stop ends the daemon and waits for it; not ending in time is an error.
func (s *daemon) stop() error {
	defer s.log.Close()
	select {
	case <-s.done:
		return nil // watch has reported it
	default:
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(stopGrace):
		_ = s.cmd.Process.Kill()
		<-s.done
		return errors.New("the daemon did not stop when asked to")
	}
	if s.err != nil {
		return fmt.Errorf("the daemon ended badly: %w", s.err)
	}
	return nil
}
