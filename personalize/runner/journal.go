package runner

import (
	"bytes"
	"fmt"
	"strings"

	"goldstream/personalize/attribute"
)

// LineKind says what a line of the log is.
type LineKind string

// The kinds.
const (
	StepBegins LineKind = "step"    // the text is the script's name
	Command    LineKind = "command" // one that begins now
	Output     LineKind = "output"
	Message    LineKind = "message" // for whoever waits: what follows ImageStreamerLog:
	Failure    LineKind = "failure" // why a command failed, or that this was ignored
)

// Line is one of the log. Secrets in it are masked. It may hold any characters
// that a script printed.
type Line struct {
	Step int // from 1
	Kind LineKind
	Text string // without its end
}

// messagePrefix begins the lines that the task shall show.
const messagePrefix = "ImageStreamerLog:"

const (
	// mostHeld is how much of a line is kept until it ends.
	mostHeld = 64 << 10
	// mostShown is how much of it the log has: much less, so that no secret can
	// lie across the end of what was held.
	mostShown = 8 << 10
	// lineCost is what a line takes of the log's limit beside its text, in bytes.
	lineCost = 64
	// mostFailures is how many lines the log has of commands that failed, beside
	// its limit. Why a run ended is in its error too.
	mostFailures = 1000
)

// journal makes lines of what is written, and masks them.
type journal struct {
	hear     func(Line)
	masker   *attribute.Masker
	step     int
	room     int64
	failures int
	stdout   *lineWriter
	stderr   *lineWriter
}

func newJournal(o Options, m *attribute.Masker) *journal {
	j := &journal{hear: o.Log, masker: m, room: o.LogLimit}
	j.stdout, j.stderr = &lineWriter{j: j}, &lineWriter{j: j}
	return j
}

func (j *journal) begin(step int, name string) {
	j.step = step
	j.line(StepBegins, name)
}

func (j *journal) mask(text string) string { return j.masker.Mask(text) }

// line logs one, masked and bounded. An error may be of several lines.
func (j *journal) line(kind LineKind, text string) {
	text = j.mask(text)
	if len(text) > mostShown {
		text = fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:mostShown], ""), len(text))
	}
	switch kind {
	case Failure: // why a run ended comes last
		if j.failures++; j.failures > mostFailures {
			return
		}
	case Output, Command, Message:
		if j.room < 0 {
			return
		}
		if j.room -= int64(len(text) + lineCost); j.room < 0 {
			kind, text = Failure, "the log is full: what else scripts do and print is left out"
		}
	}
	j.hear(Line{j.step, kind, text})
}

func (j *journal) output(text string) {
	if rest, found := strings.CutPrefix(text, messagePrefix); found {
		j.line(Message, strings.TrimSpace(rest))
		return
	}
	j.line(Output, text)
}

// flush ends lines that have no end.
func (j *journal) flush() {
	j.stdout.flush()
	j.stderr.flush()
}

// lineWriter splits a stream into lines.
type lineWriter struct {
	j    *journal
	held []byte
	skip bool // the rest of a line that is too long
}

func (w *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		part, rest, ended := bytes.Cut(b, []byte{'\n'})
		b = rest
		if !w.skip {
			w.held = append(w.held, part[:min(len(part), mostHeld-len(w.held))]...)
			w.skip = len(w.held) == mostHeld
		}
		if ended {
			w.end()
		}
	}
	return n, nil
}

func (w *lineWriter) end() {
	w.j.output(strings.TrimSuffix(string(w.held), "\r"))
	w.held, w.skip = w.held[:0], false
}

func (w *lineWriter) flush() {
	if len(w.held) > 0 {
		w.end()
	}
}
