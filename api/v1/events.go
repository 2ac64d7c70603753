package v1

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"goldstream/blockstore"
)

// progressEvery is the least time between two progress lines.
const progressEvery = 100 * time.Millisecond

// events is an NDJSON answer under way. Nothing is sent before the first
// progress line, so that work that fails at once still gets its HTTP status.
type events struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	cancel context.CancelFunc // of the work: the client takes no more
	upload *upload            // the request's body, where it is a disk

	mu struct {
		sync.Mutex
		started bool
		ended   bool
		last    time.Time
		stage   string
	}
}

// stream makes a handler of long work. The request's body may still be arriving
// while progress goes out. The request may have no query parameters but those
// named.
func (s *server) stream(f func(*events, *http.Request) (any, error), query ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		e := &events{w: w, rc: http.NewResponseController(w), cancel: cancel}
		_ = e.rc.EnableFullDuplex() // HTTP/2 has it anyway
		var v any
		err := onlyQuery(r, query...)
		if err == nil {
			v, err = f(e, r.WithContext(ctx))
		}
		if err != nil && context.Cause(r.Context()) == ErrStopping {
			err = ErrStopping
		}
		s.record(r, start, err)
		e.end(v, err)
		if e.upload != nil {
			e.upload.discard()
		} else {
			drain(e.rc, r) // with a body unread the connection would break off
		}
	}
}

// progress sends p unless a line went out a moment ago. A new stage is told at
// once. Safe for any number of goroutines.
func (e *events) progress(p blockstore.Progress) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	if e.mu.ended || (p.Stage == e.mu.stage && now.Sub(e.mu.last) < progressEvery) {
		return
	}
	e.mu.last, e.mu.stage = now, p.Stage
	if err := e.lineLocked(Event{Progress: &p}); err != nil {
		e.cancel()
	}
}

// end sends the last line, or the whole answer where none went out before.
func (e *events) end(v any, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.ended = true
	if err != nil && !e.mu.started {
		_ = e.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
		writeError(e.w, err)
		_ = e.rc.Flush()
		return
	}
	last := Event{}
	if err != nil {
		last.Error = ErrorOf(err)
	} else if last.Result, err = json.Marshal(v); err != nil {
		last = Event{Error: ErrorOf(err)}
	}
	_ = e.lineLocked(last) // the client is gone: nobody to tell
}

func (e *events) lineLocked(ev Event) error {
	if !e.mu.started {
		e.mu.started = true
		e.w.Header().Set("Content-Type", TypeNDJSON)
		e.w.WriteHeader(http.StatusOK)
	}
	_ = e.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := json.NewEncoder(e.w).Encode(ev); err != nil {
		return err
	}
	return e.rc.Flush()
}
