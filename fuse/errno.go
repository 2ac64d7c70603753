package fuse

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"syscall"
)

// errno is what the caller of the file system sees of err. What becomes EIO is
// logged, since nobody else learns why. Of the errors that calls on data give only
// a lack of space is passed on: a file of the store that is missing is not the
// file that was asked for.
func (s *Server) errno(op, what string, err error) syscall.Errno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) && s.ctx.Err() == nil:
		return syscall.EINTR
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return syscall.ENOSPC
	}
	s.log.Warn("a call on the mount failed", slog.String("call", op), slog.String("file", what), slog.Any("error", err))
	return syscall.EIO
}

// nameErrno is errno of a call that looks for a disk by its name.
func (s *Server) nameErrno(op, what string, err error) syscall.Errno {
	switch {
	case errors.Is(err, syscall.ESTALE):
		return syscall.ESTALE
	case errors.Is(err, syscall.EBUSY):
		return syscall.EBUSY
	case errors.Is(err, fs.ErrNotExist):
		return syscall.ENOENT
	}
	return s.errno(op, what, err)
}

// begin starts a call; end has to be called unless errno is not 0.
func (s *Server) begin() (end func(), errno syscall.Errno) {
	if !s.gate.enter() {
		return nil, syscall.ESHUTDOWN
	}
	return s.gate.leave, 0
}

// beginLong is begin for what may wait long: ctx ends with Stop too.
func (s *Server) beginLong(ctx context.Context) (_ context.Context, end func(), errno syscall.Errno) {
	leave, errno := s.begin()
	if errno != 0 {
		return ctx, nil, errno
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel(); leave() }, 0
}
