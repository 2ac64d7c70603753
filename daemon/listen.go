package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"goldstream/api/v1"
)

// Listener says where NBD is served, and how.
type Listener struct {
	// Address is host:port or unix:PATH.
	Address string
	// TLS is one of TLSOff, TLSOn and TLSRequired. Default: on where others than
	// this host can reach the address, else off.
	TLS string
}

// What Listener.TLS may be.
const (
	TLSOff      = "off"      // there is none
	TLSOn       = "on"       // clients may use it
	TLSRequired = "required" // nothing works without
)

// ParseListener reads ADDRESS[,tls=off|on|required] and checks it.
func ParseListener(s string) (Listener, error) {
	l := Listener{Address: s}
	if i := strings.LastIndex(s, ",tls="); i >= 0 {
		l.Address, l.TLS = s[:i], s[i+len(",tls="):]
		if !slices.Contains([]string{TLSOff, TLSOn, TLSRequired}, l.TLS) {
			return l, fmt.Errorf("tls=%s: there are off, on and required", l.TLS)
		}
	}
	return l, l.Check()
}

// mode is what TLS means for the address that is listened on.
func (l Listener) mode(a net.Addr) string {
	switch {
	case l.TLS != "":
		return l.TLS
	case exposed(a):
		return TLSOn
	}
	return TLSOff
}

// maxSocketPath is what a socket's address holds: clients have no other way to
// reach it.
const maxSocketPath = 107

// Check refuses, before anything is opened, an address that cannot be listened
// on, and says what to do.
func (l Listener) Check() error {
	if path, ok := strings.CutPrefix(l.Address, "unix:"); ok {
		return checkUnix(path)
	}
	_, port, err := net.SplitHostPort(l.Address)
	if err != nil {
		return fmt.Errorf("%q is neither host:port nor unix:PATH, such as 127.0.0.1:10809, [::1]:10809 or unix:/run/goldstream/nbd.sock", l.Address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%q has no port: write a number from 0 to 65535 after the colon", l.Address)
	}
	return nil
}

func checkUnix(path string) error {
	switch {
	case path == "":
		return errors.New("unix: lacks the path of a socket: write unix:/run/goldstream/nbd.sock")
	case path[0] == '@':
		return fmt.Errorf("unix:%s is an abstract socket, which everyone on this host may open: name a file", path)
	case len(path) > maxSocketPath:
		return fmt.Errorf("the path %s has %d bytes, and a socket's address holds %d: choose a shorter one", path, len(path), maxSocketPath)
	}
	fi, err := os.Lstat(path)
	if err == nil && fi.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is in the way and no socket: move it away or choose another path", path)
	}
	if fi, err := os.Stat(filepath.Dir(path)); err != nil || !fi.IsDir() {
		return fmt.Errorf("there is no directory %s: make it first", filepath.Dir(path))
	}
	return nil
}

// listen opens the listener and returns the URI by which clients reach it.
func (l Listener) listen() (net.Listener, string, error) {
	if err := l.Check(); err != nil {
		return nil, "", fmt.Errorf("NBD address: %w", err)
	}
	if path, ok := strings.CutPrefix(l.Address, "unix:"); ok {
		return listenUnix(path)
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

// listenUnix replaces a socket that nobody listens on any more. At no time does
// the socket have other modes than its own.
func listenUnix(path string) (net.Listener, string, error) {
	if _, err := os.Lstat(path); err == nil && !abandoned(path) {
		return nil, "", fmt.Errorf("another program serves on %s: stop it or choose another path with --nbd: %w", path, syscall.EADDRINUSE)
	}
	ln, err := v1.Listen(path)
	if err != nil {
		return nil, "", err
	}
	return unixListener{ln, path}, "nbd+unix:///?socket=" + strings.NewReplacer("%2F", "/", "+", "%20").Replace(url.QueryEscape(path)), nil
}

// unixListener takes its file with it.
type unixListener struct {
	net.Listener
	path string
}

func (l unixListener) Close() error {
	err := os.Remove(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(l.Listener.Close(), err)
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
