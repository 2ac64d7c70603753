package fuse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	gofuse "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// maxBackground is how many reads ahead the kernel may ask for at once.
	maxBackground = 32
	// maxInFlight bounds the memory of requests that are being answered, bytes.
	maxInFlight = 64 << 20
	// initPatience is how long the kernel's first request may take, which it makes
	// as it mounts.
	initPatience = 2 * time.Second
)

// Options say what a Server shows.
type Options struct {
	Images, Volumes Collection
	// Writable are open volumes, by name, whose files can be written. The caller
	// closes them when the server is done or stopped.
	Writable map[string]WritableDisk
	// UID and GID own all files: those of whoever mounted.
	UID, GID uint32
	// Logger takes what failed, in full: on the other side there is only an errno.
	// Default: nothing is logged.
	Logger *slog.Logger
}

// Server answers for one mount.
type Server struct {
	*calls
	o    Options
	done chan struct{}
	mu   struct {
		sync.Mutex
		open map[*file]struct{}
	}
}

// Serve serves a device that Mount returned, and closes it. It returns once the
// mount can be used.
func Serve(dev *os.File, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{calls: newCalls(o.Logger, syscall.ESHUTDOWN), o: o, done: make(chan struct{})}
	s.mu.open = map[*file]struct{}{}
	srv, err := newServer(dev, fs.NewNodeFS(&rootDir{srv: s}, &fs.Options{}), o.Logger)
	if err != nil {
		s.end()
		return nil, err
	}
	go func() {
		defer close(s.done)
		srv.Serve()
		_ = s.Stop(context.Background())
	}()
	return s, nil
}

// newServer has go-fuse read from a copy of dev: it wants a descriptor of its own,
// named as a path.
func newServer(dev *os.File, raw gofuse.RawFileSystem, log *slog.Logger) (*gofuse.Server, error) {
	defer dev.Close()
	fd, err := unix.FcntlInt(dev.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	if err := awaitInit(fd); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	srv, err := gofuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", fd), &gofuse.MountOptions{
		Name:                    source,
		MaxWrite:                maxIO,
		MaxReadAhead:            maxIO,
		MaxBackground:           maxBackground,
		MaxInflightRequestBytes: maxInFlight,
		DisableXAttrs:           true,
		Logger:                  slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	})
	if err != nil {
		return nil, fmt.Errorf("the kernel did not begin to use the mount: %w", err)
	}
	return srv, nil
}

// awaitInit waits for the kernel's first request, which go-fuse reads without end:
// somebody else may have read it before.
func awaitInit(fd int) error {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(initPatience); ; {
		n, err := unix.Poll(ready, int(max(0, time.Until(end).Milliseconds())))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return errors.New("the kernel did not begin to use the mount: its first request does not come")
		default: // what it is, and why there is none, is for the read
			return nil
		}
	}
}

// Done is closed when the mount has ended: it was unmounted, and the last file
// on it closed.
func (s *Server) Done() <-chan struct{} { return s.done }

// Stop has everything on the mount fail from now on, waits for calls that run and
// closes all disks that are open. The mount itself stays until it is unmounted.
// The error is that of ctx, if calls do not end; then disks stay open.
func (s *Server) Stop(ctx context.Context) error {
	s.end()
	if err := s.gate.shut(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	open := s.mu.open
	s.mu.open = map[*file]struct{}{}
	s.mu.Unlock()
	for f := range open {
		f.close()
	}
	return nil
}

func (s *Server) opened(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.open[f] = struct{}{}
}

// released closes a file unless Stop did.
func (s *Server) released(f *file) {
	s.mu.Lock()
	_, open := s.mu.open[f]
	delete(s.mu.open, f)
	s.mu.Unlock()
	if open {
		f.close()
	}
}
