package nbd

import (
	"context"
	"sync"
)

// byteBudget bounds the bytes that all connections together hold. Waiters are
// served in order, so that a large request is not starved by small ones. A
// request larger than the whole budget passes when nothing else is held.
type byteBudget struct {
	max int64

	mu struct {
		sync.Mutex
		used    int64
		waiters []*budgetWaiter
	}
}

type budgetWaiter struct {
	n     int64
	ready chan struct{} // closed when n was granted
}

// try takes n bytes if that needs no waiting.
func (b *byteBudget) try(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.mu.waiters) > 0 || !b.fitsLocked(n) {
		return false
	}
	b.mu.used += n
	return true
}

func (b *byteBudget) fitsLocked(n int64) bool {
	return b.mu.used == 0 || b.mu.used+n <= b.max
}

// acquire takes n bytes, waiting for them if need be.
func (b *byteBudget) acquire(ctx context.Context, n int64) error {
	b.mu.Lock()
	if len(b.mu.waiters) == 0 && b.fitsLocked(n) {
		b.mu.used += n
		b.mu.Unlock()
		return nil
	}
	w := &budgetWaiter{n: n, ready: make(chan struct{})}
	b.mu.waiters = append(b.mu.waiters, w)
	b.mu.Unlock()

	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		b.abandon(w)
		return ctx.Err()
	}
}

// abandon takes w out of the line, or gives back what it was just granted.
func (b *byteBudget) abandon(w *budgetWaiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, other := range b.mu.waiters {
		if other == w {
			b.mu.waiters = append(b.mu.waiters[:i], b.mu.waiters[i+1:]...)
			b.grantLocked()
			return
		}
	}
	b.mu.used -= w.n
	b.grantLocked()
}

// release gives n bytes back.
func (b *byteBudget) release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.used -= n
	b.grantLocked()
}

func (b *byteBudget) grantLocked() {
	for len(b.mu.waiters) > 0 && b.fitsLocked(b.mu.waiters[0].n) {
		w := b.mu.waiters[0]
		b.mu.waiters = b.mu.waiters[1:]
		b.mu.used += w.n
		close(w.ready)
	}
}

// held returns the bytes in use.
func (b *byteBudget) held() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}
