package v1

import (
	"context"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

type peerKey struct{}

// withPeer notes in ctx who is at the other end of c, as the kernel tells it.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uid, ok := peerUID(c)
	if !ok {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

func peerUID(c net.Conn) (uint32, bool) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return 0, false
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, false
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || credErr != nil {
		return 0, false
	}
	return cred.Uid, true
}

// mayReadFiles tells whether the peer may have files opened with the daemon's
// rights: root and the daemon's own user, who could read them anyway.
func mayReadFiles(ctx context.Context) bool {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	return ok && (uid == 0 || int(uid) == os.Geteuid())
}
