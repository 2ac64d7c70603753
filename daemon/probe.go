package daemon

import (
	"context"
	"log/slog"

	"goldstream/jail"
)

// startProbe makes a jail once, in the background, to tell the log at the start
// what it lacks on this host, or that conversions will fail. Without the tools
// there are no conversions and nothing to say. done is closed when it has ended.
func startProbe(ctx context.Context, log *slog.Logger) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		if missing, err := probe(ctx); ctx.Err() == nil {
			logProbe(log, missing, err)
		}
	}()
	return done
}

func logProbe(log *slog.Logger, missing []string, err error) {
	if err != nil {
		log.Warn("the jail for qcow2, vmdk and other images cannot be made: their import will fail", "error", err)
	} else if len(missing) > 0 {
		log.Warn("the jail for qcow2, vmdk and other images lacks layers on this host", "missing", missing)
	}
}

func probe(ctx context.Context) (missing []string, err error) {
	path, err := findTool("qemu-img")
	if err != nil {
		return nil, nil
	}
	binds, err := jail.Executables(path)
	if err != nil {
		return nil, err
	}
	p, err := jail.Start(ctx, jail.Spec{Path: path, Args: []string{"--version"}, Binds: binds, Profile: jail.ImageTool(), Limits: toolLimits(0)})
	if err != nil {
		return nil, err
	}
	return p.Missing(), p.Wait()
}
