package nbd

import (
	"context"
	"sync"
)

// byteBudget bounds the bytes that all connections together hold. Waiters are
// served in order, so that a large request is not starved by small ones. The
// last eighth is for small requests alone, which wait for no others: clients
// that hold much, by not taking their replies, cannot stop everybody else.
// Requests without bytes always pass. A request larger than the whole budget
// passes when nothing else is held.
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
	return b.tryLocked(n)
}

func (b *byteBudget) tryLocked(n int64) bool {
	if n > smallRequest && len(b.mu.waiters) > 0 || !b.fitsLocked(n) {
		return false
	}
	b.mu.used += n
	return true
}

// smallRequest is the longest request, in bytes, that may use all of a budget.
const smallRequest = 256 << 10

func (b *byteBudget) fitsLocked(n int64) bool {
	limit := b.max
	if n > smallRequest {
		limit -= b.max / 8
	}
	return n == 0 || b.mu.used == 0 || b.mu.used+n <= limit
}

// acquire takes n bytes, waiting for them if need be.
func (b *byteBudget) acquire(ctx context.Context, n int64) error {
	b.mu.Lock()
	if b.tryLocked(n) {
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
