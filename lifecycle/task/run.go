package task

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

type panicked struct {
	value any
	stack string
}

func (p *panicked) Error() string { return fmt.Sprintf("a fault in the program: %v", p.value) }

func stack() string { return string(debug.Stack()) }

// run carries a task on until it is finished, or the engine closes, or the
// journal fails.
func (e *Engine[Tx]) run(ctx context.Context, t *entry) {
	kind, why, err := e.begin(t)
	if err != nil {
		e.halt(t, err)
		return
	}
	if why == nil {
		stop := e.limit(ctx, t)
		why = e.forward(ctx, t, kind)
		stop()
	}
	if why == nil {
		return
	}
	if e.stopping(ctx, why) {
		e.excuse(t, why)
		return
	}
	e.backward(t, kind, why)
}

// stopping tells that a step ended because the engine closes: that is no
// failure, and the journal has the task as it was.
func (e *Engine[Tx]) stopping(ctx context.Context, why error) bool {
	return errors.Is(why, errHalted) || errors.Is(why, ErrStopping) || errors.Is(context.Cause(ctx), ErrStopping)
}

var errHalted = errors.New("halted")

// excuse takes back that a run came to nothing: the engine closes in order.
func (e *Engine[Tx]) excuse(t *entry, why error) {
	if !errors.Is(why, ErrStopping) { // it is the journal that failed
		return
	}
	if err := e.commit(t, func(r *record) { r.Fruitless = max(r.Fruitless-1, 0) }, nil); err != nil {
		e.o.Logger.Warn("a run that a stop cut short counts as one that came to nothing", "task", t.rec.ID, "error", err)
	}
}

// begin counts the run and decides where it goes: why is the reason to undo.
func (e *Engine[Tx]) begin(t *entry) (kind Kind[Tx], why error, err error) {
	e.mu.Lock()
	kind, why = e.direction(t)
	now := e.o.Clock.Wall().UTC()
	e.mu.counters.Fence++
	fence := e.mu.counters.Fence
	e.mu.Unlock()
	err = e.commit(t, func(r *record) {
		r.Runs++
		r.Fruitless++
		r.Fence = fence
		if r.Started.IsZero() {
			r.Started = now
		}
		if why == nil {
			r.State = Running
		}
	}, nil)
	e.o.Failpoint("begun")
	return kind, why, err
}

// direction says why a task is undone, if it is. The lock is held.
func (e *Engine[Tx]) direction(t *entry) (kind Kind[Tx], why error) {
	kind, known := e.kinds[t.rec.Kind]
	switch {
	case !known || !kind.has(t.rec.Steps):
		return Kind[Tx]{}, errf(ErrInvalid, "this version of the program does not know tasks of kind %q as they were: what its steps did is still there", t.rec.Kind)
	case t.rec.State == Undoing:
		return kind, errUndoing
	case t.rec.Cancel && !kind.bound(t.rec.Steps):
		return kind, ErrCancelled
	case t.rec.Runs > 0 && kind.AtCrash == RollBack && !kind.bound(t.rec.Steps):
		return kind, errors.New("the program was stopped while the task ran")
	case t.rec.Fruitless >= maxFruitless:
		return kind, fmt.Errorf("the program was stopped %d times while the task was at the same step: it may be the task that stops it", t.rec.Fruitless)
	}
	return kind, nil
}

// maxFruitless is how many runs may end at the step where they began before the
// task is undone.
const maxFruitless = 5

// errUndoing goes on with an undoing whose reason is in the record.
var errUndoing = errors.New("undoing")

// limit ends ctx when the task's time is over. stop keeps what is left.
func (e *Engine[Tx]) limit(ctx context.Context, t *entry) (stop func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !t.rec.Limited {
		return func() {}
	}
	t.from, t.counting = e.o.Clock.Uptime(), true
	cancel := t.cancel
	stopTimer := e.o.Clock.After(t.rec.Left, func() { cancel(ErrDeadline) })
	return func() {
		stopTimer()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.spend(t)
		t.counting = false
	}
}

