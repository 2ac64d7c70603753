package task

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// backward undoes a task: why is the reason.
func (e *Engine[Tx]) backward(t *entry, kind Kind[Tx], why error) {
	e.mu.Lock()
	failure, now := t.failure(why), e.o.Clock.Wall().UTC()
	e.logPanic(t, why)
	e.mu.Unlock()
	err := e.commit(t, func(r *record) {
		r.Result = nil
		switch {
		case why == errUndoing:
			return
		case errors.Is(why, ErrCancelled):
			r.add(now, "", "cancelled")
		default:
			r.Failure = failure
			r.add(now, failure.Step, "failed: "+failure.Message)
		}
		r.State = Undoing
	}, nil)
	if err != nil {
		e.halt(t, err)
		return
	}
	e.o.Failpoint("undoing")
	var left []string
	for i := len(kind.Steps) - 1; i >= 0; i-- {
		undone, err := e.undo(t, kind.Steps[i], i)
		if errors.Is(err, errHalted) {
			return
		}
		if !undone {
			left = append(left, kind.Steps[i].Name)
		}
	}
	now = e.o.Clock.Wall().UTC()
	err = e.commit(t, func(r *record) { conclude(r, now, left, len(kind.Steps) == 0) }, nil)
	if err != nil {
		e.halt(t, err)
		return
	}
	e.o.Failpoint("undone")
}

// conclude ends a task that was undone, but for what is left of it.
func conclude(r *record, now time.Time, left []string, unknown bool) {
	if unknown {
		for _, s := range r.Steps {
			if s.Done {
				left = append(left, s.Name)
			}
		}
	}
	r.State, r.Ended = Failed, now
	if r.Failure == nil && len(left) == 0 {
		r.State = Cancelled
		return
	}
	f := Failure{Message: "cancelled, but not all could be undone"}
	if r.Failure != nil {
		f = *r.Failure
	}
	f.Left = left
	r.Failure = &f
}

func (e *Engine[Tx]) logPanic(t *entry, why error) {
	var p *panicked
	if errors.As(why, &p) {
		e.o.Logger.Error("a task met a fault in the program", "task", t.rec.ID, "kind", t.rec.Kind, "stack", p.stack)
	}
}

// undo undoes a step that was begun. It tells whether nothing is left of it;
// errHalted says that the engine closes or the journal failed.
func (e *Engine[Tx]) undo(t *entry, s Step[Tx], i int) (undone bool, err error) {
	e.mu.Lock()
	info := t.rec.Steps[i]
	// The first step that is not done may have begun, those behind it not.
	begun := i == 0 || t.rec.Steps[i-1].Done || t.rec.Steps[i-1].Undone
	e.mu.Unlock()
	if info.Undone || s.Undo == nil || !begun {
		return true, nil
	}
	for try := 1; ; try++ {
		err = e.undoOnce(t, s, i)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, errHalted):
			return false, err
		case try == e.o.UndoTries:
			e.log(t, s.Name, fmt.Sprintf("cannot be undone: %v", err))
			return false, nil
		}
		select {
		case <-time.After(e.o.UndoPause << (try - 1)):
		case <-e.base.Done():
			return false, errHalted
		}
	}
}

func (e *Engine[Tx]) undoOnce(t *entry, s Step[Tx], i int) error {
	ctx, cancel := context.WithTimeoutCause(e.base, e.o.UndoTimeout, ErrDeadline)
	defer cancel()
	if e.base.Err() != nil {
		return errHalted
	}
	e.o.Failpoint("before undo " + s.Name)
	also, err := call(ctx, &Run{e: e, t: t, id: t.rec.ID, step: s.Name, undo: true}, s.Undo)
	if err != nil {
		if e.stopping(e.base, err) {
			return errHalted
		}
		return err
	}
	e.o.Failpoint("after undo " + s.Name)
	if err := e.commit(t, func(r *record) { r.Steps[i].Done, r.Steps[i].Undone = false, true }, also); err != nil {
		return err
	}
	e.o.Failpoint("undone " + s.Name)
	return nil
}
