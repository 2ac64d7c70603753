package runner

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"goldstream/personalize/attribute"
	"goldstream/personalize/guestfish"
	"goldstream/personalize/sandbox"
)

const (
	// shellOutput bounds what one shell may print.
	shellOutput = 64 << 20
	// mostGenerated bounds what <! may print as commands.
	mostGenerated = 1 << 20
	// mostNested bounds <! that come out of <!.
	mostNested = 8
)

// scripts is the script cell, which this starts.
func (s *Session) scripts() (Local, error) {
	if s.local == nil {
		local, err := s.start()
		if err != nil {
			return nil, fmt.Errorf("starting the place for shells and local files: %w", err)
		}
		s.local = local
	}
	return s.local, nil
}

// shell has the shell carry out a text; its standard output goes to out.
func (s *Session) shell(ctx context.Context, text string, stdin io.Reader, out io.Writer) error {
	local, err := s.scripts()
	if err != nil {
		return err
	}
	return local.Shell(ctx, sandbox.Line{Text: text, Dir: s.dir, Env: s.env, Stdin: stdin, Stdout: out, Stderr: s.log.stderr, Limit: shellOutput})
}

// inline runs what a shell prints as commands. guestfish runs them while the shell
// is still at work; here it has ended then.
func (s *Session) inline(ctx context.Context, c guestfish.Command, depth int) error {
	if depth == mostNested {
		return failf("more than %d <! inside each other", mostNested)
	}
	timed, cancel := context.WithTimeoutCause(ctx, s.o.CommandTimeout, fmt.Errorf("%w: a command has %v", errTimeout, s.o.CommandTimeout))
	defer cancel()
	printed := &bounded{left: mostGenerated}
	status := s.shell(timed, c.Shell(), nil, printed)
	if status != nil && !soft(status) {
		return status
	}
	s.log.stderr.flush()
	if printed.over {
		return failf("it printed more than %d bytes of commands", mostGenerated)
	}
	name := fmt.Sprintf("%s, printed", c.Position)
	program, err := guestfish.Parse(name, attribute.Verbatim(printed.buf.String()), guestfish.Options{Generated: true})
	if err != nil && !c.MayFail {
		return err
	}
	for i := range program.Commands {
		program.Commands[i].MayFail = program.Commands[i].MayFail || c.MayFail
	}
	if err := s.run(ctx, program.Commands, depth+1); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	return status
}

// bounded keeps the beginning of what is written.
type bounded struct {
	buf  bytes.Buffer
	left int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.buf.Write(p[:n])
	b.left -= n
	b.over = b.over || n < len(p)
	return len(p), nil
}

// quote makes one word of the shell of any text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
