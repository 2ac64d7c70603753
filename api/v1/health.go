package v1

import (
	"context"
	"net/http"

	"goldstream/access"
)

// HealthBackend is the part of a Backend that knows whether all of it works.
type HealthBackend interface {
	Ready(ctx context.Context) []Part
}

// Part is one of the things that a daemon needs to be ready.
type Part struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	// Why it is not; told to those who may read.
	Why string `json:"why,omitempty"`
}

// Readiness answers GET /readyz.
type Readiness struct {
	Ready bool   `json:"ready"`
	Parts []Part `json:"parts"`
}

// Health answers GET /healthz.
type Health struct {
	Status string `json:"status"` // ok
}

func (s *server) routeHealth(mux *router) {
	mux.HandleFunc("GET /healthz", s.answer(func(http.ResponseWriter, *http.Request) (any, error) {
		return Health{"ok"}, nil
	}))
	mux.HandleFunc("GET /readyz", s.ready)
}

// ready answers with 503 where a part is not ready, so that who looks at the status
// alone knows.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	if err := onlyQuery(r); err != nil {
		s.answerOnce(w, r, err)
		return
	}
	who, _ := access.From(r.Context())
	a := Readiness{Ready: true, Parts: s.backend.Ready(r.Context())}
	for i := range a.Parts {
		a.Ready = a.Ready && a.Parts[i].Ready
		if !who.May(access.Read) {
			a.Parts[i].Why = ""
		}
	}
	status := http.StatusOK
	if !a.Ready {
		status = http.StatusServiceUnavailable
	}
	s.deadline(w)
	writeJSON(w, status, a)
}
