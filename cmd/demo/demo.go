package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const defaultBootTimeout = 5 * time.Minute

// config is what the command line says.
type config struct {
	program     string
	golden      string
	logs        string
	bootTimeout time.Duration
	rulesOnly   bool
}

// demo is one run.
type demo struct {
	config
	dir string // temporary
	out io.Writer

	daemon  *daemon
	machine *machine // the server that runs

	image   image
	volumes []volume
	mu      sync.Mutex
	rows    []row // guarded by mu

	ruleRows []ruleRow
	left     error // of the clean-up
}

// data is the daemon's directory.
func (d *demo) data() string { return filepath.Join(d.dir, "data") }

// socket is where the daemon serves NBD to programs of this host.
func (d *demo) socket() string { return filepath.Join(d.dir, "nbd.sock") }

// disk is the golden image's raw file.
func (d *demo) disk() string { return filepath.Join(d.golden, "disk.raw") }

// say prints one line of the story.
func (d *demo) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, format+"\n", args...)
}

// chapter opens a part of the story.
func (d *demo) chapter(format string, args ...any) { d.say("\n== "+format, args...) }

// cleaned notes what a clean-up came to.
func (d *demo) cleaned(err error) { d.left = errors.Join(d.left, err) }

func (d *demo) run(ctx context.Context) error {
	if err := d.makeGolden(ctx); err != nil {
		return err
	}
	remove, err := d.makeNetwork(ctx)
	defer func() { d.cleaned(remove()) }()
	if err != nil {
		return err
	}
	if d.daemon, err = d.startDaemon(ctx); err != nil {
		return err
	}
	defer func() { d.cleaned(d.daemon.stop()) }()
	defer func() {
		if d.machine != nil {
			d.machine.switchOff()
		}
	}()
	for _, part := range []func(context.Context) error{d.importImage, d.deploy, d.assign, d.clone} {
		if err := d.daemon.watch(ctx, part); err != nil {
			return err
		}
	}
	if err := d.daemon.watch(ctx, func(watched context.Context) error { return d.putToWork(watched, ctx) }); err != nil {
		return err
	}
	if err := d.survive(ctx, servers[0]); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{d.measure, d.compare, d.rules} {
		if err := d.daemon.watch(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// putToWork boots one server while other volumes are read and written. The server runs
// on, as long as life lasts.
func (d *demo) putToWork(ctx, life context.Context) error {
	d.chapter("web-1 is switched on, copy-1 is read, db-1 is written; all at once, over NBD")
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.boot(ctx, life, servers[0]) })
	g.Go(func() error { return d.readAll(ctx, "copy-1") })
	g.Go(func() error { return d.load(ctx, "db-1") })
	return g.Wait()
}

// measure notes what each volume takes on the disk by now.
func (d *demo) measure(ctx context.Context) error {
	for _, name := range []string{"web-1", "web-2", "copy-1", "db-1"} {
		var v volume
		if _, err := d.goldstream(ctx, &v, "volume", "inspect", name); err != nil {
			return err
		}
		d.volumes = append(d.volumes, v)
	}
	return nil
}
