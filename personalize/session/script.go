package session

import (
	"context"
	"strings"
	"unicode"

	"goldstream/personalize"
	"goldstream/personalize/runner"
)

// script carries out a plan script. It finds nothing mounted by native steps; what
// it leaves mounted stays, for scripts and native steps behind it.
func (x *run) script(ctx context.Context, number int, s personalize.PlanStep) error {
	if x.mounted {
		if err := x.cell.UnmountAll(ctx); err != nil {
			return err
		}
		x.mounted = false
	}
	if x.scripts == nil {
		// Not the step's context: the script cell is there for all of them.
		x.scripts = runner.New(x.ctx, x.cell, x.plan.Values, runner.Options{Local: x.o.Local, Log: x.line})
	}
	return x.scripts.Step(ctx, number, s)
}

// line logs what a script does and prints.
func (x *run) line(l runner.Line) {
	text := printable(l.Text)
	switch l.Kind {
	case runner.StepBegins: // said already
	case runner.Command:
		x.o.Logf("> %s", text)
	case runner.Output:
		x.o.Logf("  %s", text)
	case runner.Message:
		x.o.Logf("message: %s", text)
	default:
		x.o.Logf("%s", text)
	}
}

// printable puts spaces in the place of what moves a terminal's cursor.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "?"))
}
