package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// completionFlag asks for completions; the library wants it last.
const completionFlag = "--generate-bash-completion"

// interspersed sorts a command line so that the library understands it: it
// stops looking for flags at the first argument, while people type
// "volume create web-1 --image debian". The result is the program, the noun and
// verb, the flags, "--", the arguments. Flags before the noun go to the verb
// too: every command has the common ones.
func interspersed(app *cli.App, args []string) []string {
	if len(args) < 2 || args[len(args)-1] == completionFlag {
		return args
	}
	p := argParser{commands: app.Commands, flags: commonFlags()}
	for rest := args[1:]; len(rest) > 0; {
		rest = p.take(rest)
	}
	out := append([]string{args[0]}, p.path...)
	out = append(out, p.opts...)
	if len(p.args) == 0 || p.cut { // the library says which value is missing
		return out
	}
	if len(p.commands) == 0 {
		out = append(out, "--") // only a verb takes arguments
	}
	return append(out, p.args...)
}

type argParser struct {
	commands []*cli.Command // that may come next
	flags    []cli.Flag     // known at this place
	path     []string
	opts     []string
	args     []string
	cut      bool // the last flag lacks its value
}

// take sorts the first word, or the first two, and returns the others.
func (p *argParser) take(words []string) []string {
	word, rest := words[0], words[1:]
	switch {
	case word == "--":
		p.args = append(p.args, rest...)
		return nil
	case len(word) > 1 && word[0] == '-':
		p.opts = append(p.opts, word)
		if !p.wantsValue(word) {
			break
		}
		if len(rest) == 0 {
			p.cut = true
			break
		}
		p.opts = append(p.opts, rest[0])
		rest = rest[1:]
	case len(p.args) > 0 || !p.descend(word):
		p.args = append(p.args, word)
	}
	return rest
}

// descend follows the word to the command it names.
func (p *argParser) descend(word string) bool {
	i := slices.IndexFunc(p.commands, func(c *cli.Command) bool { return c.HasName(word) })
	if i < 0 {
		return false
	}
	c := p.commands[i]
	p.path = append(p.path, word)
	p.flags = append(p.flags, c.Flags...)
	p.commands = c.Subcommands
	return true
}

// wantsValue tells whether the flag's value is the next word.
func (p *argParser) wantsValue(word string) bool {
	name := strings.TrimLeft(word, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range p.flags {
		if !slices.Contains(f.Names(), name) {
			continue
		}
		v, ok := f.(cli.DocGenerationFlag)
		return ok && v.TakesValue()
	}
	return false
}

// wantsJSON tells whether --json is among the words, for an error that comes
// before they are parsed.
func wantsJSON(app *cli.App, args []string) bool {
	p := argParser{commands: app.Commands, flags: commonFlags()}
	for rest := args[min(1, len(args)):]; len(rest) > 0; {
		rest = p.take(rest)
	}
	for i := 0; i < len(p.opts); i++ {
		name, value, given := strings.Cut(strings.TrimLeft(p.opts[i], "-"), "=")
		if p.wantsValue(p.opts[i]) {
			i++ // the value is no flag
		}
		if name != "json" {
			continue
		}
		if on, err := strconv.ParseBool(value); !given || err == nil && on {
			return true
		}
	}
	return false
}
