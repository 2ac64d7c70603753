package runner

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// commands are those that can be carried out, by name.
func commands() map[string]handler {
	all := map[string]handler{}
	for _, some := range []map[string]handler{ownCommands(), deviceCommands(), inspectCommands(), fileCommands(), readCommands(), localCommands(), archiveCommands(), programCommands()} {
		for name, run := range some {
			all[name] = run
		}
	}
	return all
}

// ownCommands are guestfish's own.
func ownCommands() map[string]handler {
	return map[string]handler{
		"echo": func(_ *Session, _ context.Context, c call) error { return c.print(strings.Join(c.args, " ")) },
		"quit": func(*Session, context.Context, call) error { return errExit },
		"help": func(_ *Session, _ context.Context, c call) error {
			return c.print("goldstream plan commands lists the commands")
		},
		"version": func(_ *Session, _ context.Context, c call) error { return c.print(version) },
		// Each unmount and the end write back what is cached, and tell whether they could.
		"sync":     func(*Session, context.Context, call) error { return nil },
		"lcd":      (*Session).lcd,
		"setenv":   (*Session).setenv,
		"unsetenv": (*Session).unsetenv,
	}
}

// version is that of the libguestfs whose commands these are.
const version = "major: 1\nminor: 48\nrelease: 6\nextra: "

func (s *Session) setenv(ctx context.Context, c call) error {
	if err := s.unsetenv(ctx, c); err != nil {
		return err
	}
	s.env = append(s.env, c.args[0]+"="+c.args[1])
	return nil
}

func (s *Session) unsetenv(_ context.Context, c call) error {
	if c.args[0] == "" || strings.Contains(c.args[0], "=") {
		return failf("%q is no name of a variable", c.args[0])
	}
	for i, v := range s.env {
		if strings.HasPrefix(v, c.args[0]+"=") {
			s.env = append(s.env[:i:i], s.env[i+1:]...)
			break
		}
	}
	return nil
}

// print writes a text and a line feed, as guestfish does with each of its results,
// whether the text ends with one or not.
func (c call) print(text string) error {
	_, err := io.WriteString(c.out, text+"\n")
	return err
}

func (c call) printBool(b bool, err error) error {
	if err != nil {
		return err
	}
	return c.print(strconv.FormatBool(b))
}

func (c call) printNumber(n int64, err error) error {
	if err != nil {
		return err
	}
	return c.print(strconv.FormatInt(n, 10))
}

func (c call) printText(text string, err error) error {
	if err != nil {
		return err
	}
	return c.print(text)
}

// printList writes each string on a line.
func (c call) printList(list []string, err error) error {
	if err != nil {
		return err
	}
	for _, text := range list {
		if err := c.print(text); err != nil {
			return err
		}
	}
	return nil
}

// pair is a row of a table, or a field of a structure.
type pair struct {
	name  string
	value any
}

func (c call) printPairs(list []pair) error {
	for _, p := range list {
		if err := c.print(fmt.Sprintf("%s: %v", p.name, p.value)); err != nil {
			return err
		}
	}
	return nil
}

// number reads an argument as strtol(3) with base 0: the parser has checked it.
func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 0, 64)
	return n
}

// lines are what there is before each line feed, and behind the last.
func lines(text string) []string {
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
