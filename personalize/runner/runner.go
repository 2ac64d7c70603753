package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"goldstream/personalize"
	"goldstream/personalize/attribute"
	"goldstream/personalize/guestfish"
	"goldstream/personalize/sandbox"
)

// Options say how to run a plan.
type Options struct {
	// Local starts the script cell, when a script first needs it; the run closes
	// it. Nil: scripts that need it fail.
	Local func(context.Context) (Local, error)

	// Log hears what happens, in order, from one goroutine at a time. Nil:
	// nobody does.
	Log func(Line)

	// LogLimit bounds the log, in bytes; default 16 MiB. What is more is left
	// out, and said so.
	LogLimit int64

	// CommandTimeout bounds each command; default 10 minutes. The plan as a whole
	// is bounded by ctx and by the cells' deadlines.
	CommandTimeout time.Duration
}

const (
	defaultLogLimit       = 16 << 20
	defaultCommandTimeout = 10 * time.Minute
)

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = func(Line) {}
	}
	if o.LogLimit == 0 {
		o.LogLimit = defaultLogLimit
	}
	if o.CommandTimeout == 0 {
		o.CommandTimeout = defaultCommandTimeout
	}
	return o
}

// ErrNative is a step that is no script: whoever knows how carries it out between
// scripts, in the same cell.
var ErrNative = errors.New("it is no plan script")

// Run carries out a plan of scripts on a disk. An error of a command is an *Error.
func Run(ctx context.Context, disk Disk, plan *personalize.Plan, o Options) error {
	s := New(ctx, disk, plan.Values, o)
	defer s.Close()
	if err := disk.UnmountAll(ctx); err != nil {
		return fmt.Errorf("unmounting what was mounted before: %w", err)
	}
	for i, step := range plan.Steps {
		if err := s.Step(ctx, i+1, step); err != nil {
			return err
		}
	}
	if err := disk.UnmountAll(ctx); err != nil {
		return fmt.Errorf("unmounting at the end: %w", err)
	}
	return nil
}

// Session is a run, for who carries out steps of other kinds in between. Its methods
// are for one goroutine.
type Session struct {
	disk     Disk
	o        Options
	log      *journal
	commands map[string]handler
	start    func() (Local, error)
	local    Local    // nil: not started yet
	env      []string // of local shells, NAME=value
	dir      string   // of local shells and files; "": where the cell begins
	systems  []system // that inspect-os found
	exited   bool
}

// New begins a run. ctx is the script cell's: its end kills it. Close it. What is
// mounted is whatever the caller left so.
func New(ctx context.Context, disk Disk, values *attribute.Values, o Options) *Session {
	o = o.withDefaults()
	s := &Session{disk: disk, o: o, commands: commands()}
	s.log = newJournal(o, attribute.NewMasker(values.Secrets()))
	s.start = func() (Local, error) {
		if o.Local == nil {
			return nil, failf("there is no place for shells and local files")
		}
		return o.Local(ctx)
	}
	return s
}

// Step carries out one step of the plan, with the local files and mounts that those
// before it left. Behind an exit, steps do nothing. An error of a command is an
// *Error; of a step of another kind, ErrNative.
func (s *Session) Step(ctx context.Context, number int, step personalize.PlanStep) error {
	if step.Native != nil {
		return fmt.Errorf("step %d, %s: %w", number, step.Name, ErrNative)
	}
	s.log.begin(number, step.Name)
	for _, w := range step.Warnings {
		s.log.line(Failure, "left out: "+w.String())
	}
	if s.exited {
		s.log.line(Output, "left out: a script before it has ended all with exit")
		return nil
	}
	err := s.run(ctx, step.Commands, 0)
	if errors.Is(err, errExit) {
		s.exited = true
		return nil
	}
	return err
}

// Close ends the script cell.
func (s *Session) Close() {
	if s.local != nil {
		s.local.Close()
		s.local = nil
	}
}

// errExit is a script that ends the run.
var errExit = errors.New("exit")

// run carries out commands until one fails. depth counts <! inside each other.
func (s *Session) run(ctx context.Context, list []guestfish.Command, depth int) error {
	for _, c := range list {
		if err := ctx.Err(); err != nil {
			return s.failed(c, context.Cause(ctx))
		}
		s.log.line(Command, c.String())
		err := s.one(ctx, c, depth)
		s.log.flush()
		switch {
		case err == nil:
			continue
		case errors.Is(err, errExit):
			return err
		case c.MayFail && soft(err):
			s.log.line(Failure, "ignored: "+err.Error())
			continue
		}
		return s.failed(c, err)
	}
	return nil
}

// failed gives an error the place of its command, the innermost one.
func (s *Session) failed(c guestfish.Command, err error) error {
	var placed *Error
	if errors.As(err, &placed) {
		return err
	}
	e := &Error{Step: s.log.step, Position: c.Position, Line: s.log.mask(c.String()), text: s.log.mask(err.Error()), cause: err}
	s.log.line(Failure, e.text)
	return e
}

var errTimeout = errors.New("its time is up")

// one carries out one command.
func (s *Session) one(ctx context.Context, c guestfish.Command, depth int) error {
	if c.Kind == guestfish.Inline { // each of its lines has its own time
		return s.inline(ctx, c, depth)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.o.CommandTimeout, fmt.Errorf("%w: a command has %v", errTimeout, s.o.CommandTimeout))
	defer cancel()
	if c.Kind == guestfish.Shell {
		return s.shell(ctx, c.Shell(), nil, s.log.stdout)
	}
	return s.guest(ctx, c)
}

// Error is a command that ended the run.
type Error struct {
	Step     int                // from 1
	Position guestfish.Position // in its script
	Line     string             // masked
	text     string             // masked
	cause    error              // may hold secrets: so there is no Unwrap
}

func (e *Error) Error() string {
	const most = 200
	line := strings.TrimSpace(e.Line)
	if len(line) > most {
		line = line[:most] + "…"
	}
	return fmt.Sprintf("step %d, %s: %s: %s", e.Step, e.Position, line, e.text)
}

// Is makes errors.Is see the cause.
func (e *Error) Is(target error) bool { return errors.Is(e.cause, target) }

// failure is a soft failure of the runner's own.
type failure struct{ text string }

func (f *failure) Error() string { return f.text }

func failf(format string, args ...any) error { return &failure{fmt.Sprintf(format, args...)} }

// soft tells a command that failed from the end of a cell.
func soft(err error) bool {
	var own *failure
	var failed *sandbox.Error
	var exit *sandbox.ExitError
	var bad guestfish.Problems
	var inner *Error
	return errors.As(err, &own) || errors.As(err, &failed) || errors.As(err, &exit) || errors.As(err, &bad) ||
		errors.As(err, &inner) && soft(inner.cause)
}
