package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ErrMissing is something that has to be installed on this host first.
var ErrMissing = errors.New("the sandbox needs what is not installed")

// Options say where the parts are. The zero value of each means the default.
type Options struct {
	// Dir keeps tool roots. It must be set.
	Dir string

	// UML is the kernel; default: linux.uml in PATH.
	UML string

	// Modules has a directory for each version of the kernel; default:
	// /usr/lib/uml/modules.
	Modules string

	// Guest is goldstream-guest; default: beside this program, then in PATH.
	Guest string
}

const (
	defaultUML     = "linux.uml"
	defaultModules = "/usr/lib/uml/modules"
	guestName      = "goldstream-guest"
)

func missing(what, cure string) error {
	return fmt.Errorf("%w: %s; %s", ErrMissing, what, cure)
}

// withDefaults finds the parts and makes their paths absolute.
func (o Options) withDefaults() (Options, error) {
	var err error
	if o.UML, err = program(o.UML, defaultUML); err != nil {
		return o, missing("User-Mode-Linux", "install the package user-mode-linux (Debian, Ubuntu; amd64), or name the kernel with --uml")
	}
	if o.Modules == "" {
		o.Modules = defaultModules
	}
	if o.Guest, err = findGuest(o.Guest); err != nil {
		return o, err
	}
	return o, nil
}

// program looks in the system's directories too, which PATH of users may lack.
func program(name, fallback string) (string, error) {
	if name == "" {
		name = fallback
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	if !strings.Contains(name, "/") {
		for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", os.ErrNotExist
}

func findGuest(name string) (string, error) {
	if name != "" {
		return filepath.Abs(name)
	}
	if self, err := os.Executable(); err == nil {
		dir := filepath.Dir(self)
		for _, path := range []string{filepath.Join(dir, guestName), filepath.Join(dir, "../libexec/goldstream", guestName)} {
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	path, err := program("", guestName)
	if err != nil {
		return "", missing(guestName, "put it beside goldstream ('make build' and 'make install' do), or name it with --guest")
	}
	return path, nil
}
