package v1

import "net/http"

func (s *server) routeRetired(mux *router) {
	mux.HandleFunc("GET /v1/retired", s.answer(s.listRetired))
	mux.HandleFunc("POST /v1/retired/{id}/restore", s.answer(s.restoreVolume))
	mux.HandleFunc("DELETE /v1/retired/{id}", s.answer(s.removeRetired))
}

func (s *server) listRetired(_ http.ResponseWriter, r *http.Request) (any, error) {
	retired, err := s.backend.RetiredVolumes(r.Context())
	return RetiredList{Retired: orEmpty(retired)}, err
}

func (s *server) restoreVolume(w http.ResponseWriter, r *http.Request) (any, error) {
	var body RestoreRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.RestoreVolume(r.Context(), r.PathValue("id"), body.As, requestID(r))
}

func (s *server) removeRetired(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, s.backend.RemoveRetired(r.Context(), r.PathValue("id"), requestID(r))
}
