package v1

import (
	"context"
	"net/http"

	"goldstream/blockstore"
)

// LossBackend is the part of a Backend that ends failures by the operator's
// word.
type LossBackend interface {
	// AcceptLoss makes a volume usable again of which a sync failed. With
	// disconnect it cuts off the clients that have it open.
	AcceptLoss(ctx context.Context, volume string, disconnect bool, requestID string) (blockstore.VolumeInfo, error)
	// AcceptEpoch lets clients of older epochs of a volume on.
	AcceptEpoch(ctx context.Context, volume string) (blockstore.VolumeInfo, error)
}

func (s *server) routeLoss(mux *router) {
	mux.HandleFunc("POST /v1/volumes/{name}/accept-loss", s.answer(s.acceptLoss))
	mux.HandleFunc("POST /v1/volumes/{name}/accept-epoch", s.answer(s.acceptEpoch))
}

// AcceptLossRequest asks to go on with what the disk holds of a volume that
// failed.
type AcceptLossRequest struct {
	// Disconnect cuts off the NBD clients that have the volume open. Without it
	// the request is refused while there are any.
	Disconnect bool `json:"disconnect,omitempty"`
}

func (s *server) acceptLoss(w http.ResponseWriter, r *http.Request) (any, error) {
	var body AcceptLossRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.AcceptLoss(r.Context(), r.PathValue("name"), body.Disconnect, requestID(r))
}

func (s *server) acceptEpoch(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.backend.AcceptEpoch(r.Context(), r.PathValue("name"))
}

// AcceptEpoch lets clients on that started on an older epoch of a volume.
func (c *Client) AcceptEpoch(ctx context.Context, volume string) (v blockstore.VolumeInfo, err error) {
	err = c.call(ctx, http.MethodPost, volumePath(volume, "/accept-epoch"), nil, &v)
	return v, err
}

// AcceptLoss makes a volume usable again of which a sync failed, and describes
// it; its Failure names the ranges that may not hold what was acknowledged.
func (c *Client) AcceptLoss(ctx context.Context, volume string, req AcceptLossRequest, opts ...Option) (v blockstore.VolumeInfo, err error) {
	err = c.call(ctx, http.MethodPost, volumePath(volume, "/accept-loss"), req, &v, opts...)
	return v, err
}
