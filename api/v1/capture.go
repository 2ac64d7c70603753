package v1

import (
	"context"
	"net/http"

	"goldstream/lifecycle/task"
)

// CaptureBackend is the part of a Backend that makes golden images by capture plans.
type CaptureBackend interface {
	// Capture makes a golden image of a volume, as a task whose result is the
	// image. The volume stays as it is.
	Capture(ctx context.Context, req CaptureByPlan, requestID string) (task.Info, error)
	// PreviewCapture checks a capture and shows its program.
	PreviewCapture(ctx context.Context, req CaptureByPlan) (Preview, error)
}

// CaptureByPlan asks for a golden image of a volume.
type CaptureByPlan struct {
	Volume string `json:"volume"`
	// Plan is the build plan of type capture whose steps run on a clone of the
	// volume; "" takes it as it is.
	Plan string `json:"plan,omitempty"`
	Name string `json:"name"` // of the image
}

func (s *server) routeCaptures(mux *router) {
	mux.HandleFunc("POST /v1/captures", s.answer(s.capture))
	mux.HandleFunc("POST /v1/captures/preview", s.answer(s.previewCapture))
}

func (s *server) capture(w http.ResponseWriter, r *http.Request) (any, error) {
	var body CaptureByPlan
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.Capture(r.Context(), body, requestID(r))
}

func (s *server) previewCapture(w http.ResponseWriter, r *http.Request) (any, error) {
	var body CaptureByPlan
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.PreviewCapture(r.Context(), body)
}

// Capture makes a golden image of a volume, as a task.
func (c *Client) Capture(ctx context.Context, req CaptureByPlan, opts ...Option) (t task.Info, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/captures", req, &t, opts...)
	return t, err
}

// PreviewCapture checks a capture and shows its program.
func (c *Client) PreviewCapture(ctx context.Context, req CaptureByPlan) (p Preview, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/captures/preview", req, &p)
	return p, err
}
