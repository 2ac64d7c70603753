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
		r.Lines++
		r.Log = append(r.Log, Line{r.Lines, at, step, line})
	}
	size, keep := 0, len(r.Log)
	for keep > 0 && len(r.Log)-keep < maxLines {
		if size += len(r.Log[keep-1].Text) + 64; size > maxLogSize {
			break
		}
		keep--
	}
	if keep > 0 {
		r.Log = append([]Line(nil), r.Log[keep:]...)
	}
}
