package guestfish

import (
	"fmt"
	"strings"

	"goldstream/personalize/attribute"
)

// Limits of one script.
const (
	MaxCommands = 100_000
	maxProblems = 1000
)

// Options of Parse; the zero value is for a script that runs next.
type Options struct {
	// Draft says that values are not final: what comes from a placeholder is
	// not judged.
	Draft bool
	// Generated says that the script is the output of <!, which has no
	// heredocs.
	Generated bool
}

// Parse reads one script. The error is Problems; the program has then what
// could be read. name stands in positions.
func Parse(name string, script attribute.Expansion, o Options) (*Program, error) {
	p := &parser{name: name, script: script, text: script.Reveal(), o: o, known: Known(), program: &Program{}}
	for p.at < len(p.text) && len(p.bad) < maxProblems {
		if len(p.program.Commands) == MaxCommands {
			p.problem(p.at, fmt.Sprintf("more than %d commands in one script", MaxCommands))
			break
		}
		p.line()
	}
	if len(p.bad) > 0 {
		return p.program, p.bad
	}
	return p.program, nil
}

type parser struct {
	name    string
	script  attribute.Expansion
	text    string
	at      int // where the next line begins
	o       Options
	known   Commands
	program *Program
	bad     Problems
	mayFail bool // of the line that is read
}

// next takes a line and returns where it begins and ends, without its line feed.
func (p *parser) next() (start, end int) {
	start, end = p.at, len(p.text)
	if n := strings.IndexByte(p.text[start:], '\n'); n >= 0 {
		end = start + n
		p.at = end + 1
	} else {
		p.at = end
	}
	return start, end
}

func (p *parser) line() {
	start, end := p.next()
	at := start
	p.mayFail = false
	for at < end && (space(p.text[at]) || p.text[at] == '-') {
		p.mayFail = p.mayFail || p.text[at] == '-'
		at++
	}
	if at == end || p.text[at] == '#' {
		return
	}
	c := Command{Position: p.position(at), MayFail: p.mayFail, body: &body{}}
	rest := p.text[at:end]
	switch {
	case rest[0] == '!':
		c.Kind, c.body.shell = Shell, rest[1:]
	case strings.HasPrefix(rest, "<!"):
		c.Kind, c.body.shell = Inline, rest[2:]
	default:
		c.Kind = Guest
		if !p.command(&c, at, end) {
			return
		}
	}
	c.shown.Line = p.script.ShownRange(start, end)
	p.program.Commands = append(p.program.Commands, c)
}

func space(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// command reads name and arguments, and a heredoc from the lines that follow.
func (p *parser) command(c *Command, at, end int) bool {
	line := p.text[at:end]
	n := nameEnd(line, 0)
	name := word{text: line[:n], secret: p.script.SecretIn(at, at+n), end: n}
	words, pipe, bad := split(line, n)
	if bad != nil {
		p.problem(at+bad.at, bad.text)
		return false
	}
	for i := range words {
		words[i].secret = p.script.SecretIn(at+words[i].start, at+words[i].end)
	}
	if pipe >= 0 {
		c.body.piped, c.body.pipe = true, line[pipe:]
	}
	for prefix := prefixOf(name.text, c); prefix != nil; prefix = prefixOf(name.text, c) {
		if len(words) == 0 {
			p.problem(at, fmt.Sprintf("%s needs a command: %[1]s COMMAND ARG…", strings.ToLower(name.text)))
			return false
		}
		*prefix = true
		name, words = words[0], words[1:]
	}
	if p.draft(at+name.start, at+name.end) {
		return p.heredoc(c, at, words) // whatever the name will be
	}
	c.Spec, c.shown.nameless = p.known.Find(name.text), name.secret
	if c.Spec == nil {
		p.problem(at+name.start, p.unknown(name))
		p.skipHeredoc(words)
		return false
	}
	if _, bad := c.Spec.check(words); bad != nil && !p.draft(at, end) {
		if name.secret { // the text has the name in it
			bad = &fault{name.start, fmt.Sprintf("the command %s cannot have these arguments", name.shown(64))}
		}
		p.problem(at+max(bad.at, 0), bad.text)
		p.skipHeredoc(words)
		return false
	}
	return p.heredoc(c, at, words)
}

// prefixOf tells what a word before a command asks for; nil: it is the command.
func prefixOf(name string, c *Command) *bool {
	switch {
	case strings.EqualFold(name, "glob") && !c.Glob:
		return &c.Glob
	case strings.EqualFold(name, "time") && !c.Timed:
		return &c.Timed
	}
	return nil
}

func nameEnd(line string, at int) int {
	if n := strings.IndexAny(line[at:], " \t"); n >= 0 {
		return at + n
	}
	return len(line)
}

// draft tells whether a part of the text may still become another.
func (p *parser) draft(from, to int) bool { return p.o.Draft && p.script.Replaced(from, to) }

func (p *parser) unknown(name word) string {
	if strings.HasPrefix(name.text, "<!") || strings.HasPrefix(name.text, "|") {
		return name.shown(64) + " cannot stand here"
	}
	for _, known := range p.known.Names() {
		if strings.ReplaceAll(known, "-", "") == strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name.text)) && !name.secret {
			return fmt.Sprintf("unknown command %s: write %s", name.shown(64), known)
		}
	}
	return fmt.Sprintf("unknown command %s: 'goldstream plan commands' lists those that there are; a command of the shell needs ! before it", name.shown(64))
}

// heredoc finds the argument that stands for text in the script and reads it.
func (p *parser) heredoc(c *Command, at int, words []word) bool {
	for i, w := range words {
		mark, ok := heredocMark(w)
		if !ok || c.Spec != nil && c.Spec.Param(i, len(words)) != LocalIn {
			c.body.args = append(c.body.args, w.text)
			continue
		}
		if c.body.has {
			p.problem(at+w.start, "a command can have one heredoc")
			return false
		}
		from, to, ok := p.until(mark)
		if !ok {
			p.problem(at+w.start, fmt.Sprintf("the heredoc has no end: no line is %s alone", word{text: mark, secret: w.secret}.shown(64)))
			return false
		}
		c.body.heredoc, c.body.has = p.text[from:to], true
		c.shown.Heredoc = p.script.ShownRange(from, to)
		c.body.args = append(c.body.args, "-")
	}
	return true
}

func heredocMark(w word) (string, bool) {
	mark, ok := strings.CutPrefix(w.text, "-<<")
	return mark, ok && mark != ""
}

// skipHeredoc passes over the text of a command that is left out, so that it
// is not taken for commands.
func (p *parser) skipHeredoc(words []word) {
	for _, w := range words {
		if mark, ok := heredocMark(w); ok {
			at := p.at
			if _, _, ok := p.until(mark); !ok {
				p.at = at
			}
		}
	}
}

// until takes the lines up to one that is the mark.
func (p *parser) until(mark string) (from, to int, ok bool) {
	from = p.at
	for !p.o.Generated && p.at < len(p.text) {
		start, end := p.next()
		if p.text[start:end] == mark {
			return from, start, true
		}
	}
	return from, from, false
}

func (p *parser) position(at int) Position {
	line, column := p.script.Place(at)
	return Position{p.name, line, column}
}

// problem notes what is wrong at a byte of the text.
func (p *parser) problem(at int, text string) {
	one := Problem{p.position(at), text, p.mayFail}
	if p.mayFail {
		p.program.Warnings = append(p.program.Warnings, one)
		return
	}
	p.bad = append(p.bad, one)
}
