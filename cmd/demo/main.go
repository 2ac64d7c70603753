package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	var c config
	flag.StringVar(&c.program, "program", "bin/goldstream", "goldstream's `FILE`")
	flag.StringVar(&c.golden, "golden", ".cache/golden", "`DIR` of the golden image")
	flag.StringVar(&c.logs, "logs", ".cache/demo", "`DIR` for logs")
	flag.DurationVar(&c.bootTimeout, "boot-timeout", defaultBootTimeout, "how long the boot may take")
	only := flag.String("only", "", "show this `PART` alone: lifecycle")
	flag.Parse()
	switch *only {
	case "":
	case "lifecycle":
		c.rulesOnly = true
	default:
		fmt.Fprintf(os.Stderr, "demo: there is no part %q: write lifecycle\n", *only)
		os.Exit(2)
	}
	os.Exit(run(c))
}

// run returns the exit code: 0, 1 after a failure, 130 after Ctrl-C. The first
// signal ends the demo in an orderly way; more of them change nothing, as the
// clean-up takes seconds at most.
func run(c config) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	left, err := show(ctx, c)
	return ended(os.Stderr, c, ctx.Err() != nil, err, left)
}

// ended tells how the demo ended, and returns the exit code. left is what the clean-up
// could not do.
func ended(w io.Writer, c config, interrupted bool, err, left error) int {
	code, what := 1, "demo failed: "+fmt.Sprint(err)
	switch {
	case interrupted && left == nil:
		fmt.Fprintln(w, "\ninterrupted; everything is cleaned up")
		return 130
	case interrupted:
		code, what = 130, "interrupted"
	case err == nil && left == nil:
		return 0
	case err == nil:
		what = "demo failed"
	}
	fmt.Fprintf(w, "\n%s\n", what)
	if left != nil {
		fmt.Fprintf(w, "not everything is cleaned up: %v\n", left)
	}
	if logs, e := filepath.Abs(c.logs); e == nil {
		fmt.Fprintf(w, "logs are in %s\n", logs)
	}
	return code
}

// show runs the demo in a temporary directory and cleans up.
func show(ctx context.Context, c config) (left, err error) {
	if err := os.MkdirAll(c.logs, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "goldstream-demo-")
	if err != nil {
		return nil, err
	}
	d := &demo{config: c, dir: dir, out: os.Stdout}
	defer func() {
		d.cleaned(os.RemoveAll(dir))
		left = d.left
	}()
	work, tell := d.run, d.report
	if c.rulesOnly {
		work, tell = d.runRules, d.reportRules
	}
	if err := work(ctx); err != nil {
		return nil, err
	}
	if d.left == nil { // it says that all is cleaned up
		tell(os.Stdout)
	}
	return nil, nil
}
