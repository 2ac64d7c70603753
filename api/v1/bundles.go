package v1

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"goldstream/lifecycle/task"
)

// TypeZIP is the media type of artifact bundles.
const TypeZIP = "application/zip"

// BundleBackend is the part of a Backend that knows artifact bundles. A name may
// be a URI, too.
type BundleBackend interface {
	// AddBundle keeps a bundle that is uploaded: size bytes, or -1. Nothing of it
	// is imported. name is "" for the name that the bundle has itself.
	AddBundle(ctx context.Context, name string, r io.Reader, size int64) (BundleInfo, error)
	Bundles(ctx context.Context) ([]BundleInfo, error)
	Bundle(ctx context.Context, name string) (BundleInfo, error)
	// OpenBundle opens the file of a bundle.
	OpenBundle(ctx context.Context, name string) (BundleInfo, io.ReadSeekCloser, error)
	// ChangeBundle gives a bundle another name or description.
	ChangeBundle(ctx context.Context, name string, to BundleChangeRequest) (BundleInfo, error)
	DeleteBundle(ctx context.Context, name string) error
	// PreviewBundle tells what an import would do.
	PreviewBundle(ctx context.Context, name string, on Conflict) ([]BundleChange, error)
	// ImportBundle makes the plans and images of a bundle, all or none, as a task
	// whose result is a list of BundleChange.
	ImportBundle(ctx context.Context, name string, on Conflict, requestID string) (task.Info, error)
	// CreateBundle makes a bundle of what is here, as a task whose result is its
	// BundleInfo.
	CreateBundle(ctx context.Context, req BundleRequest, requestID string) (task.Info, error)
}

// Conflict says what is done where something else has a name already.
type Conflict string

// What can be done.
const (
	ConflictFail      Conflict = "fail" // nothing is imported; "" is the same
	ConflictOverwrite Conflict = "overwrite"
	ConflictKeep      Conflict = "keep"
	ConflictRename    Conflict = "rename"
)

// Conflicts lists them.
func Conflicts() []Conflict {
	return []Conflict{ConflictFail, ConflictOverwrite, ConflictKeep, ConflictRename}
}

// BundleInfo describes an artifact bundle.
type BundleInfo struct {
	Name        string           `json:"name"`
	URI         string           `json:"uri,omitempty"`
	ETag        string           `json:"eTag,omitempty"`
	Description string           `json:"description,omitempty"`
	ReadOnly    bool             `json:"readOnly,omitempty"`
	Size        int64            `json:"size"` // bytes of the file
	SHA256      string           `json:"sha256"`
	Created     time.Time        `json:"created,omitzero"` // when it came here
	Modified    time.Time        `json:"modified,omitzero"`
	Made        time.Time        `json:"made,omitzero"` // as it says itself
	Count       int              `json:"artifactCount"`
	Artifacts   []BundleArtifact `json:"artifacts,omitempty"` // not in lists
	Warnings    []string         `json:"warnings,omitempty"`
}

// BundleArtifact is one artifact of a bundle. Kind is its collection, such as
// plan-scripts; Uses has the names of what it refers to.
type BundleArtifact struct {
	Kind        string   `json:"kind"`
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	ReadOnly    bool     `json:"readOnly,omitempty"`
	Uses        []string `json:"uses,omitempty"`
}

// BundleChange says what an import did with an artifact: created, changed,
// unchanged, kept, renamed or skipped.
type BundleChange struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"` // in the bundle
	Change string `json:"change"`
	As     string `json:"as,omitempty"`  // its name here, if that is another
	Why    string `json:"why,omitempty"` // it was skipped
}

// BundleList answers GET /v1/bundles.
type BundleList struct {
	Bundles []BundleInfo `json:"bundles"`
}

// BundleChanges answers POST /v1/bundles/{name}/preview.
type BundleChanges struct {
	Artifacts []BundleChange `json:"artifacts"`
}

// BundleImportRequest is the body of an import and of its preview.
type BundleImportRequest struct {
	OnConflict Conflict `json:"onConflict,omitempty"`
}

// BundleChangeRequest is the body of PUT /v1/bundles/{name}.
type BundleChangeRequest struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	ETag        string `json:"eTag,omitempty"` // "" is whatever it is
}

// BundleRequest asks for a bundle of plans and images; what they refer to comes
// with them.
type BundleRequest struct {
	Name        string       `json:"name"`
	Description string       `json:"description,omitempty"`
	ReadOnly    bool         `json:"readOnly,omitempty"`
	Scripts     []BundleItem `json:"planScripts,omitempty"`
	Builds      []BundleItem `json:"buildPlans,omitempty"`
	Deployments []BundleItem `json:"deploymentPlans,omitempty"`
	Images      []BundleItem `json:"goldenImages,omitempty"`
}

// BundleItem names one of them, or its URI.
type BundleItem struct {
	Name string `json:"name"`
	// ReadOnly marks it as not to be changed where it is imported.
	ReadOnly bool `json:"readOnly,omitempty"`
}

func (s *server) routeBundles(mux *router) {
	mux.HandleFunc("GET /v1/bundles", s.answer(s.listBundles))
	mux.HandleFunc("POST /v1/bundles", s.stream(s.addBundle, "name"))
	mux.HandleFunc("GET /v1/bundles/{name}", s.answer(s.showBundle))
	mux.HandleFunc("PUT /v1/bundles/{name}", s.answer(s.changeBundle))
	mux.HandleFunc("DELETE /v1/bundles/{name}", s.answer(s.deleteBundle))
	mux.HandleFunc("GET /v1/bundles/{name}/file", s.bundleFile)
	mux.HandleFunc("POST /v1/bundles/{name}/preview", s.answer(s.previewBundle))
	mux.HandleFunc("POST /v1/bundles/{name}/import", s.answer(s.importBundle))
	mux.HandleFunc("POST /v1/bundle-requests", s.answer(s.createBundle))
}

