package main

import (
	"bufio"
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

// startDaemon starts it in its network and waits until it is ready. Its life is not bound
// to ctx: it has to outlive the work that a Ctrl-C ends.
func (d *demo) startDaemon(ctx context.Context) (*daemon, error) {
	if !d.rulesOnly {
		d.chapter("goldstream serve --nbd %s:10809 --boot %[1]s:8480 --boot-dhcp proxy", nodeAddress)
	}
	log, err := os.Create(filepath.Join(d.logs, "daemon.log"))
	if err != nil {
		return nil, err
	}
	s := &daemon{log: log}
	if err := s.start(ctx, d); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return s, nil
}

// serve is the daemon in its network, or for programs of this host alone.
func (d *demo) serve(ctx context.Context) *exec.Cmd {
	args := []string{"serve", "--data", d.data(), "--nbd", "unix:" + d.socket()}
	if d.rulesOnly {
		return command(ctx, d.program, args...)
	}
	return in(ctx, d.node(), append(append([]string{d.program}, args...), "--nbd", nodeAddress+":10809", "--boot", nodeAddress+":8480", "--boot-dhcp", "proxy")...)
}

func (s *daemon) start(ctx context.Context, d *demo) error {
	s.done, s.err = make(chan struct{}), nil
	s.cmd = d.serve(context.WithoutCancel(ctx))
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting goldstream (make build): %w", err)
	}
	ready := make(chan bool, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		ready <- strings.Contains(line, " ready: ")
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the daemon does not get ready"))
	defer cancel()
	select {
	case ok := <-ready:
		if ok {
			return nil
		}
		<-s.done
		return fmt.Errorf("the daemon ended at once: %v, see %s", s.err, s.log.Name())
	case <-ctx.Done():
		d.cleaned(s.end())
		return context.Cause(ctx)
	}
}

// restart kills it and starts it again.
func (s *daemon) restart(ctx context.Context, d *demo) error {
	_ = s.cmd.Process.Kill()
	<-s.done
	return s.start(ctx, d)
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
func (s *daemon) stop() error { return errors.Join(s.end(), s.log.Close()) }

func (s *daemon) end() error {
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
