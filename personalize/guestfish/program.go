package guestfish

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"goldstream/personalize/attribute"
)

// Kind says who carries a command out.
type Kind string

// The kinds.
const (
	Guest  Kind = "guest"  // a command on the disk, or one of guestfish's own
	Shell  Kind = "shell"  // !TEXT
	Inline Kind = "inline" // <!TEXT
)

// Program is all steps of a plan, ready to run.
type Program struct {
	Commands []Command
	Warnings Problems // of lines whose failure is ignored
}

// Command is one line of a script. It is printed with secrets masked.
type Command struct {
	Position Position
	Kind     Kind
	MayFail  bool // its failure is ignored
	Glob     bool // once for each match of the arguments
	Timed    bool // how long it took is printed
	// Spec describes the command of kind Guest. It is nil for one that is not
	// known yet: only drafts have such.
	Spec *Spec

	body  *body // behind a pointer, which nothing prints
	shown shown
}

// body has the clear text.
type body struct {
	args    []string
	pipe    string
	piped   bool
	shell   string
	heredoc string
	has     bool // heredoc
}

// shown is the command for people.
type shown struct {
	Line    string `json:"line"`
	Heredoc string `json:"heredoc,omitempty"`
	// nameless says that the name comes from a secret.
	nameless bool
}

// Args are the arguments, without quotes. The local file of an upload that is
// text in the script is "-".
func (c Command) Args() []string { return c.body.args }

// Shell is the text for the shell of kinds Shell and Inline.
func (c Command) Shell() string { return c.body.shell }

// Pipe is the shell's text that takes the output, if there is one.
func (c Command) Pipe() (text string, ok bool) { return c.body.pipe, c.body.piped }

// Heredoc is the text that stands in the script for a local file.
func (c Command) Heredoc() (text string, ok bool) { return c.body.heredoc, c.body.has }

// Name is the command's name, or what stands for it.
func (c Command) Name() string {
	switch {
	case c.Kind == Shell:
		return "!"
	case c.Kind == Inline:
		return "<!"
	case c.Spec == nil:
		return ""
	}
	return c.Spec.Name
}

// String is the line, masked.
func (c Command) String() string { return c.shown.Line }

// ShownHeredoc is the heredoc, masked.
func (c Command) ShownHeredoc() string { return c.shown.Heredoc }

// Format masks secrets whatever the verb.
func (c Command) Format(f fmt.State, verb rune) { fmt.Fprint(f, c.String()) }

// LogValue masks secrets.
func (c Command) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON masks secrets.
func (c Command) MarshalJSON() ([]byte, error) {
	name := c.Name()
	if c.shown.nameless {
		name = attribute.Mask
	}
	return json.Marshal(struct {
		Position Position `json:"position"`
		Kind     Kind     `json:"kind"`
		Name     string   `json:"name,omitempty"`
		MayFail  bool     `json:"mayFail,omitempty"`
		shown
	}{c.Position, c.Kind, name, c.MayFail, c.shown})
}
