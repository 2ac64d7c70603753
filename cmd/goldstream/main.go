package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"goldstream/jail"
)

// version is set by -ldflags "-X main.version=…".
var version string

func main() {
	jail.MaybeInit() // does not return where this process shall be a jail's first
	os.Exit(run(context.Background(), streams{os.Stdin, os.Stdout, os.Stderr}, os.Args))
}

// streams are what a command reads and writes.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// metaWords is where an app keeps its unsorted command line.
const metaWords = "words"

// run runs one command line and returns its exit code.
func run(ctx context.Context, s streams, args []string) int {
	app := newApp(s)
	app.Metadata = map[string]any{metaWords: args}
	err := app.RunContext(ctx, interspersed(app, args))
	if err == nil {
		return exitOK
	}
	report(s.err, err, wantsJSON(app, args))
	return exitCode(err)
}

// interruptible returns a context that ends with SIGINT, SIGTERM or, unless
// nohup(1) has it ignored, SIGHUP. After the first signal a second one kills.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, signals...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// errCancelled is what a command returns that a signal ended.
var errCancelled = errors.New("cancelled")

// programVersion is the version the build was given, or what Go noted of it.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel" + revision(info)
	}
	return info.Main.Version
}

func revision(info *debug.BuildInfo) string {
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "-" + s.Value[:12]
		}
	}
	return ""
}
