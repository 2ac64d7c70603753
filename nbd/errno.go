package nbd

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Error values on the wire; proto: Error values. They are Linux's numbers on
// every platform.
const (
	errnoPerm     = 1
	errnoIO       = 5
	errnoInval    = 22
	errnoNoSpace  = 28
	errnoNotSup   = 95
	errnoShutdown = 108
)

// wireError is what a request is answered with. The message reaches clients
// with structured replies only.
type wireError struct {
	errno uint32
	msg   string
}

// Error says what the client is told.
func (e *wireError) Error() string { return e.msg }

// wireErrno maps what a Device returned; proto: Error values. ENOTSUP stands
// for "not fast" and nothing else, so only fast says whether it may be sent.
func wireErrno(err error, fast bool) uint32 {
	var own *wireError
	if errors.As(err, &own) {
		return own.errno
	}
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return errnoIO
	}
	switch errno {
	case syscall.EPERM, syscall.EACCES, syscall.EROFS:
		return errnoPerm
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG:
		return errnoNoSpace
	case syscall.EINVAL:
		return errnoInval
	case syscall.ENOTSUP:
		if fast {
			return errnoNotSup
		}
	}
	return errnoIO
}

// deviceError turns a Device's failure into an answer. Its text stays in the
// log: it may name files of this host.
func (c *conn) deviceError(r request, err error) *wireError {
	var own *wireError
	if errors.As(err, &own) {
		return own
	}
	errno := wireErrno(err, r.kind == cmdWriteZeroes && r.flags&cmdFlagFastZero != 0)
	if errno == errnoNotSup {
		return &wireError{errno, "zeroing this range would not be fast"} // no failure
	}
	c.logFailure(r, errno, err)
	switch errno {
	case errnoPerm:
		return &wireError{errno, "the disk does not permit this"}
	case errnoNoSpace:
		return &wireError{errno, "no space left on the server; free some or extend the pool, then try again"}
	case errnoInval:
		return &wireError{errno, "the disk refused the request as invalid"}
	}
	return &wireError{errno, "input/output error; the server's log has the cause"}
}

// logFailure counts a failure of the device and logs its cause. The first,
// second, fourth, eighth … of a connection are logged, so that a broken disk,
// or a full pool, does not flood the log.
func (c *conn) logFailure(r request, answered uint32, err error) {
	if errors.Is(err, context.Canceled) && c.ctx.Err() != nil {
		return // we gave up ourselves; nobody waits for the answer
	}
	n := c.failures.Add(1)
	if n&(n-1) != 0 {
		return
	}
	c.srv.warn("nbd: request failed", "export", c.export, "remote", c.remote,
		"answered", unix.ErrnoName(syscall.Errno(answered)), "command", commandName(r.kind), "offset", r.offset, "length", r.length,
		"failures", n, "err", err)
}

func commandName(kind uint16) string {
	names := [...]string{"READ", "WRITE", "DISC", "FLUSH", "TRIM", "CACHE", "WRITE_ZEROES", "BLOCK_STATUS"}
	if int(kind) < len(names) {
		return names[kind]
	}
	return "unknown"
}
