package v1

import (
	"fmt"
	"mime"
	"net/http"

	"goldstream/blockstore"
)

func (s *server) routeImages(mux *router) {
	mux.HandleFunc("GET /v1/images", s.answer(s.listImages))
	mux.HandleFunc("GET /v1/images/{name}", s.answer(s.inspectImage))
	mux.HandleFunc("DELETE /v1/images/{name}", s.answer(s.deleteImage))
	mux.HandleFunc("GET /v1/images/{name}/export", s.export(s.openImage))
	mux.HandleFunc("POST /v1/images/{name}/import", s.stream(s.importImage, "owner"))
	mux.HandleFunc("POST /v1/images/{name}/verify", s.stream(s.verifyImage))
	mux.HandleFunc("POST /v1/images/{name}/repair", s.stream(s.repairImage))
	mux.HandleFunc("POST /v1/images/{name}/digest", s.stream(s.digestImage, "sha256"))
	mux.HandleFunc("POST /v1/images/{name}/capture", s.stream(s.captureImage))
}

func (s *server) listImages(_ http.ResponseWriter, r *http.Request) (any, error) {
	images, err := s.backend.Images(r.Context())
	return ImageList{Images: orEmpty(images)}, err
}

func (s *server) inspectImage(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.backend.Image(r.Context(), r.PathValue("name"))
}

func (s *server) deleteImage(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, s.backend.DeleteImage(r.Context(), r.PathValue("name"), requestID(r))
}

func (s *server) importImage(e *events, r *http.Request) (any, error) {
	req := blockstore.ImportRequest{
		Name:      r.PathValue("name"),
		RequestID: requestID(r),
		Progress:  e.progress,
	}
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t == TypeRaw {
		return s.importBody(e, r, req)
	}
	if err := onlyQuery(r); err != nil {
		return nil, err // the owner is in the body
	}
	var body ImportRequest
	if err := readJSON(e.w, r, &body); err != nil {
		return nil, err
	}
	if err := mayName(r.Context(), "import", body.HostFile); err != nil {
		return nil, err
	}
	req.Owner = body.Owner
	return s.backend.ImportFile(r.Context(), body.HostFile, req)
}

func (s *server) importBody(e *events, r *http.Request, req blockstore.ImportRequest) (any, error) {
	req.Owner = r.URL.Query().Get("owner")
	e.upload = newUpload(e.rc, r)
	defer e.upload.close()
	return s.backend.ImportStream(r.Context(), e.upload.r, r.ContentLength, req)
}

func (s *server) verifyImage(e *events, r *http.Request) (any, error) {
	rep, err := s.backend.VerifyImage(r.Context(), r.PathValue("name"), e.progress)
	rep.Bad = orEmpty(rep.Bad)
	return rep, err
}

func (s *server) digestImage(e *events, r *http.Request) (any, error) {
	raw, err := queryBool(r, "sha256")
	if err != nil {
		return nil, err
	}
	return s.backend.DigestImage(r.Context(), r.PathValue("name"), raw, e.progress)
}

// queryBool reads a query parameter that is true or false; without it, false.
func queryBool(r *http.Request, name string) (bool, error) {
	switch v := r.URL.Query().Get(name); v {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	default:
		return false, invalid(fmt.Sprintf("%s=%q: it is true or false", name, v))
	}
}

func (s *server) captureImage(e *events, r *http.Request) (any, error) {
	var body CaptureRequest
	if err := readJSON(e.w, r, &body); err != nil {
		return nil, err
	}
	req := blockstore.ImportRequest{
		Name:      r.PathValue("name"),
		RequestID: requestID(r),
		Owner:     body.Owner,
		Progress:  e.progress,
	}
	if body.Snapshot != "" {
		return s.backend.CaptureSnapshot(r.Context(), body.Volume, body.Snapshot, req)
	}
	return s.backend.CaptureImage(r.Context(), body.Volume, req)
}

func (s *server) openImage(r *http.Request) (Disk, error) {
	return s.backend.OpenImage(r.Context(), r.PathValue("name"))
}

func requestID(r *http.Request) string { return r.Header.Get(HeaderRequestID) }
