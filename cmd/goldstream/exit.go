package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"syscall"

	"goldstream/access"
	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/daemon"
	"goldstream/personalize/attribute"
	"goldstream/personalize/sandbox"
)

// Exit codes; the package's description lists them for users.
const (
	exitOK        = 0
	exitFailure   = 1
	exitUsage     = 2
	exitNotFound  = 3
	exitConflict  = 4
	exitNoSpace   = 5
	exitLocked    = 6
	exitDamaged   = 7
	exitDenied    = 8
	exitCancelled = 130
)

const exitTable = `
EXIT CODES:
   0    done
   1    failed
   2    usage: an argument or flag makes no sense
   3    not found
   4    exists already, is in use, or was changed meanwhile
   5    no space left
   6    locked by another process
   7    damaged data: found by verify or check, or in the store itself
   8    not allowed: no login, a bad token, or another role
   130  cancelled
`

// usageError is a command line that makes no sense.
type usageError struct{ msg string }

func (u *usageError) Error() string { return u.msg }

func usagef(format string, args ...any) error {
	return &usageError{msg: fmt.Sprintf(format, args...)}
}

func exitCode(err error) int {
	var usage *usageError
	switch {
	case errors.Is(err, errCancelled):
		return exitCancelled
	case errors.As(err, &usage):
		return exitUsage
	}
	for _, row := range []struct {
		code   int
		causes []error
	}{
		{exitNotFound, []error{blockstore.ErrNotFound, fs.ErrNotExist, sandbox.ErrMissing, sandbox.ErrNotPrepared}},
		{exitConflict, []error{blockstore.ErrExists, blockstore.ErrInUse, v1.ErrStale}},
		{exitNoSpace, []error{blockstore.ErrNoSpace, syscall.ENOSPC, syscall.EDQUOT}},
		{exitLocked, []error{blockstore.ErrLocked}},
		{exitDamaged, []error{blockstore.ErrCorrupt}},
		{exitDenied, []error{access.ErrUnknown, access.ErrForbidden, access.ErrOneTime, access.ErrThrottle}},
		{exitUsage, []error{access.ErrInvalid, blockstore.ErrInvalid, attribute.ErrInvalid}},
	} {
		if slices.ContainsFunc(row.causes, func(c error) bool { return errors.Is(err, c) }) {
			return row.code
		}
	}
	return exitFailure
}

// report prints an error.
func report(w io.Writer, err error, asJSON bool) {
	e := *v1.ErrorOf(err)
	if code := exitCode(err); code == exitUsage {
		e.Code = v1.CodeInvalid
	} else if code == exitCancelled {
		e.Code = v1.CodeCancelled
	}
	if e.Message != err.Error() {
		e.Message = err.Error() // what was wrapped around it
	}
	if e.Advice == "" {
		e.Advice = advice(err)
	}
	if asJSON {
		_ = json.NewEncoder(w).Encode(map[string]v1.Error{"error": e})
		return
	}
	fmt.Fprintf(w, "goldstream: %s\n", e.Message)
	if e.Advice != "" {
		fmt.Fprintf(w, "  %s\n", e.Advice)
	}
}

// advice says what to do about errors whose own text does not.
func advice(err error) string {
	var usage *usageError
	var cure *cured
	switch {
	case errors.As(err, &cure) && cure.cure != "":
		return cure.cure
	case errors.As(err, &usage):
		return "'goldstream --help' lists the commands, 'goldstream NOUN VERB --help' explains one."
	case errors.Is(err, access.ErrThrottle):
		return "The daemon's host needs no login: run the command there."
	case errors.Is(err, access.ErrUnknown):
		return "'goldstream login' begins a session at a server; 'goldstream token create' makes a token that lasts."
	case errors.Is(err, blockstore.ErrNotFound) && !errors.Is(err, daemon.ErrNoData):
		return "'goldstream image list', 'goldstream volume list', 'goldstream snapshot list VOLUME', 'goldstream plan list' and 'goldstream task list' show what there is."
	case errors.Is(err, fs.ErrPermission):
		return "Run it as root or as a member of the group that owns the data directory, while the daemon runs."
	}
	return ""
}
