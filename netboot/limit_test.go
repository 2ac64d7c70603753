package netboot

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLogIsLimited: requests of strangers fill no log, however they differ.
func TestLogIsLimited(t *testing.T) {
	var text bytes.Buffer
	log := Limited(slog.New(slog.NewTextHandler(&text, nil)))
	at := time.Unix(1e9, 0)
	line := func(log *slog.Logger) {
		r := slog.NewRecord(at, slog.LevelInfo, "line", 0)
		require.NoError(t, log.Handler().Handle(t.Context(), r))
	}
	for range 2 * mostLines {
		line(log)
		line(log.With("volume", "v"))
	}
	require.Equal(t, mostLines, strings.Count(text.String(), "msg=line"))
	at = at.Add(time.Second)
	line(log)
	require.Contains(t, text.String(), "lines_dropped=60")

	text.Reset()
	h := NewHandler(Options{Host: newFarm(), Helper: func() ([]byte, error) { return nil, nil }, Log: slog.New(slog.NewTextHandler(&text, nil))})
	l := &lab{t: t, h: h}
	began := time.Now()
	const asked = 3000
	for range asked {
		l.do("GET", "script?mac=nonsense", "10.0.0.9")
	}
	seconds := int(time.Since(began)/time.Second) + 2 // of the clock, that it touches
	require.LessOrEqual(t, strings.Count(text.String(), "msg="), min(seconds*mostLines, asked-1))
}

// TestOwnBoots: a server that asks again and again pushes out nobody's boot but its own.
func TestOwnBoots(t *testing.T) {
	l := newLab(t)
	other := l.bootOf(l.script("mac="+mac2, "10.0.0.10"))
	first := l.bootOf(l.script("mac="+mac1, "10.0.0.9"))
	var last string
	for range mostOwn {
		last = l.bootOf(l.script("mac="+mac1, "10.0.0.9"))
	}
	require.Equal(t, 404, l.do("GET", first+"kernel", "10.0.0.9").Code)
	require.Equal(t, 200, l.do("GET", last+"kernel", "10.0.0.9").Code)
	require.Equal(t, 200, l.do("GET", other+"kernel", "10.0.0.10").Code)
	require.Len(t, l.h.boots.mu.order, mostOwn+1)
	l.now = l.now.Add(bootLife + 1)
	l.script("mac="+mac1, "10.0.0.9")
	require.Len(t, l.h.boots.mu.order, 1)
	l.h.Forget("1")
	require.Empty(t, l.h.boots.mu.order)
	require.Empty(t, l.h.boots.mu.own)
	require.Empty(t, l.h.boots.mu.byID)
}
