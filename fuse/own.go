package fuse

import (
	"context"
	"os"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// refuseOwn refuses a call that a thread of this process makes. It is too late then
// to be safe, but such a call is noticed the first time it is made, and not when a
// process was killed in it.
func (s *Slot) refuseOwn(ctx context.Context, call string) syscall.Errno {
	if s.o.ownCalls || !ownThread(ctx) {
		return 0
	}
	s.o.Logger.Error("this process calls a file system that it serves itself", "call", call, "mount", s.dir)
	return syscall.EDEADLK
}

// ownThread tells whether the caller, a thread to the kernel, is one of ours.
func ownThread(ctx context.Context) bool {
	caller, ok := gofuse.FromContext(ctx)
	return ok && caller.Pid != 0 && unix.Tgkill(os.Getpid(), int(caller.Pid), 0) == nil
}
