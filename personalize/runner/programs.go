package runner

import (
	"bytes"
	"context"
	"strings"
)

// programCommands run programs of the disk, in its own tree.
func programCommands() map[string]handler {
	return map[string]handler{
		"command": func(s *Session, ctx context.Context, c call) error { return c.printText(s.command(ctx, c.args[0])) },
		"command-lines": func(s *Session, ctx context.Context, c call) error {
			text, err := s.command(ctx, c.args[0])
			return c.printList(lines(text), err)
		},
		"sh": func(s *Session, ctx context.Context, c call) error { return c.printText(s.sh(ctx, c.args[0])) },
		"sh-lines": func(s *Session, ctx context.Context, c call) error {
			text, err := s.sh(ctx, c.args[0])
			return c.printList(lines(text), err)
		},
	}
}

func (s *Session) sh(ctx context.Context, line string) (string, error) {
	return s.program(ctx, "/bin/sh", "-c", line)
}

func (s *Session) command(ctx context.Context, line string) (string, error) {
	words, err := splitWords(line)
	if err != nil {
		return "", err
	}
	return s.program(ctx, words...)
}

// program runs one and returns its standard output. Its other output goes to the log,
// whether it fails or not.
func (s *Session) program(ctx context.Context, argv ...string) (string, error) {
	var out bytes.Buffer
	err := s.disk.Command(ctx, &out, s.log.stderr, mostText, argv...)
	s.log.stderr.flush()
	return out.String(), err
}

// splitWords splits an argument that is a list of words, which may stand in quotes.
func splitWords(line string) (words []string, err error) {
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		end := strings.IndexAny(line, " \t")
		if q := line[0]; q == '\'' || q == '"' {
			n := strings.IndexByte(line[1:], q)
			if n < 0 {
				return nil, failf("the quote %c has no end", q)
			}
			words, line = append(words, line[1:1+n]), line[n+2:]
			continue
		}
		if end < 0 {
			end = len(line)
		}
		words, line = append(words, line[:end]), line[end:]
	}
	if len(words) == 0 {
		return nil, failf("say which program")
	}
	return words, nil
}
