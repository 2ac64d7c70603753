package netboot

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// mostLines is how many lines that requests bring about are logged in one second:
// whoever reaches the port can cause them.
const mostLines = 20

// Limited is a log that drops what is too much in a second; the next line tells how
// many were dropped.
func Limited(log *slog.Logger) *slog.Logger {
	return slog.New(&limited{log.Handler(), &lines{}})
}

type limited struct {
	slog.Handler
	lines *lines
}

// lines counts those of the second under way.
type lines struct {
	mu      sync.Mutex
	second  int64
	logged  int
	dropped int // since the last that was logged
}

func (l *lines) allow(now time.Time) (ok bool, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := now.Unix(); s != l.second {
		l.second, l.logged = s, 0
	}
	if l.logged == mostLines {
		l.dropped++
		return false, 0
	}
	l.logged++
	dropped, l.dropped = l.dropped, 0
	return true, dropped
}

func (l *limited) Handle(ctx context.Context, r slog.Record) error {
	ok, dropped := l.lines.allow(r.Time)
	if !ok {
		return nil
	}
	if dropped > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("lines_dropped", dropped))
	}
	return l.Handler.Handle(ctx, r)
}

func (l *limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limited{l.Handler.WithAttrs(attrs), l.lines}
}

func (l *limited) WithGroup(name string) slog.Handler {
	return &limited{l.Handler.WithGroup(name), l.lines}
}
