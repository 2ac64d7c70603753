package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/attribute"
	"goldstream/personalize/guestfish"
	"goldstream/personalize/sandbox"
	"goldstream/personalize/step"
)

// fakeDisk records the calls that tests of the flow need; others are nil.
type fakeDisk struct {
	Disk
	calls []string
	files map[string]string
	dead  error // of every call
}

func (d *fakeDisk) UnmountAll(context.Context) error {
	d.calls = append(d.calls, "unmount")
	return d.dead
}

func (d *fakeDisk) Touch(_ context.Context, path string) error {
	d.calls = append(d.calls, "touch "+path)
	if d.dead != nil {
		return d.dead
	}
	if strings.HasPrefix(path, "/missing/") {
		return &sandbox.Error{Op: "touch", Args: []string{path}, Errno: syscall.ENOENT, Text: "no such file or directory"}
	}
	return nil
}

func (d *fakeDisk) Write(_ context.Context, path string, r io.Reader, _ fs.FileMode) error {
	text, err := io.ReadAll(r)
	if d.files == nil {
		d.files = map[string]string{}
	}
	d.files[path] = string(text)
	return err
}

// fakeLocal is a shell that does what its text names.
type fakeLocal struct {
	Local
	lines  []string
	closed int
}

func (l *fakeLocal) Shell(ctx context.Context, line sandbox.Line) error {
	l.lines = append(l.lines, line.Text)
	word, rest, _ := strings.Cut(strings.TrimSpace(line.Text), " ")
	switch word {
	case "print":
		_, err := io.WriteString(line.Stdout, strings.ReplaceAll(rest, `\n`, "\n"))
		return err
	case "complain":
		_, err := io.WriteString(line.Stderr, rest+"\n")
		return errors.Join(err, &sandbox.ExitError{Program: "the shell", Status: 1})
	case "flood":
		for range 100 {
			fmt.Fprintln(line.Stdout, strings.Repeat("x", 1000))
		}
	case "hang":
		<-ctx.Done()
		return fmt.Errorf("script: the sandbox ended: %w", context.Cause(ctx))
	}
	return nil
}

func (l *fakeLocal) Close() { l.closed++ }

// flow runs scripts with the fakes and returns calls, log and error.
func flow(t *testing.T, ctx context.Context, d *fakeDisk, l *fakeLocal, o Options, scripts ...string) (string, error) {
	t.Helper()
	var j journalText
	if o.Log == nil {
		o.Log = j.hear
	}
	o.Local = func(context.Context) (Local, error) { return l, nil }
	in := attribute.Inputs{
		Definitions: []attribute.Definition{attribute.NewDefinition("Root", attribute.Password, "")},
		Profile:     []attribute.Value{attribute.NewValue("Root", attribute.Password, "s3cret-word")},
	}
	err := Run(ctx, d, compile(t, in, scripts...), o)
	return j.String(), err
}

func TestFirstFailureStops(t *testing.T) {
	d, l := &fakeDisk{}, &fakeLocal{}
	log, err := flow(t, t.Context(), d, l, Options{}, "touch /a\n-touch /missing/a", "echo b\n  touch /missing/b\ntouch /c", "touch /d")
	require.EqualError(t, err, "step 2, script-2:2:3: touch /missing/b: touch /missing/b: no such file or directory")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, []string{"unmount", "touch /a", "touch /missing/a", "touch /missing/b"}, d.calls)
	require.Equal(t, `step: script-1
command: touch /a
command: -touch /missing/a
failure: ignored: touch /missing/a: no such file or directory
step: script-2
command: echo b
output: b
command:   touch /missing/b
failure: touch /missing/b: no such file or directory
`, log)
	require.Zero(t, l.closed, "no script needed it")
}

func TestShells(t *testing.T) {
	for script, want := range map[string]string{
		"!complain no":                                 "step 1, script-1:1:1: !complain no: the shell ended with status 1",
		"-!complain no":                                "",
		"echo a | complain no":                         "",
		"<!print touch /missing/a":                     "step 1, script-1:1:1, printed:1:1: touch /missing/a: touch /missing/a: no such file",
		"<!print -touch /missing/a":                    "",
		"-<!print touch /missing/a\\ntouch /b":         "",
		"<!print bogus":                                `unknown command "bogus"`,
		"-<!print bogus":                               "",
		"<!print upload -<<E /a\\nE":                   "no end",
		"<!complain x":                                 "status 1",
		"<!print <!print <!print !complain":            "status 1",
		"<!print \\n  # comment\\n\\n":                 "",
		"touch /missing/a | print x":                   "no such file",
		"exit\n!complain":                              "",
		"<!print quit\n!complain":                      "",
		"<!" + strings.Repeat("print <!", 9) + "print": "more than 8 <!",
	} {
		l := &fakeLocal{}
		_, err := flow(t, t.Context(), &fakeDisk{}, l, Options{}, script)
		if want == "" {
			require.NoError(t, err, "%s", script)
		} else {
			require.ErrorContains(t, err, want, "%s", script)
		}
		require.LessOrEqual(t, l.closed, 1)
		require.Equal(t, len(l.lines) > 0, l.closed == 1, "%s", script)
	}
}

