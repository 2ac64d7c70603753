package blockstore

import (
	"context"
	"errors"
	"slices"
	"time"
)

// A first write of a block that finds no room stalls: it waits, holding
// neither locks nor the gate, until there is room, Options.FullStall is over,
// or nobody wants it any more. A client that gets ENOSPC, a kernel above all,
// does not try again: its file system turns read-only. One that waits a
// minute goes on as if nothing had been, once somebody made room.
//
// Who waits for the disk is let go on in the order of arrival, each with what
// it asked for in hand.

// shortage is why a write stalls.
type shortage struct {
	of int   // a short…
	n  int64 // bytes asked for
}

const (
	shortDisk  = iota // the reserve was reached
	shortQuota        // the volume's
	shortHost         // the host said ENOSPC, whatever its free space
)

func (s *shortage) Error() string { return "no room" }

// waiter is a write that stalls.
type waiter struct {
	of    int
	n     int64
	since time.Time
	ready func() bool   // is there something to try again for?
	ok    chan struct{} // closed: go on; of the disk, n bytes are taken
}

type onStallKey struct{}

// OnStall returns a context for writes whose caller must know when one stalls:
// stalled is called as it begins. The write waits no longer than the context
// that stalled returns lasts, whose cause becomes its error, and calls resume
// when the waiting is over.
func OnStall(ctx context.Context, stalled func() (wait context.Context, resume func())) context.Context {
	return context.WithValue(ctx, onStallKey{}, stalled)
}

// room is what one write has taken beyond what it has written, and how long
// it may wait for more.
type room struct {
	disk  int64
	quota int64 // of layer
	layer *layer
	until time.Time // zero: it has not waited yet
}

// giveBack ends the write.
func (v *volume) giveBack(r *room) {
	v.s.space.gave(r.disk)
	r.disk = 0
	r.giveQuota()
}

// take sees to it that r has n bytes for a first write to a layer. The gate is
// held. Errors: a shortage, errUncounted.
func (v *volume) take(r *room, l *layer, n int64) error {
	if err := v.takeQuota(r, l, n); err != nil {
		return err
	}
	if more := n - r.disk; more > 0 {
		if err := v.s.space.take(more); err != nil {
			return err
		}
		r.disk = n
	}
	return nil
}

// used says that n bytes of r are written.
func (v *volume) used(r *room, n int64) {
	v.s.space.gave(n)
	r.disk -= n
	if r.layer != nil {
		r.quota -= n
	}
}

// awaitRoom waits where a change failed for want of room; nil means that it
// shall be tried again. Other errors it returns as they are.
func (v *volume) awaitRoom(ctx context.Context, r *room, err error) error {
	if err == errUncounted {
		return v.countLayer()
	}
	var short *shortage
	if !errors.As(err, &short) {
		if !isFull(err) || errors.Is(err, ErrFailed) { // no room will mend that
			return err
		}
		// The allowance, and what the write has taken of it, were nothing worth.
		short = &shortage{of: shortHost}
		v.giveBack(r)
		v.s.space.left.Store(noLeft)
	}
	w := &waiter{of: short.of, n: short.n, since: time.Now(), ok: make(chan struct{})}
	w.ready = func() bool { return v.usable() != nil || w.of == shortQuota && v.quotaHasRoom(w.n) }
	if r.until.IsZero() {
		r.until = w.since.Add(v.s.o.FullStall)
	}
	if short.of == shortQuota && !v.atQuota.Swap(true) {
		v.s.o.Logger.Warn("quota reached: first writes of the volume wait", "volume", v.entry.name, "quota", v.quota.Load())
	}
	if waitErr := v.s.space.wait(ctx, w, r.until); waitErr == errOutOfTime {
		return v.tooLong(short, err)
	} else if waitErr != nil {
		return waitErr
	}
	switch w.of {
	case shortDisk:
		r.disk += w.n
	case shortQuota:
		v.atQuota.Store(false)
	}
	return nil
}

// beginPatiently is begin where its preparations may find the disk full.
func (v *volume) beginPatiently(ctx context.Context) error {
	var r room
	for {
		err := v.begin()
		if err == nil {
			return nil
		}
		if err := v.awaitRoom(ctx, &r, err); err != nil {
			return err
		}
	}
}

// tooLong is the error of a write that waited for room in vain.
func (v *volume) tooLong(short *shortage, err error) error {
	switch short.of {
	case shortHost:
		return errf(ErrNoSpace, "no space left: %v", err)
	case shortQuota:
		return v.quotaError()
	}
	return v.s.space.fullError()
}

var errOutOfTime = errors.New("waited long enough")

// wait returns nil when w may go on.
func (s *space) wait(ctx context.Context, w *waiter, until time.Time) error {
	left := time.Until(until)
	if left <= 0 {
		return errOutOfTime
	}
	if stalled, ok := ctx.Value(onStallKey{}).(func() (context.Context, func())); ok {
		var resume func()
		ctx, resume = stalled()
		defer resume()
	}
	s.enter(w)
	s.wake()
	timer := time.NewTimer(left)
	defer timer.Stop()
	var err error
	select {
	case <-w.ok:
		return nil
	case <-timer.C:
		err = errOutOfTime
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-s.quit:
		err = errf(ErrClosed, "the store is being closed while the write waits for space")
	}
	if !s.leave(w) {
		return nil // let go on at the same moment
	}
	return err
}

func (s *space) enter(w *waiter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.waiting = append(s.mu.waiting, w)
	s.waiters.Add(1)
}

// leave takes w out of the line; false means that it was let go on before.
func (s *space) leave(w *waiter) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.mu.waiting, w)
	if i < 0 {
		return false
	}
	s.mu.waiting = slices.Delete(s.mu.waiting, i, i+1)
	s.waiters.Add(-1)
	return true
}

// diskWaitersLocked tells whether somebody waits for the disk.
func (s *space) diskWaitersLocked() bool {
	return slices.ContainsFunc(s.mu.waiting, func(w *waiter) bool { return w.of == shortDisk })
}

// resumeLocked lets go on who can.
func (s *space) resumeLocked() {
	if len(s.mu.waiting) == 0 {
		return
	}
	kept, blocked := s.mu.waiting[:0], false
	for _, w := range s.mu.waiting {
		if w.of == shortDisk && blocked || !s.goesOnLocked(w) {
			blocked = blocked || w.of == shortDisk
			kept = append(kept, w)
			continue
		}
		s.waiters.Add(-1)
		close(w.ok)
	}
	clear(s.mu.waiting[len(kept):])
	s.mu.waiting = kept
}

// goesOnLocked tells whether w may go on, and then takes for it what it asked
// for of the disk.
func (s *space) goesOnLocked(w *waiter) bool {
	switch w.of {
	case shortDisk:
		if w.n > s.mu.room && !w.ready() {
			return false
		}
		s.mu.room -= w.n
		s.outstanding.Add(w.n)
		return true
	case shortHost:
		return time.Since(w.since) >= stallTick
	}
	return w.ready()
}
