package v1

import (
	"fmt"
	"net/http"
	"time"

	"goldstream/blockstore"
)

func (s *server) routeVolumes(mux *router) {
	mux.HandleFunc("GET /v1/volumes", s.answer(s.listVolumes))
	mux.HandleFunc("POST /v1/volumes", s.answer(s.createVolume))
	mux.HandleFunc("GET /v1/volumes/{name}", s.answer(s.inspectVolume))
	mux.HandleFunc("POST /v1/volumes/{name}/grow", s.answer(s.growVolume))
	mux.HandleFunc("POST /v1/volumes/{name}/quota", s.answer(s.setQuota))
	mux.HandleFunc("DELETE /v1/volumes/{name}", s.answer(s.deleteVolume, "keep"))
}

func (s *server) listVolumes(_ http.ResponseWriter, r *http.Request) (any, error) {
	volumes, err := s.backend.Volumes(r.Context())
	return VolumeList{Volumes: orEmpty(volumes)}, err
}

func (s *server) inspectVolume(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.backend.Volume(r.Context(), r.PathValue("name"))
}

func (s *server) createVolume(w http.ResponseWriter, r *http.Request) (any, error) {
	var body CreateRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.CreateVolume(r.Context(), blockstore.CloneRequest{
		Name:      body.Name,
		Image:     body.Image,
		Volume:    body.Volume,
		Snapshot:  body.Snapshot,
		Size:      body.Size,
		Quota:     body.Quota,
		Owner:     body.Owner,
		RequestID: requestID(r),
	})
}

func (s *server) growVolume(w http.ResponseWriter, r *http.Request) (any, error) {
	var body GrowRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.GrowVolume(r.Context(), r.PathValue("name"), body.Size)
}

func (s *server) setQuota(w http.ResponseWriter, r *http.Request) (any, error) {
	var body QuotaRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.SetQuota(r.Context(), r.PathValue("name"), body.Quota)
}

func (s *server) deleteVolume(_ http.ResponseWriter, r *http.Request) (any, error) {
	name, id := r.PathValue("name"), requestID(r)
	if !r.URL.Query().Has("keep") {
		return nil, s.backend.DeleteVolume(r.Context(), name, id)
	}
	text := r.URL.Query().Get("keep")
	keep, err := time.ParseDuration(text)
	if err != nil || keep <= 0 {
		return nil, invalid(fmt.Sprintf("keep=%s is no time to keep a volume for; write hours and minutes, such as 72h or 1h30m", text))
	}
	return nil, s.backend.RetireVolume(r.Context(), name, keep, id)
}
