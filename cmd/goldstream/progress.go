package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"goldstream/blockstore"
)

const (
	barEvery   = 100 * time.Millisecond
	plainEvery = 5 * time.Second
	rateWindow = 3 * time.Second // the rate forgets in about this time
)

// meter shows how far long work has come: a line that is rewritten on a
// terminal, plain lines every few seconds elsewhere, which are JSON with --json.
type meter struct {
	w     io.Writer
	label string
	wide  int // columns of the terminal, or 0
	now   func() time.Time

	stage string
	rate  rate
	shown time.Time
	drawn bool
}

func newMeter(w io.Writer, label string) *meter {
	m := &meter{w: w, label: label, now: time.Now}
	if columns, ok := terminal(w); ok {
		m.wide = max(columns, 20)
	}
	m.shown = m.now()
	return m
}

// show takes one report.
func (m *meter) show(p blockstore.Progress) {
	now := m.now()
	if p.Stage != m.stage {
		m.stage, m.rate = p.Stage, rate{}
	}
	m.rate.add(now, p.Done)
	every := plainEvery
	if m.wide > 0 {
		every = barEvery
	}
	if now.Sub(m.shown) < every {
		return
	}
	m.shown = now
	m.draw(p)
}

func (m *meter) draw(p blockstore.Progress) {
	text := m.label + ": " + describe(p, m.rate.perSecond)
	if j, ok := m.w.(jsonLines); ok {
		j.line("progress", p)
		return
	}
	if m.wide == 0 {
		fmt.Fprintln(m.w, text)
		return
	}
	if room := m.wide - 1 - len(text) - 3; p.Total > 0 && room >= 10 {
		text += " " + bar(float64(p.Done)/float64(p.Total), min(room, 30))
	}
	fmt.Fprintf(m.w, "\r\x1b[K%.*s", m.wide-1, text)
	m.drawn = true
}

// done clears the line.
func (m *meter) done() {
	if m.drawn {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}

// describe writes stage, amount, share, rate and time left.
func describe(p blockstore.Progress, perSecond float64) string {
	parts := []string{strings.TrimSpace(p.Stage + " " + humanSize(p.Done))}
	if p.Total > 0 {
		parts[0] += " of " + humanSize(p.Total)
		parts = append(parts, fmt.Sprintf("%d %%", min(100, p.Done*100/p.Total)))
	}
	if perSecond > 0 {
		parts = append(parts, humanSize(int64(perSecond))+"/s")
		if left := float64(p.Total-p.Done) / perSecond; p.Total > 0 && left >= 0 && left < 1e7 {
			parts = append(parts, (time.Duration(left+0.5)*time.Second).String()+" left")
		}
	}
	return strings.Join(parts, ", ")
}

func bar(share float64, width int) string {
	n := int(min(max(share, 0), 1) * float64(width-2))
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", width-2-n) + "]"
}

// rate is bytes a second, smoothed.
type rate struct {
	perSecond float64
	at        time.Time
	done      int64
}

func (r *rate) add(now time.Time, done int64) {
	if r.at.IsZero() || done < r.done {
		r.at, r.done = now, done
		return
	}
	passed := now.Sub(r.at)
	if passed < barEvery {
		return
	}
	present := float64(done-r.done) / passed.Seconds()
	weight := min(1, passed.Seconds()/rateWindow.Seconds())
	if r.perSecond == 0 {
		weight = 1
	}
	r.perSecond += (present - r.perSecond) * weight
	r.at, r.done = now, done
}

func terminalWidth(f *os.File) (int, bool) {
	ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, false
	}
	return int(ws.Col), true
}
