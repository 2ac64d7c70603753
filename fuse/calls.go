package fuse

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"syscall"
)

// calls are those that the kernel makes on a mount, or on what a slot shows.
type calls struct {
	log  *slog.Logger
	gate gate
	ctx  context.Context // ends what waits
	end  context.CancelFunc
	gone syscall.Errno // of calls after the gate was shut
	// failed is told what the caller learns as a plain EIO or ENOSPC; may be nil.
	failed func(op string, err error)
}

func newCalls(log *slog.Logger, gone syscall.Errno) *calls {
	c := &calls{log: log, gone: gone}
	c.ctx, c.end = context.WithCancel(context.Background())
	return c
}

// begin starts a call; end has to be called unless errno is not 0. ctx ends with the
// calls and not when the caller gets a signal: calls on disks never do, and programs
// that have timers, kernels in a cell above all, would take the disk for broken.
func (c *calls) begin() (ctx context.Context, end func(), errno syscall.Errno) {
	if !c.gate.enter() {
		return nil, nil, c.gone
	}
	return c.ctx, c.gate.leave, 0
}

// errno is what the caller of the file system sees of err. What becomes EIO is
// logged, since nobody else learns why. Of the errors that calls on data give only
// a lack of space is passed on: a file of the store that is missing is not the
// file that was asked for.
func (c *calls) errno(op, what string, err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if c.failed != nil {
		c.failed(op, err)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return syscall.ENOSPC
	}
	c.log.Warn("a call on the mount failed", slog.String("call", op), slog.String("file", what), slog.Any("error", err))
	return syscall.EIO
}

// nameErrno is errno of a call that looks for a disk by its name.
func (c *calls) nameErrno(op, what string, err error) syscall.Errno {
	switch {
	case errors.Is(err, syscall.ESTALE):
		return syscall.ESTALE
	case errors.Is(err, syscall.EBUSY):
		return syscall.EBUSY
	case errors.Is(err, fs.ErrNotExist):
		return syscall.ENOENT
	}
	return c.errno(op, what, err)
}
