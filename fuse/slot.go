package fuse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
)

// A slot goes through these states:
//
//	empty     disk has no bytes and cannot be opened (ENXIO)
//	attached  disk is a volume
//	stuck     a call on a volume did not end when it was detached; the slot can
//	          only be closed
//
// A file that was opened while a volume was attached is that volume's for good: it
// gives EIO once the volume is detached, also when the next one is there.

// SlotOptions say how a Slot works.
type SlotOptions struct {
	// Open opens a volume that is attached. The slot closes it.
	Open func(ctx context.Context, volume string) (WritableDisk, error)
	// Logger takes what failed. Default: nothing is logged.
	Logger *slog.Logger

	ownCalls bool // let this process use the mount, in tests
}

// Slot is a mount of its own with one file, disk, that shows one volume at a time.
// A sandbox is given the file once, by a bind mount, and volumes come and go behind
// it: nothing of other volumes is ever in its reach.
//
// The file can be opened by every user who can reach it, since a sandbox runs as one
// who owns nothing. So the directory above the mount must be closed to others.
//
// The process that serves a slot gets EDEADLK for its own calls on it: killed in the
// middle of one, it would wait for its own answer for ever, a process that cannot be
// killed and keeps its locks.
type Slot struct {
	dir  string
	o    SlotOptions
	turn chan struct{} // one Attach, Detach or Close at a time
	now  atomic.Pointer[attachment]
	done chan struct{} // closed when the mount has ended

	stuck bool // guarded by turn
}

// StuckError is a call on a volume that did not end when it was detached.
type StuckError struct {
	Volume string
	Err    error
}

func (e *StuckError) Error() string {
	return fmt.Sprintf("a call on volume %q does not end: %v", e.Volume, e.Err)
}

// Unwrap returns why nobody waits for it any longer.
func (e *StuckError) Unwrap() error { return e.Err }

// Stuck tells a pool of sandboxes that the slot is lost.
func (e *StuckError) Stuck() bool { return true }

// stuckGrace is how long calls may take to end that were told to.
const stuckGrace = 5 * time.Second

// MountSlot mounts an empty slot on dir. A mount that stands there is taken for
// one of a process that was killed, and cleared. Close the slot.
func MountSlot(ctx context.Context, dir string, o SlotOptions) (*Slot, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	above := filepath.Dir(dir)
	if fi, err := os.Stat(above); err != nil {
		return nil, err
	} else if fi.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("slots are open to every user that reaches them: make %s mode 0700", above)
	}
	if _, err := Unmount(ctx, dir); err != nil && !errors.Is(err, ErrNotMounted) {
		return nil, err
	}
	dev, err := Mount(ctx, dir, MountOptions{AllowOther: os.Geteuid() == 0}) // a user's jails run as that user
	if err != nil {
		return nil, err
	}
	s := &Slot{dir: dir, o: o, turn: make(chan struct{}, 1), done: make(chan struct{})}
	srv, err := newServer(dev, gofs.NewNodeFS(&slotDir{slot: s}, &gofs.Options{}), o.Logger)
	if err != nil {
		_, unmounting := Unmount(context.WithoutCancel(ctx), dir)
		return nil, errors.Join(err, unmounting)
	}
	go func() {
		defer close(s.done)
		srv.Serve()
	}()
	return s, nil
}

// Path is the file that shows the volume.
func (s *Slot) Path() string { return filepath.Join(s.dir, wholeName) }

// Mount is the mount point. This process must not look at anything on it: use ReadAt.
func (s *Slot) Mount() string { return s.dir }

// ReadAt reads the volume that is attached, past the mount.
func (s *Slot) ReadAt(ctx context.Context, p []byte, off int64) error {
	a := s.now.Load()
	if a == nil {
		return errNothingAttached
	}
	_, end, errno := a.calls.begin()
	if errno != 0 {
		return errNothingAttached
	}
	defer end()
	if off < 0 || off > a.size || int64(len(p)) > a.size-off {
		return io.ErrUnexpectedEOF
	}
	return a.disk.ReadAt(ctx, p, off)
}

// Attach shows a volume, which must not be attached elsewhere. Read-only, writes
// are refused.
func (s *Slot) Attach(ctx context.Context, volume string, readOnly bool) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	switch a := s.now.Load(); {
	case s.stuck:
		return fmt.Errorf("the slot cannot be used any more: a call on the volume before did not end: %w", syscall.EBUSY)
	case a != nil:
		return fmt.Errorf("the slot shows volume %q: %w", a.volume, syscall.EBUSY)
	}
	disk, err := s.o.Open(ctx, volume)
	if err != nil {
		return err
	}
	s.now.Store(newAttachment(volume, disk, readOnly, s.o.Logger))
	return nil
}

// Failed returns what Detach would, as far as it is known now: nil or the errors of
// the store so far.
func (s *Slot) Failed() error {
	if a := s.now.Load(); a != nil {
		return a.failed()
	}
	return nil
}

// Detach hides the volume, waits for calls that run, makes what was written durable
// and closes the volume. Where ctx ends earlier, calls that wait are cut short.
//
// It fails, with a *DiskErrors, if the store failed in any call since Attach, also
// where whoever made it was never told or did not care; and with a *StuckError where
// calls do not end.
func (s *Slot) Detach(ctx context.Context) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	return s.detach(ctx)
}

func (s *Slot) detach(ctx context.Context) error {
	a := s.now.Load()
	if a == nil {
		return errNothingAttached
	}
	s.now.Store(nil)
	if err := a.ends(ctx); err != nil {
		s.stuck = true
		return &StuckError{a.volume, err}
	}
	return a.close(ctx)
}

var errNothingAttached = errors.New("no volume is attached to the slot")

// Close detaches what is attached and unmounts. It waits until nobody has the file
// open any more, or ctx ends.
func (s *Slot) Close(ctx context.Context) error {
	if err := s.take(ctx); err != nil {
		return err
	}
	defer s.give()
	err := s.detach(ctx)
	if errors.Is(err, errNothingAttached) {
		err = nil
	}
	s.stuck = true // nothing can be attached from now on
	if _, e := Unmount(context.WithoutCancel(ctx), s.dir); e != nil && !errors.Is(e, ErrNotMounted) {
		return errors.Join(err, e)
	}
	select {
	case <-s.done:
		return err
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("somebody still has the disk of the slot open: %w", context.Cause(ctx)))
	}
}

// take takes the turn if it is free, also where ctx has ended: a volume is detached
// in any case.
func (s *Slot) take(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Slot) give() { <-s.turn }
