package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
)

// run is one run of the benchmarks.
type run struct {
	dir    string // scratch, removed at the end
	short  bool
	loop   string // file system of a loop device for blockstore; "": none
	part   string // of the block store's bars, or in the name of NBD's rows; "": all
	binary string // goldstream, built for the run
	image  string // raw golden image
	report report
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := benchmark(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func benchmark(ctx context.Context) error {
	short := flag.Bool("short", false, "fewer rounds, for CI")
	dir := flag.String("dir", "", "where to put scratch data (default: the system's temporary directory)")
	out := flag.String("json", "", "write the figures to this file too")
	only := flag.String("only", "clone,import,start,nbd,fuse", "which benchmarks to run")
	part := flag.String("part", "", "of blockstore: one part only, as it is called while it runs; of nbd: the rows whose name contains this")
	loop := flag.String("loop", "ext4", "of blockstore: file system to make on a loop device for it, ext4 or xfs; empty: use -dir as it is")
	profile := flag.String("cpuprofile", "", "write a profile of this process to this file")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			return err
		}
		defer f.Close()
		defer pprof.StopCPUProfile()
	}
	scratch, err := os.MkdirTemp(*dir, "goldstream-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	r := &run{dir: scratch, short: *short, loop: *loop, part: *part}
	if err := r.prepare(ctx, *only != "blockstore"); err != nil {
		return err
	}
	suites := map[string]func(context.Context) error{"clone": r.clone, "import": r.importing, "start": r.starting, "nbd": r.nbd, "fuse": r.fuse, "storm": r.storm, "blockstore": r.bars, "lifecycle": r.lifecycle, "deploy": r.deploy}
	for _, name := range strings.Split(*only, ",") {
		suite, ok := suites[name]
		if !ok {
			return fmt.Errorf("there is no benchmark %q: choose from clone, import, start, nbd, fuse, storm, blockstore, lifecycle, deploy", name)
		}
		if err := suite(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	r.report.print(os.Stdout)
	if *out != "" {
		b, err := json.MarshalIndent(r.report.Lines, "", "  ")
		if err := errors.Join(err, os.WriteFile(*out, append(b, '\n'), 0o644)); err != nil {
			return err
		}
	}
	return r.report.failed()
}

// prepare makes a golden image of 1 GiB, a quarter of it random data in runs of
// 64 KiB to 4 MiB, and builds the program for those who run it.
func (r *run) prepare(ctx context.Context, program bool) error {
	r.image = filepath.Join(r.dir, "golden.raw")
	if !program {
		return makeImage(r.image, 1<<30)
	}
	for _, tool := range []string{"nbdkit", "qemu-nbd", "qemu-img", "fio", "cp", "sha256sum"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: run `make deps`", tool)
		}
	}
	r.binary = filepath.Join(r.dir, "goldstream")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", r.binary, "./cmd/goldstream")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build goldstream: %w", err)
	}
	return makeImage(r.image, 1<<30)
}

// note tells what is going on, on standard error.
func note(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
