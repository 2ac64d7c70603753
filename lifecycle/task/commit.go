package task

import (
	"encoding/json"
	"fmt"
	"slices"
)

// commit makes a change of a task durable, together with what the caller wants,
// and only then shows it. change is called twice and must do the same.
func (e *Engine[Tx]) commit(t *entry, change func(*record), also Commit[Tx]) error {
	e.saving.Lock()
	defer e.saving.Unlock()
	e.mu.Lock()
	e.spend(t)
	next := t.rec
	next.Steps = slices.Clone(t.rec.Steps)
	change(&next)
	var old []*entry
	if next.State.Finished() {
		next.Input, next.Data = nil, nil // may hold secrets, and nobody needs them
		old = e.surplus(t)
	}
	records, err := e.encode(next, old)
	e.mu.Unlock()
	if err != nil {
		return fmt.Errorf("task %s cannot be encoded: %w", next.ID, err)
	}
	if err := e.journal.SaveJournal(e.alive, next.Owner, "task "+next.Name, next.ID, records, also); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	change(&t.rec)
	if t.rec.State.Finished() {
		t.rec.Input, t.rec.Data = nil, nil
		if e.mu.subjects[t.rec.Subject] == t {
			delete(e.mu.subjects, t.rec.Subject)
		}
	}
	for _, gone := range old {
		e.forget(gone)
	}
	t.percent = max(t.percent, e.percentOf(t, 0))
	if e.mu.closed && !t.rec.State.Finished() {
		t.wake() // it goes on at the next start, which is what who waits learns
	} else {
		t.bump()
	}
	return nil
}

// encode returns what the journal gets. The lock is held.
func (e *Engine[Tx]) encode(next record, gone []*entry) (map[string][]byte, error) {
	records := map[string][]byte{}
	for _, t := range gone {
		records[t.rec.ID] = nil
	}
	var err error
	if records[next.ID], err = json.Marshal(next); err != nil {
		return nil, err
	}
	records[""], err = json.Marshal(e.mu.counters)
	return records, err
}

// surplus lists the oldest finished tasks, so that with one more no more than
// Keep are kept. The lock is held.
func (e *Engine[Tx]) surplus(but *entry) []*entry {
	if len(e.mu.tasks) <= e.o.Keep {
		return nil
	}
	var finished []*entry
	for _, t := range e.inOrder() {
		if t != but && t.rec.State.Finished() {
			finished = append(finished, t)
		}
	}
	return finished[:max(len(finished)+1-e.o.Keep, 0)]
}
