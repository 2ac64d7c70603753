package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// Listener says where NBD is served. How (TLS) will be a field of it.
type Listener struct {
	// Address is host:port or unix:PATH.
	Address string
}

// listen opens the listener and returns the URI by which clients reach it.
func (l Listener) listen() (net.Listener, string, error) {
	if path, ok := strings.CutPrefix(l.Address, "unix:"); ok {
		return listenUnix(path)
	}
	if _, _, err := net.SplitHostPort(l.Address); err != nil {
		return nil, "", fmt.Errorf("the NBD address %q is neither host:port nor unix:PATH", l.Address)
	}
	ln, err := net.Listen("tcp", l.Address)
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("another program serves on %s: stop it or choose another address with --nbd: %w", l.Address, err)
	}
	if err != nil {
		return nil, "", err
	}
	return ln, "nbd://" + ln.Addr().String(), nil
}

// listenUnix replaces a socket that nobody listens on any more.
func listenUnix(path string) (net.Listener, string, error) {
	ln, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && abandoned(path) {
		if err := os.Remove(path); err != nil {
			return nil, "", err
		}
		ln, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, "", err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		ln.Close()
		return nil, "", err
	}
	return ln, "nbd+unix:///?socket=" + strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(path)), nil
}

func abandoned(path string) bool {
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode().Type() != os.ModeSocket {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// exposed tells whether others than this host can reach the address.
func exposed(a net.Addr) bool {
	t, ok := a.(*net.TCPAddr)
	return ok && !t.IP.IsLoopback()
}
