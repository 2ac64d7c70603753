package task

import (
	"context"
	"slices"
	"time"
)

// Policy says what becomes of a task that a kill cut short.
type Policy int

// The policies.
const (
	Resume   Policy = iota // goes on with the step that it was at
	RollBack               // is undone
)

// Kind is a sort of work. Tx is what a commit of the journal is made with.
type Kind[Tx any] struct {
	Name  string
	Steps []Step[Tx]
	// Deadline is how long a task may run, all its runs together; 0 sets no
	// limit. Undoing has no part in it.
	Deadline time.Duration
	AtCrash  Policy
}

// has tells whether a task has the steps of the kind, in their order.
func (k Kind[Tx]) has(steps []StepInfo) bool {
	return slices.EqualFunc(k.Steps, steps, func(s Step[Tx], i StepInfo) bool { return s.Name == i.Name })
}

// Commit is what a step wants committed together with the news that it is
// done. It must be quick, and may be run again if the commit fails. May be nil.
type Commit[Tx any] func(Tx) error

// Step is a part of a kind. Do and Undo may be run again after a kill, and
// Undo also where Do was never begun.
type Step[Tx any] struct {
	Name string
	// Weight is its share of the whole, for the percentage; 0 counts as 1.
	Weight int
	Do     func(ctx context.Context, r *Run) (Commit[Tx], error)
	Undo   func(ctx context.Context, r *Run) (Commit[Tx], error) // may be nil
	// NoReturn says that once the step is done only going on makes sense: no
	// cancel, deadline or kill has the task undone, only a step that fails.
	NoReturn bool
}

func (s Step[Tx]) weight() int { return max(s.Weight, 1) }

// Journal keeps tasks. A save is durable as a whole, or not done, when it
// returns; a record of nil is removed.
type Journal[Tx any] interface {
	LoadJournal(ctx context.Context, each func(id string, record []byte) error) error
	SaveJournal(ctx context.Context, who, why, task string, records map[string][]byte, also func(Tx) error) error
}

// Clock is time for an engine; the default is the machine's.
type Clock interface {
	// Wall is the time of day, for people.
	Wall() time.Time
	// Uptime is a time that only grows, whatever is done to the time of day.
	Uptime() time.Duration
	// After calls f in a goroutine of its own once d has passed by Uptime.
	After(d time.Duration, f func()) (stop func())
}

type machineClock struct{ start time.Time }

func (c machineClock) Wall() time.Time       { return time.Now() }
func (c machineClock) Uptime() time.Duration { return time.Since(c.start) } // monotonic
func (c machineClock) After(d time.Duration, f func()) func() {
	t := time.AfterFunc(d, f)
	return func() { t.Stop() }
}

// bound tells whether a task is behind a step of no return.
func (k Kind[Tx]) bound(steps []StepInfo) bool {
	for i, s := range k.Steps {
		if s.NoReturn && steps[i].Done {
			return true
		}
	}
	return false
}
