package attribute

import (
	"errors"
	"fmt"
)

// ErrInvalid is the cause of every error of this package: what was given makes
// no sense.
var ErrInvalid = errors.New("invalid")

type invalid struct{ text string }

func (e *invalid) Error() string { return e.text }
func (e *invalid) Unwrap() error { return ErrInvalid }

func invalidf(format string, args ...any) error { return Invalid(format, args...) }

// Invalid makes an error with the cause ErrInvalid.
func Invalid(format string, args ...any) error { return &invalid{fmt.Sprintf(format, args...)} }
