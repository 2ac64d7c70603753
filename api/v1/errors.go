package v1

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"syscall"

	"goldstream/access"
	"goldstream/blockstore"
	"goldstream/lifecycle/store"
	"goldstream/lifecycle/task"
	"goldstream/personalize/attribute"
)

// Code names the cause of an error on the wire.
type Code string

// The codes. Each has one HTTP status, and where the block store knows the
// cause, one sentinel that errors.Is finds on the client's side too.
const (
	CodeInvalid   Code = "invalid"
	CodeInput     Code = "bad_input" // the disk image is damaged, or none
	CodeForbidden Code = "forbidden" // the daemon may not read the file: send its content
	CodeNotFound  Code = "not_found"
	CodeExists    Code = "exists"
	CodeInUse     Code = "in_use"
	CodeReadOnly  Code = "read_only"
	CodeNoSpace   Code = "no_space"
	CodeLocked    Code = "locked"
	CodeFormat    Code = "unknown_format"
	CodeDamaged   Code = "damaged"
	CodeFailed    Code = "failed"
	CodeClosed    Code = "closed"
	CodeRange     Code = "range"
	CodeCancelled Code = "cancelled"
	CodeEpoch     Code = "old_epoch"
	CodeStale     Code = "stale" // the eTag is not that of the present state
	CodeInternal  Code = "internal"

	CodeUnauthenticated Code = "unauthenticated" // no token, or one that is not good
	CodeRole            Code = "role"            // the role does not allow it
	CodePassword        Code = "password_change" // log in with a new password
	CodeThrottled       Code = "throttled"       // too many failed logins
)

// cause is one row of the table of errors, most specific first.
type cause struct {
	code   Code
	status int
	is     error
}

func causes() []cause {
	return []cause{
		{CodeCancelled, 499, context.Canceled},
		{CodeNotFound, http.StatusNotFound, blockstore.ErrNotFound},
		{CodeExists, http.StatusConflict, blockstore.ErrExists},
		{CodeInUse, http.StatusConflict, blockstore.ErrInUse},
		{CodeInput, http.StatusUnprocessableEntity, ErrInput},
		{CodeInvalid, http.StatusBadRequest, blockstore.ErrInvalid},
		{CodeReadOnly, http.StatusForbidden, blockstore.ErrReadOnly},
		{CodeNoSpace, http.StatusInsufficientStorage, blockstore.ErrNoSpace},
		{CodeNoSpace, http.StatusInsufficientStorage, syscall.ENOSPC},
		{CodeNoSpace, http.StatusInsufficientStorage, syscall.EDQUOT},
		{CodeLocked, http.StatusLocked, blockstore.ErrLocked},
		{CodeFormat, http.StatusUnprocessableEntity, blockstore.ErrFormat},
		{CodeDamaged, http.StatusUnprocessableEntity, blockstore.ErrCorrupt},
		{CodeFailed, http.StatusInternalServerError, blockstore.ErrFailed},
		{CodeEpoch, http.StatusConflict, blockstore.ErrEpoch},
		{CodeClosed, http.StatusServiceUnavailable, blockstore.ErrClosed},
		{CodeRange, http.StatusRequestedRangeNotSatisfiable, blockstore.ErrRange},
		{CodeInvalid, http.StatusBadRequest, attribute.ErrInvalid},
		{CodeInvalid, http.StatusBadRequest, task.ErrInvalid},
		{CodeNotFound, http.StatusNotFound, store.ErrNotFound},
		{CodeNotFound, http.StatusNotFound, task.ErrNotFound},
		{CodeExists, http.StatusConflict, store.ErrExists},
		{CodeExists, http.StatusConflict, task.ErrKey},
		{CodeInUse, http.StatusConflict, store.ErrInUse},
		{CodeStale, http.StatusPreconditionFailed, store.ErrStale},
		{CodeInUse, http.StatusConflict, task.ErrBusy},
		{CodeInUse, http.StatusConflict, task.ErrFinished},
		{CodeInUse, http.StatusConflict, task.ErrFull},
		{CodeFormat, http.StatusUnprocessableEntity, store.ErrFormat},
		{CodeDamaged, http.StatusUnprocessableEntity, store.ErrCorrupt},
		{CodeFailed, http.StatusInternalServerError, store.ErrFailed},
		{CodeClosed, http.StatusServiceUnavailable, store.ErrClosed},
		{CodeClosed, http.StatusServiceUnavailable, task.ErrClosed},
		{CodeUnauthenticated, http.StatusUnauthorized, access.ErrUnknown},
		{CodeRole, http.StatusForbidden, access.ErrForbidden},
		{CodePassword, http.StatusForbidden, access.ErrOneTime},
		{CodeThrottled, http.StatusTooManyRequests, access.ErrThrottle},
		{CodeInvalid, http.StatusBadRequest, access.ErrInvalid},
		{CodeNotFound, http.StatusNotFound, access.ErrNotFound},
		{CodeExists, http.StatusConflict, access.ErrExists},
		{CodeInUse, http.StatusConflict, access.ErrInUse},
		{CodeInUse, http.StatusConflict, access.ErrFull},
		{CodeFormat, http.StatusUnprocessableEntity, access.ErrFormat},
		{CodeDamaged, http.StatusUnprocessableEntity, access.ErrCorrupt},
		{CodeForbidden, http.StatusForbidden, fs.ErrPermission},
		{CodeNotFound, http.StatusNotFound, fs.ErrNotExist},
		{CodeInternal, http.StatusInternalServerError, nil},
	}
}

// ErrStale is the cause of a change of what somebody else has changed meanwhile.
var ErrStale = store.ErrStale

// ErrInput is the cause of a disk image that cannot be imported: damaged, cut
// short, or no disk image.
var ErrInput = errors.New("bad input")

// ErrStopping is the cause with which the server's base context ends when the
// daemon stops, and what long work then answers with.
var ErrStopping error = &Error{
	Code:    CodeClosed,
	Message: "the daemon was stopped before the work was done; nothing of it is left",
	Advice:  "Start the daemon and run the command again.",
}

// Error is an error on the wire. The client returns it; errors.Is finds the
// block store's sentinel in it.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"` // what to do about it
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the sentinel of the error's code, or nil.
func (e *Error) Unwrap() error {
	for _, c := range causes() {
		if c.code == e.Code {
			return c.is
		}
	}
	return nil
}

// Status returns the HTTP status of the error's code.
func (e *Error) Status() int {
	for _, c := range causes() {
		if c.code == e.Code {
			return c.status
		}
	}
	return http.StatusInternalServerError
}

// ErrorOf returns err as it goes over the wire.
func ErrorOf(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: codeOf(err), Message: err.Error()}
}

func codeOf(err error) Code {
	for _, c := range causes() {
		if c.is != nil && errors.Is(err, c.is) {
			return c.code
		}
	}
	return CodeInternal
}

// invalid makes the error of a request that makes no sense.
func invalid(message string) error {
	return &Error{Code: CodeInvalid, Message: message}
}
