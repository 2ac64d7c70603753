package access

import (
	"errors"
	"fmt"
	"time"
)

// Causes of errors.
var (
	// ErrUnknown is the cause of a name or password, a session or a token that is
	// not known. It does not say which.
	ErrUnknown = errors.New("not authenticated")
	// ErrForbidden is the cause of what the role does not allow.
	ErrForbidden = errors.New("not allowed")
	// ErrOneTime is the cause of a login with a password that has to be changed first.
	ErrOneTime  = errors.New("the password must be changed")
	ErrThrottle = errors.New("too many failed logins")
	ErrInvalid  = errors.New("invalid")
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("exists")
	ErrInUse    = errors.New("in use")
	// ErrFormat is the cause of a file of another version.
	ErrFormat = errors.New("unknown format")
	// ErrCorrupt is the cause of a file that is damaged.
	ErrCorrupt = errors.New("damaged")
	ErrFull    = errors.New("too many")
)

// caused is an error of one of these causes with a text of its own.
type caused struct {
	cause error
	text  string
}

func (c *caused) Error() string { return c.text }
func (c *caused) Unwrap() error { return c.cause }

func errf(cause error, format string, args ...any) error {
	return &caused{cause, fmt.Sprintf(format, args...)}
}

// ThrottleError is an ErrThrottle with the time to wait.
type ThrottleError struct{ Wait time.Duration }

func (e *ThrottleError) Error() string {
	return fmt.Sprintf("too many failed logins: try again in %s", e.Wait.Round(time.Second))
}

// Unwrap returns ErrThrottle.
func (e *ThrottleError) Unwrap() error { return ErrThrottle }
