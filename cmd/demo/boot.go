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
	"time"
)

// boot starts an emulated machine whose disk is a volume, and waits for the
// login prompt on its serial console. No KVM is needed: TCG translates.
func (d *demo) boot(ctx context.Context, s server) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d.bootTimeout, fmt.Errorf("no login prompt within %v", d.bootTimeout))
	defer cancel()
	log, err := os.Create(filepath.Join(d.logs, "console.log"))
	if err != nil {
		return err
	}
	defer log.Close()

	console, w := io.Pipe()
	cmd := d.qemu(ctx, s)
	cmd.Stdout, cmd.Stderr = w, w
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		w.Close() // the console ends with its machine
		ended <- err
	}()
	var last atomic.Pointer[string]
	ticks := d.tick(ctx, s.name, start, &last)
	found := findMarker(io.TeeReader(console, log), s.loginMarker(), &last)
	took := time.Since(start)
	ticks()
	if !found {
		return fmt.Errorf("booting %s: %w; its console is in %s", s.name, cause(ctx, <-ended), log.Name())
	}

	// The prompt is all we wait for; the machine has nothing to save.
	cancel()
	_, _ = io.Copy(io.Discard, console)
	<-ended
	d.note("boot "+s.name+" to \""+s.loginMarker()+"\"", took, "Debian 12 in qemu without KVM, root on NBD")
	return nil
}

func (d *demo) qemu(ctx context.Context, s server) *exec.Cmd {
	return command(ctx, "qemu-system-x86_64",
		"-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024",
		"-nographic", "-no-reboot", "-nic", "user,restrict=on,model=virtio-net-pci,mac="+s.mac,
		"-kernel", filepath.Join(d.golden, "vmlinuz"),
		"-initrd", filepath.Join(d.golden, "initrd"),
		"-append", "root=LABEL=root rw console=ttyS0",
		"-drive", "file="+d.export(s.name)+",format=raw,if=virtio")
}

// export is the NBD URI of a volume.
func (d *demo) export(name string) string { return strings.TrimSuffix(d.uri, "/") + "/" + name }

// findMarker reads the console until the marker, which has no end of line.
func findMarker(console io.Reader, marker string, last *atomic.Pointer[string]) bool {
	r := bufio.NewReader(console)
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
		return errors.New("the machine ended before its login prompt")
	}
	return err
}
