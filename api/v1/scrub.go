package v1

import (
	"context"
	"net/http"

	"goldstream/blockstore"
)

// ScrubBackend is the part of a Backend that compares all sealed data with its
// checksums, in the background.
type ScrubBackend interface {
	StartScrub(ctx context.Context) (blockstore.ScrubReport, error)
	Scrub(ctx context.Context) (blockstore.ScrubReport, error)
	CancelScrub(ctx context.Context) (blockstore.ScrubReport, error)
}

func (s *server) routeScrub(mux *router) {
	route := func(method string, f func(ScrubBackend, context.Context) (blockstore.ScrubReport, error)) {
		mux.HandleFunc(method+" /v1/scrub", s.answer(func(_ http.ResponseWriter, r *http.Request) (any, error) {
			return f(s.backend, r.Context())
		}))
	}
	route(http.MethodPost, ScrubBackend.StartScrub)
	route(http.MethodGet, ScrubBackend.Scrub)
	route(http.MethodDelete, ScrubBackend.CancelScrub)
}

// StartScrub begins to read all sealed data and to compare it with its checksums.
func (c *Client) StartScrub(ctx context.Context) (r blockstore.ScrubReport, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/scrub", nil, &r)
	return r, err
}

// Scrub describes the last scrub, or the one that runs.
func (c *Client) Scrub(ctx context.Context) (r blockstore.ScrubReport, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/scrub", nil, &r)
	return r, err
}

// CancelScrub ends the scrub that runs.
func (c *Client) CancelScrub(ctx context.Context) (r blockstore.ScrubReport, err error) {
	err = c.call(ctx, http.MethodDelete, "/v1/scrub", nil, &r)
	return r, err
}
