package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"goldstream/access"
	"goldstream/blockstore"
	"goldstream/daemon"
)

func serveCommand() *cli.Command {
	c := verb{
		name: "serve", usage: "serve volumes and golden images over NBD, and the API on a socket",
		examples: []string{
			"goldstream serve",
			"goldstream serve --data /srv/goldstream --nbd 127.0.0.1:10809 --nbd unix:/run/goldstream/nbd.sock",
			"goldstream serve --nbd 10.0.0.1:10809,tls=required",
			"goldstream serve --api 10.0.0.1:8443",
		},
		flags: append([]cli.Flag{
			&cli.StringSliceFlag{
				Name: "nbd", Usage: "`ADDR`ess to serve NBD on, host:port or unix:PATH, and ,tls=off, on or required (default: on, but off on loopback and Unix sockets); may be repeated",
				Value: cli.NewStringSlice("127.0.0.1:10809"),
			},
			&cli.StringSliceFlag{Name: "boot", Usage: "`ADDR`ess, host:port, where servers get their boots by HTTP (docs/netboot.md); may be repeated"},
			&cli.StringFlag{Name: "boot-dhcp", Usage: "how servers are told of these addresses: `MODE` proxy runs dnsmasq, beside the DHCP server that gives addresses, and iPXE by TFTP; none leaves it to that server", Value: "none"},
			&cli.StringSliceFlag{Name: "api", Usage: "`ADDR`ess, host:port, where the API is served over the network, with TLS, to users and tokens (docs/api.md); may be repeated"},
			&cli.BoolFlag{Name: "print-password", Usage: "print the one-time password of the user administrator also where standard output is no terminal; without it, it is in DATA/access/first-password then"},
			&cli.StringFlag{Name: "log-format", Usage: "`FORMAT` of the log on standard error: text or json (default with --json: json)", Value: "text"},
			&cli.StringFlag{Name: "log-level", Usage: "least `LEVEL` that is logged: debug, info, warn or error", Value: "info"},
			&cli.DurationFlag{Name: "drain-timeout", Usage: "`TIME` that running work gets at a stop", Value: 10 * time.Second},
			&cli.DurationFlag{Name: "slow-request", Usage: "`TIME` after which an NBD request is logged as slow; 0 logs none", Value: time.Second},
			&cli.StringFlag{Name: "reserve", Usage: "free space that first writes of blocks leave alone, a `SIZE` (default: 2GiB, or 2 % of the disk if that is more; less on small disks)"},
			&cli.StringFlag{Name: "ballast", Usage: "file given up when another program fills the disk, a `SIZE`, or none (default: 256MiB; less on small disks)"},
			&cli.DurationFlag{Name: "full-stall", Usage: "`TIME` that a first write waits for space before it fails; more than attached servers wait for an answer (docs/attach.md)", Value: time.Minute},
			&cli.IntFlag{Name: "watermark", Usage: "how full the disk may be, in `PERCENT`, before new volumes and images are refused", Value: 90},
			&cli.StringFlag{Name: "map-memory", Usage: "memory for the maps of all disks together, a `SIZE`", Value: "64MiB"},
			&cli.StringFlag{Name: "background-rate", Usage: "what imports, checksums and scrubs may read and write together in a second, a `SIZE` (default: no bound; they slow down for flushes by themselves)"},
			&cli.BoolFlag{Name: "read-only", Usage: "serve the data for reading only, also where it is damaged or on a full or read-only disk; nothing in it is changed, and there is no API socket"},
			&cli.DurationFlag{Name: "checkpoint-interval", Usage: "`TIME` between copies of the metadata that are kept; 0: none", Value: time.Hour},
			&cli.IntFlag{Name: "sandboxes", Usage: "how `MANY` sandboxes wait for deployments with steps, once 'goldstream sandbox prepare' was run; each takes 30 MB, and up to 220 MB at work", Value: 2},
			&cli.IntFlag{Name: "checkpoints", Usage: "how `MANY` of them are kept", Value: 24},
		}, sandboxFlags()...),
	}
	cmd := c.command()
	cmd.Action = func(ctx *cli.Context) error {
		if err := checkArgs(ctx, nil); err != nil {
			return err
		}
		return serve(ctx)
	}
	return cmd
}

// mostSandboxes bounds what is kept booted.
const mostSandboxes = 64

// readiness is what serve prints as JSON once everything is served.
type readiness struct {
	Version string   `json:"version"`
	NBD     []string `json:"nbd"` // URIs
	API     []string `json:"api,omitempty"`
	// OneTimePassword is that of the user administrator, at the first start only, or
	// OneTimePasswordFile is where it is.
	OneTimePassword     string `json:"oneTimePassword,omitempty"`
	OneTimePasswordFile string `json:"oneTimePasswordFile,omitempty"`
}

