package attribute

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sort"
	"strings"
)

// MaxExpanded bounds an expanded script, in bytes.
const MaxExpanded = 16 << 20

// Lookup finds what stands for a placeholder. Known tells whether the name is
// one at all, supplied whether there is a value; a known name without a value
// takes the default in the script, or "".
type Lookup func(name, member string) (v Value, supplied, known bool)

// Expansion is a script with values in it. It knows where they are.
type Expansion struct {
	text    *string // behind a pointer, as in Value
	marks   []mark  // in order, apart
	unknown []Placeholder
	lines   []int // where the lines of the script begin
}

// mark is a place where the text differs from the script.
type mark struct {
	start, end int  // in the text
	from, to   int  // in the script
	value      bool // else an @ for @@
	secret     bool
}

// Expand replaces the placeholders of a script, by the rules in the package's
// description. Error: ErrInvalid where the result would be too large.
func Expand(script string, lookup Lookup) (Expansion, error) {
	var out strings.Builder
	e := Expansion{lines: lineStarts(script)}
	replace := func(from, to int, text string, value, secret bool) {
		start := out.Len()
		out.WriteString(text)
		e.marks = append(e.marks, mark{start, out.Len(), from, to, value, secret})
	}
	for at := 0; at < len(script); {
		i := strings.IndexByte(script[at:], '@')
		if i < 0 {
			i = len(script) - at
		}
		out.WriteString(script[at : at+i])
		if at += i; at == len(script) {
			break
		}
		if out.Len() > MaxExpanded {
			return e, invalidf("with its values the script has more than %d MiB: use shorter values", MaxExpanded>>20)
		}
		p, form := placeholderAt(script, at)
		v, supplied, known := Value{}, false, false
		if form {
			v, supplied, known = lookup(p.Name, p.Member)
		}
		switch {
		case known && supplied:
			replace(p.Start, p.End, v.Reveal(), true, v.Secret())
			at = p.End
		case known:
			replace(p.Start, p.End, p.Default, true, v.Secret())
			at = p.End
		case strings.HasPrefix(script[at:], "@@") && !startsKnown(script, at+1, lookup):
			replace(at, at+2, "@", false, false)
			at += 2
		default:
			if form {
				e.unknown = append(e.unknown, p)
			}
			out.WriteByte('@')
			at++
		}
	}
	if out.Len() > MaxExpanded {
		return e, invalidf("with its values the script has more than %d MiB: use shorter values", MaxExpanded>>20)
	}
	text := out.String()
	e.text = &text
	return e, nil
}

// Verbatim is a text without placeholders: an @ in it is one.
func Verbatim(text string) Expansion { return Expansion{text: &text, lines: lineStarts(text)} }

// startsKnown tells whether a placeholder that is known begins at an @.
func startsKnown(script string, at int, lookup Lookup) bool {
	p, form := placeholderAt(script, at)
	if !form {
		return false
	}
	_, _, known := lookup(p.Name, p.Member)
	return known
}

// Reveal is the text with secrets.
func (e Expansion) Reveal() string {
	if e.text == nil {
		return ""
	}
	return *e.text
}

// Unknown lists what has the form of a placeholder but names nothing known.
func (e Expansion) Unknown() []Placeholder { return e.unknown }

// Shown is the text with a mask in place of each secret.
func (e Expansion) Shown() string { return e.ShownRange(0, len(e.Reveal())) }

// ShownRange is a part of the text, masked.
func (e Expansion) ShownRange(from, to int) string {
	var out strings.Builder
	text := e.Reveal()
	first := sort.Search(len(e.marks), func(i int) bool { return e.marks[i].end > from })
	for _, m := range e.marks[first:] {
		if m.start >= to {
			break
		}
		if !m.secret || m.start == m.end {
			continue
		}
		out.WriteString(text[from:max(from, m.start)])
		out.WriteString(Mask)
		from = min(m.end, to)
	}
	out.WriteString(text[from:to])
	return out.String()
}

// SecretIn tells whether a part of the text has bytes of a secret.
func (e Expansion) SecretIn(from, to int) bool {
	first := sort.Search(len(e.marks), func(i int) bool { return e.marks[i].end > from })
	for _, m := range e.marks[first:] {
		if m.start >= to {
			break
		}
		if m.secret {
			return true
		}
	}
	return false
}

// Replaced tells whether a part of the text touches a value.
func (e Expansion) Replaced(from, to int) bool {
	first := sort.Search(len(e.marks), func(i int) bool { return e.marks[i].end >= from })
	for _, m := range e.marks[first:] {
		if m.start > to {
			break
		}
		if m.value && (m.end > from || m.start == m.end) && (m.start < to || m.start == m.end) {
			return true
		}
	}
	return false
}

// Place returns line and column in the script that a byte of the text comes
// from, both from 1; columns count bytes.
func (e Expansion) Place(offset int) (line, column int) {
	from := e.Source(offset)
	line = sort.SearchInts(e.lines, from+1) // how many begin up to there
	if line == 0 {
		return 1, from + 1
	}
	return line, from - e.lines[line-1] + 1
}

func lineStarts(script string) []int {
	starts := []int{0}
	for i := range len(script) {
		if script[i] == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

// Source returns where in the script a byte of the text comes from; within a
// value, where its placeholder begins.
func (e Expansion) Source(offset int) int {
	i := sort.Search(len(e.marks), func(i int) bool { return e.marks[i].start > offset }) - 1
	switch {
	case i < 0:
		return offset
	case offset < e.marks[i].end:
		return e.marks[i].from
	}
	return e.marks[i].to + offset - e.marks[i].end
}

// String masks secrets.
func (e Expansion) String() string { return e.Shown() }

// Format masks secrets whatever the verb.
func (e Expansion) Format(f fmt.State, verb rune) { fmt.Fprint(f, e.Shown()) }

// LogValue masks secrets.
func (e Expansion) LogValue() slog.Value { return slog.StringValue(e.Shown()) }

// MarshalJSON masks secrets.
func (e Expansion) MarshalJSON() ([]byte, error) { return json.Marshal(e.Shown()) }
