package runner

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"goldstream/personalize/guestfish"
)

// handler carries out one command.
type handler func(*Session, context.Context, call) error

// call is a command with its arguments.
type call struct {
	args    []string
	options map[string]string
	heredoc string // for a local file that is "-"
	out     io.Writer
}

// mostPiped bounds what a command may hand to a shell.
const mostPiped = 16 << 20

// guest carries out a command of guestfish: once for each match if it is a glob, its
// output to a shell if it has a pipe, whose status counts for nothing.
func (s *Session) guest(ctx context.Context, c guestfish.Command) error {
	if c.Spec == nil {
		return failf("an unknown command")
	}
	if !c.Timed {
		return s.piped(ctx, c)
	}
	began := time.Now()
	if err := s.piped(ctx, c); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.log.stdout, "elapsed time: %.2f seconds\n", time.Since(began).Seconds())
	return err
}

func (s *Session) piped(ctx context.Context, c guestfish.Command) error {
	text, piped := c.Pipe()
	if !piped {
		return s.each(ctx, c, s.log.stdout)
	}
	printed := &bounded{left: mostPiped}
	err := s.each(ctx, c, printed)
	if err != nil && !soft(err) {
		return err
	}
	if printed.over {
		return failf("it printed more than %d bytes", mostPiped)
	}
	if e := s.shell(ctx, text, &printed.buf, s.log.stdout); e != nil && !soft(e) {
		return e
	}
	return err
}

func (s *Session) each(ctx context.Context, c guestfish.Command, out io.Writer) error {
	run, found := s.commands[c.Spec.Name]
	if !found {
		return failf("%s cannot be carried out here", c.Spec.Name)
	}
	args, options := c.Spec.Split(c.Args())
	args = s.beneath(c.Spec, args)
	heredoc, _ := c.Heredoc()
	if !c.Glob {
		return run(s, ctx, call{args, options, heredoc, out})
	}
	lists, err := s.expand(ctx, args)
	if err != nil {
		return err
	}
	var first error // the others are run all the same, as in guestfish
	for _, args := range lists {
		if err := run(s, ctx, call{args, options, heredoc, out}); err != nil {
			if !soft(err) {
				return err
			}
			if first == nil {
				first = err
			}
		}
	}
	return first
}

// beneath are the arguments with local names as they are after lcd.
func (s *Session) beneath(spec *guestfish.Spec, args []string) []string {
	args = slices.Clone(args)
	for i, name := range args {
		switch spec.Param(i, len(args)) {
		case guestfish.LocalIn, guestfish.LocalOut, guestfish.LocalDir:
			if s.dir != "" && name != "-" && !strings.HasPrefix(name, "/") {
				args[i] = s.dir + "/" + name
			}
		}
	}
	return args
}

// mostGlobbed bounds the commands that one glob becomes.
const mostGlobbed = 10000

// expand replaces each argument that is a path or device by what it matches, and
// returns all combinations: none where one matches nothing.
func (s *Session) expand(ctx context.Context, args []string) ([][]string, error) {
	lists := [][]string{nil}
	for _, arg := range args {
		matches, err := s.matches(ctx, arg)
		if err != nil {
			return nil, err
		}
		if len(lists)*len(matches) > mostGlobbed {
			return nil, failf("the patterns match more than %d times", mostGlobbed)
		}
		var longer [][]string
		for _, list := range lists {
			for _, m := range matches {
				longer = append(longer, append(slices.Clone(list), m))
			}
		}
		lists = longer
	}
	return lists, nil
}

func (s *Session) matches(ctx context.Context, arg string) ([]string, error) {
	switch {
	case strings.HasPrefix(arg, "/dev/"):
		return s.matchDevices(ctx, arg)
	case strings.HasPrefix(arg, "/"):
		return s.disk.Glob(ctx, arg)
	}
	return []string{arg}, nil
}
