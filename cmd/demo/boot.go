package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// machine is an emulated server without a disk. No KVM is needed: TCG translates.
type machine struct {
	cmd     *exec.Cmd
	console *bufio.Reader // what its serial console says
	keys    io.Writer     // what is typed there
	log     *os.File
	ended   chan error
	last    atomic.Pointer[string] // line
}

// switchOn starts a server: firmware, whose NIC has iPXE, and nothing else.
func (d *demo) switchOn(life context.Context, s server) (*machine, error) {
	if err := d.plugIn(life, s.name); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(d.logs, "console.log"))
	if err != nil {
		return nil, err
	}
	m := &machine{log: log, ended: make(chan error, 1)}
	out, w := io.Pipe()
	m.console = bufio.NewReader(io.TeeReader(out, log))
	m.cmd = in(life, d.node(), "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024", "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot",
		"-netdev", "tap,id=boot,ifname="+s.name+",script=no,downscript=no", "-device", "virtio-net-pci,netdev=boot,bootindex=1,mac="+s.bootMAC,
		"-netdev", "user,id=work,restrict=on", "-device", "virtio-net-pci,netdev=work,mac="+s.mac)
	m.cmd.Stdout, m.cmd.Stderr = w, w
	if m.keys, err = m.cmd.StdinPipe(); err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	go func() {
		err := m.cmd.Wait()
		w.Close() // the console ends with its machine
		m.ended <- err
	}()
	return m, nil
}

// switchOff pulls the plug: the server has nothing to save.
func (m *machine) switchOff() {
	_ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL)
	_, _ = io.Copy(io.Discard, m.console)
	<-m.ended
	_ = m.log.Close()
}

// await reads the console until a text that has no end of line, for a while.
func (m *machine) await(ctx context.Context, text string, most time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("%q did not come within %v", text, most))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL) })
	defer stop()
	if findMarker(m.console, text, &m.last) {
		return nil
	}
	err := <-m.ended
	m.ended <- err
	return fmt.Errorf("%w; its console is in %s", cause(ctx, err), m.log.Name())
}

// boot switches a server on and waits for the login prompt on its serial console.
func (d *demo) boot(ctx, life context.Context, s server) (err error) {
	start := time.Now()
	if d.machine, err = d.switchOn(life, s); err != nil {
		return err
	}
	ticks := d.tick(ctx, s.name, start, &d.machine.last)
	err = d.machine.await(ctx, s.loginMarker(), d.bootTimeout)
	took := time.Since(start)
	ticks()
	if err != nil {
		return fmt.Errorf("booting %s: %w", s.name, err)
	}
	d.note("boot "+s.name+" to \""+s.loginMarker()+"\"", took, "from power-on, in qemu without KVM: PXE, its own kernel, root on NBD")
	stages, err := d.bootStages(ctx, s, start)
	if err != nil {
		return err
	}
	d.say("  %s: %s", s.name, stages)
	return nil
}

// survive kills goldstream while the server runs, and has someone try to log in: the
// programs that the server starts for it come from its root file system, over NBD.
func (d *demo) survive(ctx context.Context, s server) error {
	d.chapter("goldstream is killed while %s runs on it", s.name)
	start := time.Now()
	if err := d.daemon.restart(ctx, d); err != nil {
		return err
	}
	d.note("kill -9, and serve again", time.Since(start), s.name+" waits for its disk meanwhile")
	start = time.Now()
	if _, err := io.WriteString(d.machine.keys, "nobody\n"); err != nil {
		return err
	}
	if err := d.machine.await(ctx, "Password:", d.bootTimeout); err != nil {
		return fmt.Errorf("%s after the restart of goldstream: %w", s.name, err)
	}
	d.note("log in at "+s.name, time.Since(start), "its programs read from the disk that was away; no error")
	return nil
}

// export is the NBD URI of a volume.
func (d *demo) export(name string) string { return "nbd+unix:///" + name + "?socket=" + d.socket() }

// findMarker reads the console until the marker, which has no end of line.
func findMarker(r *bufio.Reader, marker string, last *atomic.Pointer[string]) bool {
	var line strings.Builder
	for {
		b, err := r.ReadByte()
		if err != nil {
			return false
		}
		if b != '\n' {
			line.WriteByte(b)
			if strings.HasSuffix(line.String(), marker) {
				return true
			}
			continue
		}
		if text := plain(line.String()); text != "" {
			last.Store(&text)
		}
		line.Reset()
	}
}

// plain removes terminal control sequences.
func plain(s string) string {
	s = regexp.MustCompile(`\x1b(\[[0-9;?]*[A-Za-z]|[()].|.)`).ReplaceAllString(s, "")
	return strings.TrimSpace(s)
}

// tick shows every few seconds how far the boot is, until it is stopped.
func (d *demo) tick(ctx context.Context, name string, start time.Time, last *atomic.Pointer[string]) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		for t := time.NewTicker(5 * time.Second); ; {
			select {
			case <-ctx.Done():
				t.Stop()
				return
			case <-t.C:
				text := ""
				if p := last.Load(); p != nil {
					text = *p
				}
				d.say("  %s  %3.0f s  %.70s", name, time.Since(start).Seconds(), text)
			}
		}
	}()
	return cancel
}

// cause prefers the reason ctx ended for over how a program ended of it.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && !errors.Is(c, context.Canceled) {
		return c
	}
	if err == nil {
		return errors.New("the machine ended before it came")
	}
	return err
}