func TestMessagesAndSecrets(t *testing.T) {
	d, l := &fakeDisk{}, &fakeLocal{}
	log, err := flow(t, t.Context(), d, l, Options{}, "echo ImageStreamerLog: host web-1\n!print ImageStreamerLog: halfway @Root@\n"+
		"!print a s3cret-word\\nb\n!complain @Root@")
	require.ErrorContains(t, err, "step 1, script-1:4:1: !complain ********: the shell")
	require.NotContains(t, err.Error()+fmt.Sprintf("%+v %#v", err, err.Error())+log, "s3cret")
	require.Contains(t, log, "message: host web-1\n")
	require.Contains(t, log, "message: halfway ********\n")
	require.Contains(t, log, "output: a ********\noutput: b\n")
	require.Equal(t, "print ImageStreamerLog: halfway s3cret-word", l.lines[0])
	// What reaches the disk is no mask.
	_, err = flow(t, t.Context(), d, l, Options{}, "upload -<<E /etc/x\npass=@Root@\nE\n<!print write /etc/y '@Root@'\n")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"/etc/x": "pass=s3cret-word\n", "/etc/y": "s3cret-word"}, d.files)
}

// TestExit ends all scripts, not only its own; and steps of other kinds are refused.
func TestExit(t *testing.T) {
	d := &fakeDisk{}
	log, err := flow(t, t.Context(), d, &fakeLocal{}, Options{}, "touch /a\nexit\ntouch /b", "touch /c")
	require.NoError(t, err)
	require.Equal(t, []string{"unmount", "touch /a", "unmount"}, d.calls)
	require.Contains(t, log, "output: left out:")
	plan := compile(t, attribute.Inputs{}, "touch /a")
	plan.Steps[0].Native = &step.Step{}
	require.ErrorIs(t, Run(t.Context(), d, plan, Options{}), ErrNative)
}

// TestDeadCell: a - forgives no cell that is gone.
func TestDeadCell(t *testing.T) {
	d := &fakeDisk{}
	_, err := flow(t, t.Context(), d, &fakeLocal{}, Options{Log: func(l Line) {
		if l.Kind == Command {
			d.dead = errors.New("the sandbox ended")
		}
	}}, "-touch /a\ntouch /b")
	require.EqualError(t, err, "step 1, script-1:1:2: -touch /a: the sandbox ended")
	require.Equal(t, []string{"unmount", "touch /a"}, d.calls)
}

func TestTimes(t *testing.T) {
	_, err := flow(t, t.Context(), &fakeDisk{}, &fakeLocal{}, Options{CommandTimeout: time.Millisecond}, "-!hang")
	require.ErrorContains(t, err, "a command has 1ms")
	ctx, cancel := context.WithCancel(t.Context())
	_, err = flow(t, ctx, &fakeDisk{}, &fakeLocal{}, Options{Log: func(l Line) {
		if l.Kind == Command {
			cancel()
		}
	}}, "!hang")
	require.ErrorIs(t, err, context.Canceled)
}

func TestLogIsBounded(t *testing.T) {
	log, err := flow(t, t.Context(), &fakeDisk{}, &fakeLocal{}, Options{LogLimit: 5000}, "!flood\necho behind\n!complain last")
	require.Error(t, err)
	require.Less(t, len(log), 6000)
	require.Contains(t, log, "the log is full")
	require.NotContains(t, log, "behind\n")
	require.Contains(t, log, "failure: the shell ended with status 1")

	var got []string
	j := newJournal(Options{Log: func(l Line) { got = append(got, l.Text) }, LogLimit: 1 << 30}, attribute.NewMasker([]string{"secret"}))
	long := append(bytes.Repeat([]byte("y"), mostHeld-3), "secret"...)
	_, _ = j.stdout.Write(long)
	_, _ = j.stdout.Write([]byte("more\nnext"))
	j.flush()
	require.Len(t, got, 2)
	require.Less(t, len(got[0]), mostShown+100)
	require.Equal(t, "next", got[1])
}

// TestEveryCommandHasAHandler: what the parser lets through can be carried out.
func TestEveryCommandHasAHandler(t *testing.T) {
	have, used := commands(), map[string]bool{}
	for name, spec := range guestfish.Known() {
		require.Contains(t, have, spec.Name, "%s", name)
		used[spec.Name] = true
	}
	require.Len(t, have, len(used), "a handler of no command")
}

// TestTimed says after a command how long it took, in guestfish's words.
func TestTimed(t *testing.T) {
	c := boot(t, makeDisk(t, partition{64, "ext4", linux(t)}))
	printed, err := play(t, c, "mount /dev/sda1 /\ntime glob is-file /etc/host*\n-time cat /none")
	require.NoError(t, err)
	require.Regexp(t, `^true\nelapsed time: \d+\.\d\d seconds\n$`, printed)
}