// serve runs the daemon. Its signals differ from other commands': the first
// asks for an orderly stop, which is no failure.
func serve(c *cli.Context) (err error) {
	format := c.String("log-format")
	if c.Bool("json") && !c.IsSet("log-format") {
		format = "json"
	}
	log, err := newLogger(c.App.ErrWriter, format, c.String("log-level"))
	if err != nil {
		return err
	}
	store, err := storeOptions(c)
	if err != nil {
		return err
	}
	if n := c.Int("sandboxes"); n < 1 || n > mostSandboxes {
		return usagef("--sandboxes %d: give 1 to %d", n, mostSandboxes)
	}
	nbd, err := listeners(c)
	if err != nil {
		return err
	}
	dhcp := c.String("boot-dhcp")
	if dhcp != "none" && dhcp != "proxy" {
		return usagef("--boot-dhcp %q: there are none and proxy", dhcp)
	}
	if dhcp == "proxy" && (len(c.StringSlice("boot")) == 0 || c.Bool("read-only")) {
		return usagef("--boot-dhcp proxy: give the address that boots are handed out on with --boot, without --read-only")
	}
	api, err := apiListeners(c)
	if err != nil {
		return err
	}
	if err := checkOwner(c.String("data")); err != nil && !c.Bool("read-only") {
		return err
	}
	ctx, force, stop := daemon.Signals(c.Context)
	defer stop()
	d, err := daemon.Open(c.String("data"), daemon.Options{
		Version:      programVersion(),
		Logger:       log,
		DrainTimeout: c.Duration("drain-timeout"),
		SlowRequest:  c.Duration("slow-request"),
		Store:        store,
		Sandbox:      sandboxOptions(c),
		Sandboxes:    c.Int("sandboxes"),
		ReadOnly:     c.Bool("read-only"),
		Guest:        c.String("guest"),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	r := readiness{Version: programVersion()}
	shown := c.Bool("print-password") || isTerminal(c.App.Writer)
	return d.Run(ctx, daemon.RunConfig{
		NBD: nbd, Boot: c.StringSlice("boot"), BootDHCP: dhcp == "proxy", API: api, Force: force, KeepPassword: !shown,
		ReadyAPI: func(urls []string, password string) {
			r.API = urls
			if shown {
				r.OneTimePassword = password
			} else if password != "" {
				r.OneTimePasswordFile = filepath.Join(c.String("data"), "access", access.FirstPasswordFile)
			}
		},
		Ready: func(uris []string) {
			r.NBD = uris
			r.print(c)
		},
	})
}

func (r readiness) print(c *cli.Context) {
	if c.Bool("json") {
		_ = json.NewEncoder(c.App.Writer).Encode(r)
		return
	}
	text := fmt.Sprintf("goldstream %s ready: %s\n", r.Version, strings.Join(append(r.NBD, r.API...), " "))
	if r.OneTimePassword != "" {
		text += fmt.Sprintf("user administrator, one-time password (the first login has to change it): %s\n", r.OneTimePassword)
	}
	if r.OneTimePasswordFile != "" {
		text += fmt.Sprintf("user administrator, one-time password (the first login has to change it): in %s\n", r.OneTimePasswordFile)
	}
	_, _ = io.WriteString(c.App.Writer, text) // at once: whoever reads may leave after the first line
}

// isTerminal tells whether a person reads what is written: anything else may be kept,
// as the journal of a service is.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// apiListeners are checked before the data is opened.
func apiListeners(c *cli.Context) (ls []daemon.APIListener, err error) {
	for _, a := range c.StringSlice("api") {
		l, err := daemon.ParseAPIListener(a)
		if err != nil {
			return nil, usagef("--api: %v", err)
		}
		ls = append(ls, l)
	}
	if len(ls) > 0 && c.Bool("read-only") {
		return nil, usagef("--api: there is no API where data is only read: leave --api or --read-only away")
	}
	return ls, nil
}

// storeOptions reads the flags that tune the store.
func storeOptions(c *cli.Context) (o blockstore.Options, err error) {
	if s := c.String("reserve"); s != "" {
		if o.Reserve, err = parseSize(s); err != nil {
			return o, err
		}
		if o.Reserve == 0 {
			return o, usagef("--reserve %s: metadata would meet a full disk: keep some space", s)
		}
	}
	switch s := c.String("ballast"); s {
	case "":
	case "none":
		o.Ballast = -1
	default:
		if o.Ballast, err = parseSize(s); err != nil {
			return o, err
		}
		if o.Ballast == 0 {
			o.Ballast = -1
		}
	}
	if o.FullStall = c.Duration("full-stall"); o.FullStall <= 0 {
		o.FullStall = -1 // at once
	}
	if o.Watermark = c.Int("watermark"); o.Watermark < 1 || o.Watermark > 100 {
		return o, usagef("--watermark %d: it is a percentage, 1 to 100", o.Watermark)
	}
	if o.MapBudget, err = parseSize(c.String("map-memory")); err != nil {
		return o, err
	}
	if o.MapBudget < 1<<20 {
		return o, usagef("--map-memory %s: give at least 1MiB", c.String("map-memory"))
	}
	if s := c.String("background-rate"); s != "" {
		if o.BackgroundRate, err = parseSize(s); err != nil {
			return o, err
		}
		if o.BackgroundRate < 1<<20 {
			return o, usagef("--background-rate %s: give at least 1MiB, or leave it away for no bound", s)
		}
	}
	if o.CheckpointInterval = c.Duration("checkpoint-interval"); o.CheckpointInterval <= 0 {
		o.CheckpointInterval = -1 // never
	}
	if o.Checkpoints = c.Int("checkpoints"); o.Checkpoints < 1 {
		return o, usagef("--checkpoints %d: keep at least one", o.Checkpoints)
	}
	return o, nil
}

// listeners are checked before the data is opened.
func listeners(c *cli.Context) ([]daemon.Listener, error) {
	var ls []daemon.Listener
	for _, a := range c.StringSlice("nbd") {
		l, err := daemon.ParseListener(a)
		if err != nil {
			return nil, usagef("--nbd: %v", err)
		}
		ls = append(ls, l)
	}
	return ls, nil
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usagef("--log-level %q: there are debug, info, warn and error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, usagef("--log-format %q: there are text and json", format)
}
