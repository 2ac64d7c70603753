package fuse

import (
	"context"
	"sync"
)

// gate counts calls that run, and once shut lets none in. The zero value is open.
type gate struct {
	mu struct {
		sync.Mutex
		running int
		empty   chan struct{} // not nil: it is shut; closed when nothing runs
	}
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.empty != nil {
		return false
	}
	g.mu.running++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.mu.running--; g.mu.running == 0 && g.mu.empty != nil {
		close(g.mu.empty)
	}
}

// shut returns when nothing runs any more. It may be called again.
func (g *gate) shut(ctx context.Context) error {
	g.mu.Lock()
	if g.mu.empty == nil {
		g.mu.empty = make(chan struct{})
		if g.mu.running == 0 {
			close(g.mu.empty)
		}
	}
	empty := g.mu.empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	default:
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
