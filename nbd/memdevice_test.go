package nbd

import (
	"context"
	"sync"
	"sync/atomic"
)

// memDevice is a Device in memory whose calls a test can make slow, failing,
// or counted.
type memDevice struct {
	readOnly bool
	cached   bool               // TryReadAt works
	fail     error              // every call fails with it
	gate     chan struct{}      // if set, ReadAt, WriteAt and Flush receive from it first
	runs     func(i int64) bool // if set, Extents yields runs of 1 byte, zero as it says
	entered  chan struct{}      // if set, told when a call reached the gate
	flushes  atomic.Int64
	closes   atomic.Int64
	fua      atomic.Int64
	running  atomic.Int64 // calls under way
	most     atomic.Int64 // the most calls under way at once
	mu       sync.RWMutex
	p        []byte
}

func newMemDevice(size int) *memDevice { return &memDevice{p: make([]byte, size), cached: true} }

// text is what the disk holds.
func (d *memDevice) text(off, length int) string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return string(d.p[off : off+length])
}

func (d *memDevice) Size() int64    { return int64(len(d.p)) }
func (d *memDevice) ReadOnly() bool { return d.readOnly }

// enter waits at the gate.
func (d *memDevice) enter(ctx context.Context) error {
	n := d.running.Add(1)
	defer d.running.Add(-1)
	for m := d.most.Load(); n > m && !d.most.CompareAndSwap(m, n); m = d.most.Load() {
	}
	if d.entered != nil {
		d.entered <- struct{}{}
	}
	if d.gate != nil {
		select {
		case <-d.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return d.fail
}

func (d *memDevice) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	copy(p, d.p[off:])
	return nil
}

func (d *memDevice) TryReadAt(p []byte, off int64) bool {
	if !d.cached || d.gate != nil || d.fail != nil {
		return false
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	copy(p, d.p[off:])
	return true
}

func (d *memDevice) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	if fua {
		d.fua.Add(1)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.p[off:], p)
	return nil
}

func (d *memDevice) Flush(ctx context.Context) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	d.flushes.Add(1)
	return nil
}

func (d *memDevice) Trim(ctx context.Context, off, length int64, fua bool) error {
	return d.WriteZeroes(ctx, off, length, false, fua)
}

func (d *memDevice) WriteZeroes(_ context.Context, off, length int64, _, fua bool) error {
	if d.fail != nil {
		return d.fail
	}
	if fua {
		d.fua.Add(1)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.p[off : off+length])
	return nil
}

func (d *memDevice) Prefetch(context.Context, int64, int64) error { return d.fail }

func (d *memDevice) Extents(_ context.Context, off, length int64, yield func(int64, bool, bool) bool) error {
	if d.fail != nil {
		return d.fail
	}
	if d.runs == nil {
		yield(length, false, true)
		return nil
	}
	for i := off; i < off+length; i++ {
		if !yield(1, d.runs(i), true) {
			return nil
		}
	}
	return nil
}

func (d *memDevice) Close() error {
	d.closes.Add(1)
	return nil
}
