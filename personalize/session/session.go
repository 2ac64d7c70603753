package session

import (
	"context"
	"fmt"
	"time"

	"goldstream/personalize"
	"goldstream/personalize/attribute"
	"goldstream/personalize/sandbox"
)

// Options say who hears of a session.
type Options struct {
	// Logf takes what happens, in lines. It must hide secrets. It must be set.
	Logf func(format string, args ...any)
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

// Check refuses a program that has steps of a kind that this version cannot run.
// Error: attribute.ErrInvalid.
func Check(steps []personalize.Step) error {
	for i, s := range steps {
		if s.Native == nil {
			return attribute.Invalid("step %d is the plan script %q, which this version cannot run yet", i+1, s.Name)
		}
	}
	return nil
}

// run is a session while its steps run.
type run struct {
	cell    *sandbox.Cell
	plan    *personalize.Plan
	o       Options
	mounted bool // by native steps
}

// Run runs the steps of a program on the disk of a cell, on which nothing is mounted.
// It leaves nothing mounted unless it fails. The error is a *StepError.
func Run(ctx context.Context, cell *sandbox.Cell, plan *personalize.Plan, o Options) error {
	x := &run{cell: cell, plan: plan, o: o}
	for i, s := range plan.Steps {
		began := time.Now()
		o.Logf("step %d of %d, %s", i+1, len(plan.Steps), s.Name)
		if err := x.step(ctx, s); err != nil {
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

// step is the place for another kind: it runs in the same session.
func (x *run) step(ctx context.Context, s personalize.PlanStep) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if s.Native == nil {
		return attribute.Invalid("it is a plan script, which this version cannot run yet")
	}
	return x.native(ctx, s)
}
