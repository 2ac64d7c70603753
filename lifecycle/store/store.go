package store

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options tune a store; the zero value works.
type Options struct {
	FS     vfs.FS           // default: that of the machine
	Now    func() time.Time // default: time.Now
	Logger *slog.Logger     // default: none
}

// Store is a store that is open. It is safe for concurrent use.
type Store struct {
	dir string
	o   Options
	db  *pebble.DB

	// writing holds a token while an update runs: one at a time.
	writing chan struct{}
	seq     uint64 // of the last update; whoever holds the token has it

	key    []byte        // set when it is opened
	ready  atomic.Bool   // errors of the disk are final
	halted chan struct{} // closed when they came
	once   sync.Once
	cause  error // set before halted is closed

	life   sync.RWMutex // held shared by those who use db
	closed bool
}

// View runs fn on one consistent state. fn must not use the store otherwise,
// nor keep r. Errors: ErrClosed, ErrFailed, those of fn and of ctx.
func (s *Store) View(ctx context.Context, fn func(r *Reader) error) error {
	return s.use(ctx, func() error {
		snapshot := s.db.NewSnapshot()
		defer func() { _ = snapshot.Close() }()
		return fn(&Reader{snapshot})
	})
}

// Update runs fn, alone, and then makes all its changes durable at once, or
// none if fn or one of the changes failed. fn must not use the store
// otherwise, nor keep tx, and must be quick: others wait. Errors: ErrClosed,
// ErrFailed, those of fn and tx, and those of ctx before the commit begins.
func (s *Store) Update(ctx context.Context, cause Cause, fn func(tx *Tx) error) error {
	return s.use(ctx, func() error {
		select {
		case s.writing <- struct{}{}:
		case <-s.halted:
			return s.failure()
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-s.writing }()
		return s.update(ctx, cause, fn)
	})
}

func (s *Store) update(ctx context.Context, cause Cause, fn func(tx *Tx) error) error {
	batch := s.db.NewIndexedBatch()
	tx := &Tx{Reader: Reader{batch}, batch: batch, now: s.o.Now().UTC().Round(0), seq: s.seq + 1}
	err := fn(tx)
	if tx.err != nil {
		err = tx.err // even if fn took no notice
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && len(tx.changes) > 0 {
		err = tx.audit(cause)
	}
	if err != nil || len(tx.changes) == 0 && !tx.journal {
		_ = batch.Close()
		return err
	}
	if err := s.commit(batch); err != nil {
		return err
	}
	if len(tx.changes) > 0 {
		s.seq = tx.seq
	}
	for _, done := range tx.after {
		done()
	}
	return nil
}

// commit makes a batch durable. Pebble may never return once the disk failed.
func (s *Store) commit(batch *pebble.Batch) error {
	done := make(chan error, 1)
	go func() {
		err := batch.Commit(pebble.Sync)
		_ = batch.Close()
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			s.fail(err)
			return s.failure()
		}
		return nil
	case <-s.halted:
		return s.failure()
	}
}

func (s *Store) use(ctx context.Context, fn func() error) error {
	s.life.RLock()
	defer s.life.RUnlock()
	if s.closed {
		return errf(ErrClosed, "the store in %s is closed", s.dir)
	}
	select {
	case <-s.halted:
		return s.failure()
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn()
}

// Close waits for those who use the store, and ends it.
func (s *Store) Close() error {
	select {
	case <-s.halted: // Pebble stands still, perhaps with its locks
		return s.failure()
	default:
	}
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	done := make(chan error, 1)
	go func() { done <- s.db.Close() }()
	select {
	case err := <-done:
		return err
	case <-s.halted:
		return s.failure()
	}
}
