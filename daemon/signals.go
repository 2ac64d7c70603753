package daemon

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Signals returns a context that ends at the first SIGTERM or SIGINT and one
// that ends at the second. After stop, signals have their default effect again.
func Signals(parent context.Context) (run, force context.Context, stop func()) {
	run, endRun := context.WithCancel(parent)
	force, endForce := context.WithCancel(context.WithoutCancel(parent))
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGINT)
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