func (s *server) listBundles(_ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := s.backend.Bundles(r.Context())
	return BundleList{Bundles: orEmpty(list)}, err
}

func (s *server) addBundle(e *events, r *http.Request) (any, error) {
	e.upload = newUpload(e.rc, r)
	defer e.upload.close()
	return s.backend.AddBundle(r.Context(), r.URL.Query().Get("name"), e.upload.r, r.ContentLength)
}

func (s *server) showBundle(w http.ResponseWriter, r *http.Request) (any, error) {
	info, err := s.backend.Bundle(r.Context(), r.PathValue("name"))
	if err == nil {
		w.Header().Set("ETag", `"`+info.ETag+`"`)
	}
	return info, err
}

func (s *server) changeBundle(w http.ResponseWriter, r *http.Request) (any, error) {
	var body BundleChangeRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.ChangeBundle(r.Context(), r.PathValue("name"), body)
}

func (s *server) deleteBundle(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, s.backend.DeleteBundle(r.Context(), r.PathValue("name"))
}

func (s *server) previewBundle(w http.ResponseWriter, r *http.Request) (any, error) {
	var body BundleImportRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	list, err := s.backend.PreviewBundle(r.Context(), r.PathValue("name"), body.OnConflict)
	return BundleChanges{Artifacts: orEmpty(list)}, err
}

func (s *server) importBundle(w http.ResponseWriter, r *http.Request) (any, error) {
	var body BundleImportRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.ImportBundle(r.Context(), r.PathValue("name"), body.OnConflict, requestID(r))
}

func (s *server) createBundle(w http.ResponseWriter, r *http.Request) (any, error) {
	var body BundleRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.CreateBundle(r.Context(), body, requestID(r))
}

// bundleFile sends the file; ranges of it too.
func (s *server) bundleFile(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	err := onlyQuery(r)
	var info BundleInfo
	var file io.ReadSeekCloser
	if err == nil {
		info, file, err = s.backend.OpenBundle(r.Context(), r.PathValue("name"))
	}
	s.record(r, start, err)
	if err != nil {
		s.deadline(w)
		writeError(w, err)
		return
	}
	defer file.Close()
	w.Header().Set("Content-Type", TypeZIP)
	w.Header().Set("ETag", `"`+info.SHA256+`"`)
	http.ServeContent(patient{w, http.NewResponseController(w)}, r, "", info.Created, file)
}

// patient gives the client time for each piece of an answer.
type patient struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	return p.ResponseWriter.Write(b)
}

func bundlePath(name, verb string) string { return "/v1/bundles/" + url.PathEscape(name) + verb }

// AddBundle uploads a bundle of size bytes, or -1; nothing of it is imported.
func (c *Client) AddBundle(ctx context.Context, name string, r io.Reader, size int64) (b BundleInfo, err error) {
	path := "/v1/bundles"
	if name != "" {
		path += "?name=" + url.QueryEscape(name)
	}
	err = c.send(ctx, path, r, size, &b, nil, nil)
	return b, err
}

// Bundles lists the bundles.
func (c *Client) Bundles(ctx context.Context) ([]BundleInfo, error) {
	var l BundleList
	err := c.call(ctx, http.MethodGet, "/v1/bundles", nil, &l)
	return l.Bundles, err
}

// Bundle describes one bundle.
func (c *Client) Bundle(ctx context.Context, name string) (b BundleInfo, err error) {
	err = c.call(ctx, http.MethodGet, bundlePath(name, ""), nil, &b)
	return b, err
}

// ChangeBundle gives a bundle another name or description.
func (c *Client) ChangeBundle(ctx context.Context, name string, to BundleChangeRequest) (b BundleInfo, err error) {
	err = c.call(ctx, http.MethodPut, bundlePath(name, ""), to, &b)
	return b, err
}

// DeleteBundle deletes a bundle; what was imported from it stays.
func (c *Client) DeleteBundle(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, bundlePath(name, ""), nil, nil)
}

// PreviewBundle tells what an import would do.
func (c *Client) PreviewBundle(ctx context.Context, name string, on Conflict) (l BundleChanges, err error) {
	err = c.call(ctx, http.MethodPost, bundlePath(name, "/preview"), BundleImportRequest{on}, &l)
	return l, err
}

// ImportBundle makes the plans and images of a bundle, as a task.
func (c *Client) ImportBundle(ctx context.Context, name string, on Conflict, opts ...Option) (t task.Info, err error) {
	err = c.call(ctx, http.MethodPost, bundlePath(name, "/import"), BundleImportRequest{on}, &t, opts...)
	return t, err
}

// CreateBundle makes a bundle of what is here, as a task.
func (c *Client) CreateBundle(ctx context.Context, req BundleRequest, opts ...Option) (t task.Info, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/bundle-requests", req, &t, opts...)
	return t, err
}

// DownloadBundle writes the file of a bundle to w. One that is cut off is an error.
func (c *Client) DownloadBundle(ctx context.Context, name string, w io.Writer) (int64, error) {
	resp, err := c.do(ctx, http.MethodGet, bundlePath(name, "/file"), "", nil, -1, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	size, err := strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64)
	if err != nil {
		return 0, brokeOff(ctx, err)
	}
	n, err := io.Copy(w, resp.Body)
	if err == nil && n != size {
		err = brokeOff(ctx, io.ErrUnexpectedEOF)
	}
	return n, err
}
