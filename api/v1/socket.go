package v1

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// SocketName is the name of the API's socket in a data directory.
const SocketName = "goldstream.sock"

// maxSocketPath is what a sockaddr_un holds with its NUL. Longer paths are
// reached through a descriptor of their directory.
const maxSocketPath = 107

// Listen makes the socket with mode 0660, replacing one that stands there. The
// caller holds the data directory's lock, so that one is nobody's.
//
// It is bound under another name and renamed: nobody sees it with the modes of
// the umask, and nobody finds no socket while one is replaced. Closing the
// listener leaves the file.
func Listen(path string) (net.Listener, error) {
	if fi, err := os.Lstat(path); err == nil && fi.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("%s is in the way: it is no socket; move it away", path)
	}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("cannot make the socket %s: %w", path, err)
	}
	short, done, err := ShortPath(fresh)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		var op *net.OpError // names the passing name
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fmt.Errorf("cannot make the socket %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	if err := publish(fresh, path); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func publish(fresh, path string) error {
	if err := os.Chmod(fresh, 0o660); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// Dial connects to the socket.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	short, done, err := ShortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	d := net.Dialer{Timeout: 10 * time.Second}
	return d.DialContext(ctx, "unix", short)
}

// ShortPath returns a path to the same file that fits into a socket address;
// it is good until done is called.
func ShortPath(path string) (short string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, filepath.Base(path)), func() { unix.Close(fd) }, nil
}

// Pair is a listener inside one process: each Dial is one end of a socket pair
// whose other end Accept returns.
type Pair struct {
	conns  chan net.Conn
	closed chan struct{}
}

// NewPair returns an empty Pair.
func NewPair() *Pair {
	return &Pair{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Dial connects to whoever accepts.
func (p *Pair) Dial(ctx context.Context) (net.Conn, error) {
	near, far, err := socketPair()
	if err != nil {
		return nil, err
	}
	select {
	case p.conns <- far:
		return near, nil
	case <-p.closed:
		err = net.ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	near.Close()
	far.Close()
	return nil, err
}

// Accept waits for a Dial.
func (p *Pair) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial. It is called once.
func (p *Pair) Close() error {
	close(p.closed)
	return nil
}

// Addr returns an address without a name.
func (p *Pair) Addr() net.Addr { return &net.UnixAddr{Net: "unix"} }

func socketPair() (near, far net.Conn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	near, err = fileConn(fds[0])
	if err != nil {
		unix.Close(fds[1])
		return nil, nil, err
	}
	far, err = fileConn(fds[1])
	if err != nil {
		near.Close()
		return nil, nil, err
	}
	return near, far, nil
}

// fileConn makes a connection of a descriptor and closes the descriptor.
func fileConn(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "socketpair")
	defer f.Close()
	return net.FileConn(f)
}
