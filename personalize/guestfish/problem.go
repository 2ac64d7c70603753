package guestfish

import (
	"fmt"
	"strings"

	"goldstream/personalize/attribute"
)

// Position is a place in a script as its author wrote it, before values.
type Position struct {
	Script string `json:"script"`
	Line   int    `json:"line"`   // from 1
	Column int    `json:"column"` // bytes, from 1
}

func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.Script, p.Line, p.Column) }

// Problem is something that is wrong in a script.
type Problem struct {
	Position Position `json:"position"`
	Text     string   `json:"text"`
	// Ignored tells that the line begins with -: the command is left out, as
	// its failure would be ignored.
	Ignored bool `json:"ignored,omitempty"`
}

func (p Problem) String() string { return p.Position.String() + ": " + p.Text }

// Problems is the error of a script that cannot run.
type Problems []Problem

const shownProblems = 20

func (p Problems) Error() string {
	var lines []string
	for _, one := range p[:min(len(p), shownProblems)] {
		lines = append(lines, one.String())
	}
	if more := len(p) - shownProblems; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes errors.Is find attribute.ErrInvalid.
func (p Problems) Unwrap() error { return attribute.ErrInvalid }
