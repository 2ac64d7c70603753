package v1

import (
	"context"
	"fmt"
	"net/http"

	"goldstream/lifecycle/store"
)

// AuditBackend is the part of a Backend that knows who changed what, and why.
type AuditBackend interface {
	// Audit returns up to limit entries of the trail behind a sequence.
	Audit(ctx context.Context, behind uint64, limit int) ([]store.Entry, error)
}

const maxEntries = 1000 // in one answer

// EntryList answers GET /v1/events.
type EntryList struct {
	Entries []store.Entry `json:"events"`
}

func (s *server) routeAudit(mux *router) {
	mux.HandleFunc("GET /v1/events", s.answer(s.listEntries, "behind", "limit"))
}

func (s *server) listEntries(_ http.ResponseWriter, r *http.Request) (any, error) {
	behind, err := number(r, "behind")
	if err != nil {
		return nil, err
	}
	limit, err := number(r, "limit")
	if err != nil {
		return nil, err
	}
	if limit == 0 || limit > maxEntries {
		limit = maxEntries
	}
	list, err := s.backend.Audit(r.Context(), behind, int(limit))
	return EntryList{orEmpty(list)}, err
}

// Audit returns entries of the audit trail behind a sequence, in order; clients
// ask again behind the last one until there are none.
func (c *Client) Audit(ctx context.Context, behind uint64) ([]store.Entry, error) {
	var l EntryList
	err := c.call(ctx, http.MethodGet, fmt.Sprintf("/v1/events?behind=%d", behind), nil, &l)
	return l.Entries, err
}
