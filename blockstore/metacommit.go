package blockstore

import (
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// All that changes metadata is a batch, and all batches that wait go together:
// one goroutine joins them into one and syncs that. It runs as long as there
// is something to commit. Sixty-four volumes that flush at once cost a few
// syncs of the log instead of a goroutine, a place in Pebble's queue and two
// handings over for each.

// maxJoined bounds what is joined into one batch, in bytes.
const maxJoined = 1 << 20

// commitQueue holds the batches that wait, in the order in which they become
// durable.
type commitQueue struct {
	mu      sync.Mutex
	waiting []queuedBatch
	running bool // a goroutine commits
}

type queuedBatch struct {
	b    *pebble.Batch
	done chan<- error // has room for one
}

// commit makes a batch durable. Batches become durable in the order in which
// they came; when commit returns nil, the sequence of the batch is in the
// witness, and an open that finds less refuses.
//
// It returns an error as soon as the store fails, whatever becomes of the
// batch: Pebble may stand still with it, and nobody must wait for that.
func (s *Store) commit(b *pebble.Batch) error {
	if s.o.reorder != nil {
		return s.o.reorder(b, s.commitNow)
	}
	return s.commitNow(b)
}

func (s *Store) commitNow(b *pebble.Batch) error {
	if err := s.usable(); err != nil {
		b.Close()
		return err
	}
	done := make(chan error, 1)
	q := &s.queue
	q.mu.Lock()
	q.waiting = append(q.waiting, queuedBatch{b, done})
	if !q.running {
		q.running = true
		s.commits.Add(1)
		go s.commitQueued()
	}
	q.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-s.failed.given:
		return s.usable()
	}
}

// commitQueued commits until nothing waits any more. It has a goroutine of its
// own, for Pebble may keep it for ever.
func (s *Store) commitQueued() {
	defer s.commits.Done()
	for {
		group := s.queue.next()
		if len(group) == 0 {
			return
		}
		err := s.apply(group)
		for _, g := range group {
			g.done <- err
		}
	}
}

// next takes what is to be committed together; nothing: the goroutine ends.
func (q *commitQueue) next() (group []queuedBatch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) && (n == 0 || size+q.waiting[n].b.Len() <= maxJoined) {
		size += q.waiting[n].b.Len()
		n++
	}
	group = q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.running = n > 0
	return group
}

// apply makes batches durable as one.
func (s *Store) apply(group []queuedBatch) error {
	b := group[0].b
	defer func() {
		for _, g := range group {
			g.b.Close()
		}
	}()
	if err := s.usable(); err != nil {
		return err
	}
	for _, g := range group[1:] {
		if g.b.Empty() {
			continue
		}
		if err := b.Apply(g.b, nil); err != nil {
			return s.fail(fmt.Errorf("metadata commit: %w", err))
		}
	}
	began := time.Now()
	s.sequence++
	err := b.Set(sequenceKey, sequenceBytes(s.sequence), nil)
	if err == nil {
		err = s.db.ApplyNoSyncWait(b, pebble.Sync)
	}
	if err == nil {
		err = b.SyncWait() // an error of the sync comes back here; Apply's is fatal to Pebble
	}
	if err != nil {
		return s.fail(fmt.Errorf("metadata commit: %w", err))
	}
	s.counted.metadataCommit.since(began)
	s.counted.batches.Add(int64(len(group)))
	if err := s.witness.advance(s.sequence); err != nil {
		s.o.Logger.Error("how far the metadata goes is not remembered any more, so damage to its end would not be noticed: restart goldstream",
			"file", filepath.Join(s.dir, "seq"), "err", err)
	}
	return nil
}
