package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Signals returns a context that ends at the first SIGTERM, SIGINT or SIGHUP and
// one that ends at the second. SIGPIPE is ignored: a log that nobody reads any
// more is no reason to cut clients off. After stop, signals have their default effect again.
func Signals(parent context.Context) (run, force context.Context, stop func()) {
	run, endRun := context.WithCancel(parent)
	force, endForce := context.WithCancel(context.WithoutCancel(parent))
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for _, cancel := range []context.CancelFunc{endRun, endForce} {
			select {
			case <-ch:
				cancel()
			case <-done:
				return
			}
		}
	}()
	return run, force, func() {
		signal.Stop(ch)
		close(done)
		<-ended
		endRun()
		endForce()
	}
}
