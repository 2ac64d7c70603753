package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"goldstream/personalize/sandbox"
)

func sandboxCommands() []*cli.Command {
	return []*cli.Command{
		verb{
			name: "prepare", usage: "make the tool root that sandboxes boot from, out of what is installed on this host",
			examples: []string{"goldstream sandbox prepare"},
			flags:    sandboxFlags(), action: prepareSandbox,
		}.command(),
		verb{
			name: "check", usage: "see what the sandbox lacks on this host, and boot one",
			examples: []string{"goldstream sandbox check", "goldstream sandbox check --json"},
			flags:    sandboxFlags(), action: checkSandbox,
		}.command(),
	}
}

func sandboxFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "uml", Usage: "`PATH` of the User-Mode-Linux kernel", DefaultText: "linux.uml"},
		&cli.StringFlag{Name: "modules", Usage: "`DIR` of its modules", DefaultText: "/usr/lib/uml/modules"},
		&cli.StringFlag{Name: "guest", Usage: "`PATH` of goldstream-guest", DefaultText: "beside goldstream"},
	}
}

func (c *call) sandboxOptions() sandbox.Options { return sandboxOptions(c.Context) }

// sandboxOptions are the defaults for commands without these flags.
func sandboxOptions(c *cli.Context) sandbox.Options {
	return sandbox.Options{
		Dir: filepath.Join(c.String("data"), "sandbox"),
		UML: c.String("uml"), Modules: c.String("modules"), Guest: c.String("guest"),
	}
}

// sandboxState is what both commands print.
type sandboxState struct {
	Image   string   `json:"image"`
	Size    int64    `json:"size"`
	UML     string   `json:"uml"`
	Kernel  string   `json:"kernel"`
	Lacks   []string `json:"lacks"`   // what this host cannot give
	Missing []string `json:"missing"` // layers of the jail; check alone
	BootMS  int64    `json:"bootMs,omitempty"`
}

func stateOf(t sandbox.Tools) sandboxState {
	return sandboxState{Image: t.Image, Size: t.Size, UML: t.UML, Kernel: t.Kernel, Lacks: append([]string{}, t.Lacks...), Missing: []string{}}
}

func prepareSandbox(c *call) error {
	if err := c.here(); err != nil {
		return err
	}
	dir := c.String("data")
	if err := checkOwner(dir); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("the data directory: %w", err)
	}
	t, err := sandbox.Prepare(c.ctx, c.sandboxOptions())
	if err != nil {
		return explainOwner(dir, err)
	}
	state := stateOf(t)
	return c.print(state, func(w io.Writer) {
		fmt.Fprintf(w, "tool root\t%s (%s)\n", state.Image, humanSize(state.Size))
		showSandbox(w, state)
	})
}

// checkTimeout is long: the first boot may find a busy host.
const checkTimeout = 5 * time.Minute

func checkSandbox(c *call) error {
	t, err := sandbox.Find(c.ctx, c.sandboxOptions())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, checkTimeout)
	defer cancel()
	state := stateOf(t)
	began := time.Now()
	cell, err := sandbox.Start(ctx, sandbox.Config{Tools: t})
	if err != nil {
		return err
	}
	state.BootMS = time.Since(began).Milliseconds()
	state.Missing = append(state.Missing, cell.Missing()...)
	if err := cell.Close(ctx); err != nil {
		return err
	}
	return c.print(state, func(w io.Writer) {
		fmt.Fprintf(w, "tool root\t%s (%s)\n", state.Image, humanSize(state.Size))
		showSandbox(w, state)
		fmt.Fprintf(w, "boot\t%.1f s\n", float64(state.BootMS)/1000)
	})
}

func showSandbox(w io.Writer, s sandboxState) {
	fmt.Fprintf(w, "kernel\t%s (%s)\n", s.UML, s.Kernel)
	for _, lack := range s.Lacks {
		fmt.Fprintf(w, "lacks\t%s\n", lack)
	}
	if len(s.Missing) > 0 {
		fmt.Fprintf(w, "jail lacks\t%s\n", strings.Join(s.Missing, "; "))
	}
}
