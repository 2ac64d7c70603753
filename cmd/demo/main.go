package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
	err := show(ctx, c)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\ninterrupted; everything is cleaned up")
		return 130
	}
	fmt.Fprintf(os.Stderr, "\ndemo failed: %v\n", err)
	if logs, e := filepath.Abs(c.logs); e == nil {
		fmt.Fprintf(os.Stderr, "logs are in %s\n", logs)
	}
	return 1
}

// show runs the demo in a temporary directory and cleans up.
func show(ctx context.Context, c config) (err error) {
	if err := os.MkdirAll(c.logs, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "goldstream-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{config: c, dir: dir, out: os.Stdout}
	if c.rulesOnly {
		if err := d.runRules(ctx); err != nil {
			return err
		}
		d.reportRules(os.Stdout)
		return nil
	}
	if err := d.run(ctx); err != nil {
		return err
	}
	d.report(os.Stdout)
	return nil
}
