package task

import (
	"context"
	"slices"
	"time"
)

// bump tells those who wait that something changed. The lock is held.
func (t *entry) bump() {
	t.revision++
	t.wake()
}

func (t *entry) wake() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// info is the task without its log. The lock is held.
func (t *entry) info() Info {
	r := &t.rec
	i := Info{
		ID: r.ID, Kind: r.Kind, Name: r.Name, Owner: r.Owner, Subject: r.Subject, About: r.About, State: r.State, Percent: t.percent,
		Steps: slices.Clone(r.Steps), Failure: r.Failure, Cancel: r.Cancel, Created: r.Created, Started: r.Started,
		Ended: r.Ended, Runs: r.Runs, Revision: t.revision, Halted: t.halted,
	}
	if r.Result != nil {
		i.Result = r.Result
	}
	if r.State.Finished() {
		i.Percent = 100
	} else if r.Limited {
		i.Left = r.Left.Round(time.Second).String()
	}
	return i
}

func (e *Engine[Tx]) infoOf(t *entry) Info {
	if t == nil {
		return Info{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return t.info()
}

// List returns all tasks that are kept, without their logs, the oldest first.
func (e *Engine[Tx]) List() []Info {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []Info{}
	for _, t := range e.inOrder() {
		list = append(list, t.info())
	}
	return list
}

// Get returns a task with the lines of its log behind a number. Error:
// ErrNotFound.
func (e *Engine[Tx]) Get(id string, behind uint64) (Info, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, err := e.find(id)
	if err != nil {
		return Info{}, err
	}
	i := t.info()
	for _, l := range t.rec.Log {
		if l.Number > behind {
			i.Log = append(i.Log, l)
		}
	}
	return i, nil
}

// Wait returns the task once its revision is another, or it is finished.
// Errors: ErrNotFound, ErrClosed, that of ctx.
func (e *Engine[Tx]) Wait(ctx context.Context, id string, revision, behind uint64) (Info, error) {
	for {
		e.mu.Lock()
		t, err := e.find(id)
		if err != nil {
			e.mu.Unlock()
			return Info{}, err
		}
		now, changed := t.revision != revision || t.rec.State.Finished() || t.halted != "", t.changed
		closed := e.mu.closed
		e.mu.Unlock()
		switch {
		case now:
			return e.Get(id, behind)
		case closed:
			return Info{}, errf(ErrClosed, "task %s goes on when the program starts again", id)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Info{}, ctx.Err()
		}
	}
}

// find returns a task by its ID. The lock is held.
func (e *Engine[Tx]) find(id string) (*entry, error) {
	if t := e.mu.tasks[id]; t != nil {
		return t, nil
	}
	return nil, errf(ErrNotFound, "there is no task %q", id)
}

// Cancel has a task undone. It returns once that is durable, not once it is
// carried out. Errors: ErrNotFound, ErrFinished, ErrBusy behind a step of
// no return, those of the journal.
func (e *Engine[Tx]) Cancel(id string) (Info, error) {
	e.submitting.Lock() // the task may not be durable yet
	e.mu.Lock()
	e.submitting.Unlock()
	t, err := e.find(id)
	if err == nil && t.rec.State.Finished() {
		err = errf(ErrFinished, "task %s (%s) is finished: %s", id, t.rec.Name, t.rec.State)
	}
	if err == nil && e.bound(t) {
		err = errf(ErrBusy, "task %s (%s) cannot be cancelled any more: what it was for is done, and it only cleans up", id, t.rec.Name)
	}
	if err != nil {
		e.mu.Unlock()
		return Info{}, err
	}
	waits := t.queued && t.rec.State == Pending
	if waits {
		e.mu.queue.remove(t)
		t.queued = false
		e.mu.waiting--
	}
	now := e.o.Clock.Wall().UTC()
	e.mu.Unlock()
	err = e.commit(t, func(r *record) {
		if r.State.Finished() {
			return // meanwhile
		}
		if r.Cancel = true; waits {
			r.State, r.Ended = Cancelled, now
		}
	}, nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err == nil && t.cancel != nil {
		t.cancel(ErrCancelled)
	}
	return t.info(), err
}

// bound tells whether a task is behind a step of no return. The lock is held.
func (e *Engine[Tx]) bound(t *entry) bool {
	kind, known := e.kinds[t.rec.Kind]
	return known && kind.has(t.rec.Steps) && t.rec.State != Undoing && kind.bound(t.rec.Steps)
}
