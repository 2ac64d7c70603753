package v1

import (
	"context"
	"net/http"

	"goldstream/blockstore"
)

// StoreBackend is the part of a Backend that keeps the store's metadata safe.
type StoreBackend interface {
	Checkpoint(ctx context.Context) (blockstore.CheckpointInfo, error)
	Checkpoints(ctx context.Context) ([]blockstore.CheckpointInfo, error)
	// Check sees whether the records and files of the store agree.
	Check(ctx context.Context, progress func(blockstore.Progress)) (blockstore.CheckReport, error)
}

// CheckpointList answers GET /v1/store/checkpoints, oldest first.
type CheckpointList struct {
	Checkpoints []blockstore.CheckpointInfo `json:"checkpoints"`
}

func (s *server) routeStore(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/store/checkpoints", s.answer(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		list, err := s.backend.Checkpoints(r.Context())
		return CheckpointList{Checkpoints: orEmpty(list)}, err
	}))
	mux.HandleFunc("POST /v1/store/checkpoints", s.answer(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		return s.backend.Checkpoint(r.Context())
	}))
	mux.HandleFunc("POST /v1/store/check", s.stream(s.checkStore))
}

func (s *server) checkStore(e *events, r *http.Request) (any, error) {
	report, err := s.backend.Check(r.Context(), e.progress)
	report.Findings = orEmpty(report.Findings)
	return report, err
}

// Checkpoint keeps a copy of the metadata as it is now.
func (c *Client) Checkpoint(ctx context.Context) (info blockstore.CheckpointInfo, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/store/checkpoints", nil, &info)
	return info, err
}

// Checkpoints lists the copies of the metadata that are kept, oldest first.
func (c *Client) Checkpoints(ctx context.Context) ([]blockstore.CheckpointInfo, error) {
	var l CheckpointList
	err := c.call(ctx, http.MethodGet, "/v1/store/checkpoints", nil, &l)
	return l.Checkpoints, err
}

// CheckStore checks a store in service. Damage is in the report, not an error.
func (c *Client) CheckStore(ctx context.Context, progress ProgressFunc) (r blockstore.CheckReport, err error) {
	err = c.work(ctx, "/v1/store/check", nil, &r, progress, nil)
	return r, err
}
