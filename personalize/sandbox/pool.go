package sandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Slot is a place for a disk: one file that shows no disk or one volume. A cell is
// bound to the file while it is empty, so that it never sees another volume.
type Slot interface {
	// Path is the file. The jail's user may open it.
	Path() string

	// Mount is the mount that the file is on, where this process serves it, or "".
	Mount() string

	// ReadAt reads the volume that is shown, and not through the file.
	ReadAt(ctx context.Context, p []byte, off int64) error

	// Attach shows a volume.
	Attach(ctx context.Context, volume string, readOnly bool) error

	// Detach hides it and makes what was written durable. Its error is the
	// store's: the guest is not believed. It is a Stuck where the slot cannot be
	// used any more.
	Detach(ctx context.Context) error
}

// Stuck is an error of a slot that is lost: calls on its volume do not end.
type Stuck interface {
	error
	Stuck() bool
}

func isStuck(err error) bool {
	var s Stuck
	return errors.As(err, &s) && s.Stuck()
}

// PoolOptions say how a Pool works.
type PoolOptions struct {
	// Config is that of its cells; Disk, DiskMount and AttachLater are the pool's to set.
	// Deadline counts from Take.
	Config Config

	// Slots: each has one booted cell waiting, which takes 30 MB and no time.
	Slots []Slot

	// Log hears of cells that do not start and of slots that are lost. It must be
	// set.
	Log *slog.Logger
}

const (
	// idleDeadline is how long a cell may wait to be taken. Then it is replaced.
	idleDeadline = time.Hour

	// retryBoot is the pause after a cell that did not start.
	retryBoot = 5 * time.Second
)

// ErrPoolClosed is a pool that hands out no more cells.
var ErrPoolClosed = errors.New("the sandboxes are shut down")

// errAllStuck is a pool that has lost every slot.
var errAllStuck = errors.New("no sandbox is left: calls on the volumes of all of them do not end; restart this process")

// Pool keeps cells booted. Each serves one volume once and is then replaced.
type Pool struct {
	options PoolOptions
	ready   chan *Lease
	failed  chan error // from slots whose cells keep failing to start, to who waits
	stop    context.Context
	cancel  context.CancelCauseFunc
	places  sync.WaitGroup
	usable  atomic.Int64 // slots that are not lost
}

// NewPool boots a cell for each slot, in the background. Close it.
func NewPool(o PoolOptions) *Pool {
	o.Config = o.Config.withDefaults()
	p := &Pool{options: o, ready: make(chan *Lease), failed: make(chan error)}
	p.stop, p.cancel = context.WithCancelCause(context.Background())
	p.usable.Store(int64(len(o.Slots)))
	for _, slot := range o.Slots {
		p.places.Go(func() { p.keep(slot) })
	}
	return p
}

// Close kills the cells, taken ones too, and waits until their leases are closed.
func (p *Pool) Close() {
	p.cancel(ErrPoolClosed)
	p.places.Wait()
}

// Lease is a cell that has a volume. Close it, whatever happened.
type Lease struct {
	*Cell
	slot   Slot
	once   sync.Once
	closed chan struct{}
	err    error
}

// Take attaches a volume to a cell that is ready, or waits for one. It fails where
// cells do not start.
func (p *Pool) Take(ctx context.Context, volume string, readOnly bool) (*Lease, error) {
	var l *Lease
	select {
	case l = <-p.ready:
	case err := <-p.failed:
		return nil, err
	case <-p.stop.Done():
		return nil, context.Cause(p.stop)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	l.limit.Reset(p.options.Config.Deadline)
	err := l.slot.Attach(ctx, volume, readOnly)
	if err == nil {
		err = checkSlot(ctx, l.slot)
	}
	if err == nil {
		err = l.attachAs(ctx, readOnly)
	}
	if err == nil {
		return l, nil
	}
	l.Kill()
	_ = l.Close(context.WithoutCancel(ctx)) // err says why
	return nil, fmt.Errorf("a sandbox for %s: %w", volume, err)
}

// Close ends the cell and then has the store make the volume durable: its errors
// are what counts. Only the first call does anything.
func (l *Lease) Close(ctx context.Context) error {
	l.once.Do(func() {
		err := l.Cell.Close(ctx)
		l.Kill()
		_ = l.Wait()
		l.err = errors.Join(err, l.slot.Detach(ctx))
		close(l.closed)
	})
	return l.err
}

// keep has a cell ready in one slot, again and again, until the slot is lost.
func (p *Pool) keep(slot Slot) {
	cfg := p.options.Config
	cfg.Disk, cfg.DiskMount, cfg.AttachLater, cfg.ReadOnly, cfg.Deadline = slot.Path(), slot.Mount(), true, false, idleDeadline
	for failures := 0; p.stop.Err() == nil; {
		cell, err := Start(p.stop, cfg)
		if err != nil {
			failures++
			p.pause(err, failures)
			continue
		}
		failures = 0
		l := &Lease{Cell: cell, slot: slot, closed: make(chan struct{})}
		select {
		case p.ready <- l:
			<-l.closed
			if isStuck(l.err) {
				p.lose(slot, l.err)
				return
			}
		case <-cell.Done():
		case <-p.stop.Done():
		}
		cell.Kill()
		_ = cell.Wait()
	}
}

func (p *Pool) lose(slot Slot, err error) {
	p.options.Log.Error("a slot for sandboxes is lost", "slot", slot.Path(), "error", err)
	if p.usable.Add(-1) == 0 {
		p.cancel(errAllStuck)
	}
}

// pause lets some time pass after a start that failed. Once it was not the first,
// whoever waits for a cell is told.
func (p *Pool) pause(err error, failures int) {
	if p.stop.Err() != nil {
		return
	}
	p.options.Log.Error("a sandbox does not start", "error", err)
	var failed chan error
	if failures > 1 {
		failed = p.failed
	}
	over := time.After(retryBoot)
	for {
		select {
		case failed <- err:
		case <-over:
			return
		case <-p.stop.Done():
			return
		}
	}
}
