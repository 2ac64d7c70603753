package sandbox

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"strings"
	"time"

	"goldstream/personalize/sandbox/guest"
	"goldstream/personalize/sandbox/wire"
)

// ScriptConfig says what a script cell is made of.
type ScriptConfig struct {
	Tools ScriptTools

	// Guest is goldstream-guest, as in Tools.
	Guest string

	// Space is the size of its directory, in bytes; default 256 MiB. A quarter
	// more is for /tmp.
	Space int64

	// Memory is for its programs, in bytes; default 512 MiB.
	Memory int64

	// CPU is how long each of its programs may compute; default 5 minutes.
	CPU time.Duration

	// Deadline is how long the cell may live; default DefaultDeadline.
	Deadline time.Duration
}

func (o ScriptConfig) withDefaults() ScriptConfig {
	if o.Space == 0 {
		o.Space = 256 << 20
	}
	if o.Memory == 0 {
		o.Memory = 512 << 20
	}
	if o.CPU == 0 {
		o.CPU = 5 * time.Minute
	}
	return o
}

// Script is one script cell. Paths are those of its jail; what is no absolute path
// is in its directory, which is empty at first. Calls wait for each other. All
// methods may be called from any goroutine.
type Script struct{ cell *Cell }

// StartScript starts a script cell and returns when it answers. ctx is the cell's:
// its end kills it.
func StartScript(ctx context.Context, o ScriptConfig) (*Script, error) {
	o = o.withDefaults()
	cell, err := startAs(ctx, Config{Deadline: o.Deadline}.withDefaults(), scriptSpec(o))
	if err != nil {
		return nil, err
	}
	return &Script{cell}, nil
}

// Close ends the cell, and what is in it.
func (s *Script) Close() {
	s.cell.Kill()
	_ = s.cell.Wait()
}

// Missing names the layers of the jail that this host could not give.
func (s *Script) Missing() []string { return s.cell.Missing() }

// place makes a path absolute.
func place(name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	return guest.WorkDir + "/" + name
}

// Line is a text for the shell of a script cell.
type Line struct {
	Text string
	Dir  string   // where to run it; default: the cell's directory
	Env  []string // NAME=value, besides what every script has

	Stdin          io.Reader // nil: it is empty
	Stdout, Stderr io.Writer // must be set
	Limit          int64     // of output bytes, both streams; 0: 16 MiB
}

// Shell has bash, by its name sh, carry out a text. What it leaves running is ended.
// A status other than 0 is an *ExitError. Output over its limit is ErrTooLong, and
// the cell's end.
func (s *Script) Shell(ctx context.Context, l Line) error {
	if l.Stdin == nil {
		l.Stdin = bytes.NewReader(nil)
	}
	f, err := s.cell.call(ctx, request{
		op: wire.OpScript, args: append([]string{place(l.Dir), l.Text}, l.Env...),
		input: l.Stdin, output: l.Stdout, stderr: l.Stderr, limit: l.Limit,
	})
	if err != nil {
		return err
	}
	return exitError("the shell", f)
}

// Read copies a file to w. One of more than limit bytes is ErrTooLong.
func (s *Script) Read(ctx context.Context, name string, w io.Writer, limit int64) error {
	return s.cell.Read(ctx, place(name), w, limit)
}

// Write makes a file of what r has, or replaces what it held.
func (s *Script) Write(ctx context.Context, name string, r io.Reader, mode fs.FileMode) error {
	return s.cell.Write(ctx, place(name), r, mode)
}

// MkdirAll makes a directory and those above it that are missing.
func (s *Script) MkdirAll(ctx context.Context, name string, mode fs.FileMode) error {
	return s.cell.MkdirAll(ctx, place(name), mode)
}

// RemoveAll removes a name and what is below it, if it is there.
func (s *Script) RemoveAll(ctx context.Context, name string) error {
	return s.cell.RemoveAll(ctx, place(name))
}

// Symlink makes a symbolic link, in the place of another name.
func (s *Script) Symlink(ctx context.Context, target, name string) error {
	return s.cell.Symlink(ctx, target, place(name), true)
}

// Readlink returns a link's text.
func (s *Script) Readlink(ctx context.Context, name string) (string, error) {
	return s.cell.Readlink(ctx, place(name))
}

// Chmod sets a mode.
func (s *Script) Chmod(ctx context.Context, name string, mode uint32) error {
	return s.cell.Chmod(ctx, place(name), mode)
}

// Stat looks at what a path names.
func (s *Script) Stat(ctx context.Context, name string) (Info, error) {
	return s.cell.Stat(ctx, place(name))
}

// Lstat is Stat that follows no last link.
func (s *Script) Lstat(ctx context.Context, name string) (Info, error) {
	return s.cell.Lstat(ctx, place(name))
}

// Walk lists all that is below a directory, parents first; it follows no links.
func (s *Script) Walk(ctx context.Context, dir string) ([]Entry, error) {
	return s.cell.Walk(ctx, place(dir))
}
