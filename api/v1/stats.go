package v1

import (
	"context"
	"net/http"

	"goldstream/blockstore"
)

func (s *server) stats(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.backend.Stats(r.Context())
}

// Stats says what the store did since it was opened, and what it holds.
func (c *Client) Stats(ctx context.Context) (st blockstore.Stats, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/stats", nil, &st)
	return st, err
}
