package task

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a task's log; the oldest lines go first.
const (
	maxLines    = 2000
	maxLineSize = 4 << 10 // bytes
	maxLogSize  = 256 << 10
)

// add puts lines at the end of a log and takes some from its beginning.
func (r *record) add(at time.Time, step, text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if len(line) > maxLineSize {
			line = line[:maxLineSize] + "…"
		}
		if !utf8.ValidString(line) {
			line = strings.ToValidUTF8(line, "�")
		}
		if r.logSize == 0 { // it was read from the journal
			for _, l := range r.Log {
				r.logSize += l.size()
			}
		}
		r.Lines++
		l := Line{r.Lines, at, step, line}
		r.Log = append(r.Log, l)
		r.logSize += l.size()
		// What goes stays in memory until append moves the rest: others may hold
		// the slice, and a script may print millions of lines.
		for len(r.Log) > maxLines || r.logSize > maxLogSize {
			r.logSize -= r.Log[0].size()
			r.Log = r.Log[1:]
		}
	}
}

// size is what a line takes, about, in bytes.
func (l Line) size() int { return len(l.Text) + 64 }
