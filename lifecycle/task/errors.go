package task

import (
	"errors"
	"fmt"
)

// Causes that callers tell apart with errors.Is.
var (
	ErrNotFound = errors.New("no such task")
	ErrBusy     = errors.New("busy")      // another task has the subject
	ErrKey      = errors.New("key reuse") // the request key was used for something else
	ErrInvalid  = errors.New("invalid task")
	ErrFinished = errors.New("finished")
	ErrClosed   = errors.New("closed")
	ErrFull     = errors.New("too many tasks")
	// ErrStopping is the cause with which the context of a step ends when the
	// engine closes.
	ErrStopping = errors.New("stopping")
	// ErrCancelled and ErrDeadline are the other causes.
	ErrCancelled = errors.New("cancelled")
	ErrDeadline  = errors.New("out of time")
)

// fault pairs a message for people with its cause for errors.Is.
type fault struct {
	text  string
	cause error
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.cause }

func errf(cause error, format string, args ...any) error {
	return &fault{fmt.Sprintf(format, args...), cause}
}

// Advised is an error that says what to do about it.
type Advised interface {
	error
	Advice() []string
}
