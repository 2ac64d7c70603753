package task

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// Run is a task for its own steps.
type Run struct {
	e    steward
	t    *entry
	id   string
	step string
	undo bool
}

// steward is the part of an engine that a Run needs.
type steward interface {
	with(func())
	log(t *entry, step, text string)
	progress(t *entry, share float64)
}

// ID names the task.
func (r *Run) ID() string { return r.id }

// RequestID names this step of this task: the same after a kill, and another
// for Undo.
func (r *Run) RequestID() string {
	if r.undo {
		return r.id + "/undo/" + r.step
	}
	return r.id + "/" + r.step
}

// Fence is higher than that of all runs that began before.
func (r *Run) Fence() (fence uint64) {
	r.e.with(func() { fence = r.t.rec.Fence })
	return fence
}

// Input decodes what the task was submitted with.
func (r *Run) Input(v any) error {
	var b []byte
	r.e.with(func() { b = r.t.rec.Input })
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("the input of task %s cannot be read: %w", r.id, err)
	}
	return nil
}

// Put keeps data for later steps and runs. It is durable when the step is done.
func (r *Run) Put(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r.e.with(func() {
		if r.t.rec.Data == nil {
			r.t.rec.Data = map[string]json.RawMessage{}
		}
		r.t.rec.Data[name] = b
	})
	return nil
}

// Get reads what was put, and tells whether it was.
func (r *Run) Get(name string, v any) (bool, error) {
	var b json.RawMessage
	r.e.with(func() { b = r.t.rec.Data[name] })
	if b == nil {
		return false, nil
	}
	return true, json.Unmarshal(b, v)
}

// Done tells whether a step of the task is done, and was not undone.
func (r *Run) Done(step string) (done bool) {
	r.e.with(func() {
		for _, s := range r.t.rec.Steps {
			done = done || s.Name == step && s.Done
		}
	})
	return done
}

// Result is what the task shows when it is completed.
func (r *Run) Result(v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		r.e.with(func() { r.t.rec.Result = b })
	}
	return err
}

// Hide has all log lines and messages from now on pass through f, which masks
// secrets. It is forgotten at a kill: each run sets it again.
func (r *Run) Hide(f func(string) string) { r.e.with(func() { r.t.hide = f }) }

// Logf adds lines to the task's log.
func (r *Run) Logf(format string, args ...any) {
	r.e.log(r.t, r.step, fmt.Sprintf(format, args...))
}

// Log is a writer of the task's log. Lines are shown once they are complete;
// Close shows the last.
func (r *Run) Log() *LogWriter { return &LogWriter{r: r} }

// Progress tells how much of the step is done, from 0 to 1.
func (r *Run) Progress(share float64) { r.e.progress(r.t, share) }

// maxHeld bounds a line that is not complete yet, in bytes. It is masked as a
// whole: a piece may begin in the middle of a secret.
const maxHeld = 1 << 20

// LogWriter is not safe for concurrent use.
type LogWriter struct {
	r    *Run
	rest strings.Builder
	long bool // the line is longer than what is held
}

// Write never fails.
func (w *LogWriter) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case b == '\n':
			w.line()
		case w.rest.Len() < maxHeld:
			w.rest.WriteByte(b)
		default:
			w.long = true
		}
	}
	return len(p), nil
}

// line shows what is held, in pieces that a log takes.
func (w *LogWriter) line() {
	text := w.rest.String()
	if w.long {
		text = fmt.Sprintf("a line of more than %d KiB is left out", maxHeld>>10)
	}
	w.rest.Reset()
	w.long = false
	w.r.e.with(func() {
		if w.r.t.hide != nil {
			text = w.r.t.hide(text)
		}
	})
	for ; len(text) > maxLineSize; text = text[maxLineSize:] {
		w.r.Logf("%s", text[:maxLineSize])
	}
	w.r.Logf("%s", text)
}

// Close shows a last line that has no end.
func (w *LogWriter) Close() error {
	if w.rest.Len() > 0 {
		w.line()
	}
	return nil
}

// call runs a step's function and makes an error of a panic: other servers'
// disks are served by this process.
func call[Tx any](ctx context.Context, r *Run, f func(context.Context, *Run) (Commit[Tx], error)) (also Commit[Tx], err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicked{p, stack()}
		}
	}()
	return f(ctx, r)
}