// spend takes the time since the last call off what is left. The lock is held.
func (e *Engine[Tx]) spend(t *entry) {
	if t.counting {
		now := e.o.Clock.Uptime()
		t.rec.Left = max(t.rec.Left-(now-t.from), 0)
		t.from = now
	}
}

// forward does the steps that are not done. The error is the reason to undo.
func (e *Engine[Tx]) forward(ctx context.Context, t *entry, kind Kind[Tx]) error {
	for i, s := range kind.Steps {
		e.mu.Lock()
		done := t.rec.Steps[i].Done
		if kind.bound(t.rec.Steps) {
			ctx = e.base // ends only when the engine closes
		}
		if !done {
			t.rec.Steps[i].Started = e.o.Clock.Wall().UTC()
			t.bump()
		}
		e.mu.Unlock()
		if done {
			continue
		}
		if err := e.do(ctx, t, kind, i, s); err != nil {
			return err
		}
	}
	return nil
}

// do does one step and makes that durable; the last one finishes the task.
func (e *Engine[Tx]) do(ctx context.Context, t *entry, kind Kind[Tx], i int, s Step[Tx]) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	e.o.Failpoint("before " + s.Name)
	also, err := call(ctx, &Run{e: e, t: t, id: t.rec.ID, step: s.Name}, s.Do)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = errors.Join(cause, err)
		}
		return &failed{s.Name, err}
	}
	e.o.Failpoint("after " + s.Name)
	now, last := e.o.Clock.Wall().UTC(), i == len(kind.Steps)-1
	err = e.commit(t, func(r *record) {
		r.Steps[i].Done, r.Steps[i].Ended = true, now
		r.Fruitless = 0
		if last {
			r.State, r.Ended = Completed, now
		}
	}, also)
	if err != nil {
		return &failed{s.Name, err}
	}
	e.o.Failpoint("saved " + s.Name)
	return nil
}

// failed is a step that failed.
type failed struct {
	step string
	err  error
}

func (f *failed) Error() string { return f.err.Error() }
func (f *failed) Unwrap() error { return f.err }

// percentOf is how far a task is; share is how much of the present step is
// done. The lock is held.
func (e *Engine[Tx]) percentOf(t *entry, share float64) int {
	kind := e.kinds[t.rec.Kind]
	if !kind.has(t.rec.Steps) {
		return 0
	}
	var done, all float64
	present := true
	for i, s := range kind.Steps {
		w := float64(s.weight())
		all += w
		switch {
		case t.rec.Steps[i].Done:
			done += w
		case present:
			done += w * min(max(share, 0), 1)
			present = false
		}
	}
	if all == 0 {
		return 0
	}
	return min(int(100*done/all), 99)
}

// halt leaves a task as the journal has it: nobody knows what a next save does.
func (e *Engine[Tx]) halt(t *entry, err error) {
	e.o.Logger.Error("a task stands still: the journal cannot be written", "task", t.rec.ID, "error", err)
	e.mu.Lock()
	defer e.mu.Unlock()
	t.halted = err.Error()
	t.bump()
}

func (e *Engine[Tx]) with(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func (e *Engine[Tx]) log(t *entry, step, text string) {
	e.with(func() {
		if t.hide != nil {
			text = t.hide(text)
		}
		t.rec.add(e.o.Clock.Wall().UTC(), step, text)
		t.bump()
	})
}

func (e *Engine[Tx]) progress(t *entry, share float64) {
	e.with(func() {
		if p := e.percentOf(t, share); p > t.percent {
			t.percent = p
			t.bump()
		}
	})
}

// failure is what is shown of an error.
func (t *entry) failure(err error) *Failure {
	hide := t.hide
	if hide == nil {
		hide = func(s string) string { return s }
	}
	f := &Failure{}
	var at *failed
	if errors.As(err, &at) {
		f.Step = at.step
	}
	var advised Advised
	if errors.As(err, &advised) {
		for _, a := range advised.Advice() {
			f.Advice = append(f.Advice, hide(a))
		}
	}
	f.Message = hide(strings.ReplaceAll(err.Error(), "\n", ": "))
	return f
}
