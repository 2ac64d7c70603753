package session

import (
	"context"
	"crypto/rsa"
	"fmt"
	"time"

	"goldstream/personalize"
	"goldstream/personalize/runner"
	"goldstream/personalize/sandbox"
)

// Options say who hears of a session.
type Options struct {
	// Logf takes what happens, in lines. It must hide secrets. It must be set.
	Logf func(format string, args ...any)
	// Local starts the script cell, when a script first needs it; the session ends it.
	// Nil: scripts that need one fail.
	Local func(context.Context) (runner.Local, error)
	// RSAKey returns a key of 3072 bits that nobody else gets. Nil: it is made.
	RSAKey func(context.Context) (*rsa.PrivateKey, error)
	// Progress is told after each step how much is done, from 0 to 1. May be nil.
	Progress func(share float64)
}

// StepError says which step failed.
type StepError struct {
	Number, Of int
	Name       string
	Err        error
}

func (e *StepError) Error() string {
	return fmt.Sprintf("step %d of %d, %s: %v", e.Number, e.Of, e.Name, e.Err)
}

// Unwrap returns why.
func (e *StepError) Unwrap() error { return e.Err }

// run is a session while its steps run.
type run struct {
	ctx     context.Context // the session's
	cell    *sandbox.Cell
	plan    *personalize.Plan
	o       Options
	mounted bool            // by native steps
	scripts *runner.Session // nil until the first script
}

// Run runs the steps of a program on the disk of a cell, on which nothing is mounted.
// It leaves nothing mounted unless it fails. The error is a *StepError.
func Run(ctx context.Context, cell *sandbox.Cell, plan *personalize.Plan, o Options) error {
	x := &run{ctx: ctx, cell: cell, plan: plan, o: o}
	defer x.close()
	for i, s := range plan.Steps {
		began := time.Now()
		o.Logf("step %d of %d, %s", i+1, len(plan.Steps), s.Name)
		if err := x.step(ctx, i+1, s); err != nil {
			return &StepError{i + 1, len(plan.Steps), s.Name, err}
		}
		o.Logf("step %d took %v", i+1, time.Since(began).Round(time.Millisecond))
		if o.Progress != nil {
			o.Progress(float64(i+1) / float64(len(plan.Steps)))
		}
	}
	// An unmount that fails may be lost writes of any step.
	if err := cell.UnmountAll(ctx); err != nil {
		return &StepError{len(plan.Steps), len(plan.Steps), "unmounting", err}
	}
	return nil
}

func (x *run) close() {
	if x.scripts != nil {
		x.scripts.Close()
	}
}

func (x *run) step(ctx context.Context, number int, s personalize.PlanStep) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if s.Native == nil {
		return x.script(ctx, number, s)
	}
	return x.native(ctx, s)
}
