package nbd

import (
	"context"
	"slices"
	"sync"
)

// byteBudget bounds the bytes that all connections together hold. It has two
// parts, and two lines of waiters, each served in order:
//
//	main, seven eighths     large requests; small ones while no large one waits
//	spare, an eighth        small requests only
//
// So neither starves the other: while a large request waits, main only
// empties, and small ones go on with spare. Newcomers go behind those of their
// kind that wait.
//
// A small request of a connection that holds nothing else is always granted,
// even above max: whatever some clients hold, by taking no replies or sending
// no data, everybody else gets on. That exceeds max by smallRequest for each
// connection at most.
//
// Requests without bytes always pass. One larger than all of main passes when
// nothing is held of it.
type byteBudget struct {
	max int64

	mu struct {
		sync.Mutex
		main, spare  int64      // held
		small, large []*account // waiting, the oldest first
	}
}

// smallRequest is the most bytes of a small request.
const smallRequest = 256 << 10

// account is what one connection holds of the budget. One goroutine at a time
// acquires, any may release.
type account struct {
	budget *byteBudget
	limit  int64         // of held; a single request may exceed it
	ready  chan struct{} // gets a value when want was granted

	// Guarded by budget.mu:
	held   int64
	spare  int64 // the part of held that is from spare
	want   int64 // bytes waited for, 0 without a waiter
	parked bool  // the waiter is in no line: the limit is reached
}

func newAccount(b *byteBudget, limit int64) *account {
	return &account{budget: b, limit: limit, ready: make(chan struct{}, 1)}
}

// try takes n bytes if that needs no waiting.
func (a *account) try(n int64) bool {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	return a.tryLocked(n)
}

func (a *account) tryLocked(n int64) bool {
	alone := n <= smallRequest && a.held == 0
	if n > 0 && !alone && len(*a.lineLocked(n)) > 0 {
		return false
	}
	return a.takeLocked(n)
}

// lineLocked returns the line in which to wait for n bytes.
func (a *account) lineLocked(n int64) *[]*account {
	if n > smallRequest {
		return &a.budget.mu.large
	}
	return &a.budget.mu.small
}

// hasRoomLocked reports whether the account's own limit allows n more.
func (a *account) hasRoomLocked(n int64) bool { return a.held == 0 || a.held+n <= a.limit }

// takeLocked takes n bytes if there are as many, whoever waits.
func (a *account) takeLocked(n int64) bool {
	if n == 0 {
		return true
	}
	if !a.hasRoomLocked(n) {
		return false
	}
	b := a.budget
	spare := b.max / 8
	main := b.max - spare
	small := n <= smallRequest
	switch {
	case b.mu.main+n <= main && !(small && len(b.mu.large) > 0), !small && b.mu.main == 0:
		b.mu.main += n
	case small && (b.mu.spare+n <= spare || a.held == 0):
		b.mu.spare += n
		a.spare += n
	default:
		return false
	}
	a.held += n
	return true
}

// acquire takes n bytes, waiting for them if need be.
func (a *account) acquire(ctx context.Context, n int64) error {
	b := a.budget
	b.mu.Lock()
	if a.tryLocked(n) {
		b.mu.Unlock()
		return nil
	}
	a.want = n
	a.standLocked()
	b.mu.Unlock()

	select {
	case <-a.ready:
		return nil
	case <-ctx.Done():
		a.abandon(n)
		return ctx.Err()
	}
}

// standLocked puts the waiter where it has to wait.
func (a *account) standLocked() {
	if a.parked = !a.hasRoomLocked(a.want); !a.parked {
		line := a.lineLocked(a.want)
		*line = append(*line, a)
	}
}

// abandon ends the waiting, or gives back what was just granted.
func (a *account) abandon(n int64) {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	if a.want == 0 {
		<-a.ready
		a.releaseLocked(n)
	} else {
		a.leaveLocked()
		a.want = 0
	}
	a.budget.grantLocked()
}

// leaveLocked takes the waiter out of where it waits.
func (a *account) leaveLocked() {
	a.parked = false
	line := a.lineLocked(a.want)
	if i := slices.Index(*line, a); i >= 0 {
		*line = slices.Delete(*line, i, i+1)
	}
}

// release gives n bytes back.
func (a *account) release(n int64) {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	a.releaseLocked(n)
	a.budget.grantLocked()
}

// releaseLocked gives back to main first: what was taken of spare is the
// newer. The account's waiter may now be one that need not wait in line.
func (a *account) releaseLocked(n int64) {
	b := a.budget
	main := min(n, a.held-a.spare)
	a.held -= n
	a.spare -= n - main
	b.mu.main -= main
	b.mu.spare -= n - main
	switch {
	case a.want == 0:
	case a.held == 0 && a.want <= smallRequest:
		a.leaveLocked()
		a.grantLocked() // always there
	case a.parked && a.hasRoomLocked(a.want):
		a.standLocked()
	}
}

// grantLocked serves the account's waiter if the bytes are there.
func (a *account) grantLocked() bool {
	if !a.takeLocked(a.want) {
		return false
	}
	a.want = 0
	a.ready <- struct{}{}
	return true
}

// grantLocked serves the lines.
func (b *byteBudget) grantLocked() {
	serve(&b.mu.small)
	if serve(&b.mu.large); len(b.mu.large) == 0 {
		serve(&b.mu.small) // main is open to them again
	}
}

func serve(line *[]*account) {
	for len(*line) > 0 && (*line)[0].grantLocked() {
		*line = slices.Delete(*line, 0, 1)
	}
}

// holds returns the bytes that the account holds.
func (a *account) holds() int64 {
	a.budget.mu.Lock()
	defer a.budget.mu.Unlock()
	return a.held
}

// held returns the bytes in use.
func (b *byteBudget) held() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.main + b.mu.spare
}
