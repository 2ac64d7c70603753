package nbd

import (
	"sync"
	"time"
)

// warnBurst is how many warnings that clients can bring about are logged in
// one second.
const warnBurst = 10

// warnLimit counts the warnings of the second under way.
type warnLimit struct {
	mu struct {
		sync.Mutex
		second  int64
		logged  int
		dropped int // since the last that was logged
	}
}

// allow reports whether one may be logged now, and how many were not before.
func (l *warnLimit) allow(now time.Time) (ok bool, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := now.Unix(); s != l.mu.second {
		l.mu.second, l.mu.logged = s, 0
	}
	if l.mu.logged == warnBurst {
		l.mu.dropped++
		return false, 0
	}
	l.mu.logged++
	dropped, l.mu.dropped = l.mu.dropped, 0
	return true, dropped
}

// warn logs a warning that clients can bring about, unless there were too many.
func (s *Server) warn(msg string, args ...any) {
	ok, dropped := s.warnings.allow(time.Now())
	if !ok {
		return
	}
	if dropped > 0 {
		args = append(args, "warnings_dropped", dropped)
	}
	s.o.Logger.Warn(msg, args...)
}
