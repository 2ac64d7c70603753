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
