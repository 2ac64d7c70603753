package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"goldstream/personalize/sandbox/wire"
)

// Places in a script cell.
const (
	// ScriptPath is where this program is in the jail of a script cell.
	ScriptPath = "/script"
	// WorkDir is where the scripts of a run and their files are.
	WorkDir = "/work"
	// ScriptTemp is for the files of programs.
	ScriptTemp = "/tmp"
)

// IsScript tells whether the process is the first one of a script cell.
func IsScript() bool { return os.Getpid() == 1 && len(os.Args) > 0 && os.Args[0] == ScriptPath }

// ScriptMain serves the host until its line, descriptors 3 and 4, ends. It does not
// return.
func ScriptMain() {
	err := serveScript(newLine(descriptor(3), descriptor(4)))
	if errors.Is(err, io.EOF) {
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, "goldstream-guest:", err)
	os.Exit(1)
}

func serveScript(l *line) error {
	unix.Umask(0o022)
	unix.CloseOnExec(3) // no script shall find the line by chance
	unix.CloseOnExec(4)
	if err := l.send(wire.Hello, wire.Last, wire.Number(wire.Version)); err != nil {
		return err
	}
	s := &server{l: l, commands: scriptCommands(tree{root: "/", plain: true})}
	s.commands[wire.OpPowerOff] = command{run: func(*call) ([]string, error) {
		if err := l.result(wire.Message{Args: []string{""}}); err != nil {
			return nil, err
		}
		os.Exit(0)
		return nil, nil
	}}
	return s.serve()
}

// scriptCommands are those of files, which here are the jail's own, and the shell.
func scriptCommands(t tree) map[wire.Op]command {
	return map[wire.Op]command{
		wire.OpEcho:     {args: anyArgs, input: true, run: echo},
		wire.OpRead:     {args: 3, run: t.read},
		wire.OpWrite:    {args: 3, input: true, run: t.write},
		wire.OpMkdir:    {args: 3, run: t.mkdir},
		wire.OpRemove:   {args: 3, run: t.remove},
		wire.OpLink:     {args: 4, run: t.link},
		wire.OpReadlink: {args: 1, run: t.readlink},
		wire.OpChmod:    {args: 2, run: t.chmod},
		wire.OpStat:     {args: 2, run: t.stat},
		wire.OpList:     {args: 1, run: t.list},
		wire.OpWalk:     {args: 1, run: t.walk},
		wire.OpScript:   {args: anyArgs, input: true, run: runScript},
	}
}

// runScript has the shell carry out a text. The shell is bash by its name sh, as
// on the systems that plan scripts were written for. It ends with all that it
// started.
func runScript(c *call) ([]string, error) {
	if len(c.args) < 2 {
		return nil, failure(unix.EINVAL, "say where to run what")
	}
	text, err := unnamed("BASH_ARGV0=sh; " + c.args[1]) // $0, as with -c
	if err != nil {
		return nil, err
	}
	defer text.Close()
	input, feed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: "/bin/sh", Args: []string{"sh", "/dev/fd/3"}, ExtraFiles: []*os.File{text}, Dir: c.args[0], Stdin: input,
		Env: append([]string{
			"PATH=/usr/bin:/bin", "HOME=" + WorkDir, "TMPDIR=" + ScriptTemp, "LANG=C.UTF-8", "TERM=dumb", "USER=root", "LOGNAME=root",
		}, c.args[2:]...),
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		// What no program reads is read by drain.
		_, _ = io.CopyBuffer(struct{ io.Writer }{feed}, c.in, make([]byte, wire.MaxToGuest))
		_ = feed.Close()
	}()
	err = runToEnd(cmd, c.out, output{c.out.l, wire.Stderr})
	_ = input.Close()
	<-fed
	return exitOf(cmd, "sh", err)
}

// unnamed is an open file with a text and without a name: the text of a script may
// hold passwords, and everybody on the host can read the arguments of processes.
func unnamed(text string) (*os.File, error) {
	f, err := os.CreateTemp(ScriptTemp, "line-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := io.WriteString(f, text); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
