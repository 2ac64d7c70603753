package v1

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// ResourceBackend is the part of a Backend that knows servers and where they
// stand.
type ResourceBackend interface {
	// Resources lists a collection by name.
	Resources(ctx context.Context, c Collection) ([]Resource, error)
	Resource(ctx context.Context, c Collection, name string) (Resource, error)
	CreateResource(ctx context.Context, r Resource, how Change) (Outcome, error)
	// ReplaceResource changes the resource of a name to r.
	ReplaceResource(ctx context.Context, name string, r Resource, how Change) (Outcome, error)
	DeleteResource(ctx context.Context, c Collection, name string, how Change) (Outcome, error)
}

// ConfirmLoss is the value of ?confirm= that lets a volume be lost of a server
// that may run.
const ConfirmLoss = "volume-loss"

// MemberList answers GET /v1/COLLECTION.
type MemberList[T any] struct {
	Members []T `json:"members"`
}

func (s *server) routeResources(mux *router) {
	for _, c := range Collections() {
		path := "/v1/" + string(c)
		mux.HandleFunc("GET "+path, s.answer(s.listResources(c)))
		mux.HandleFunc("GET "+path+"/{name}", s.answer(s.showResource(c)))
		mux.HandleFunc("POST "+path, s.answer(s.createResource(c), "dryRun", "confirm"))
		mux.HandleFunc("PUT "+path+"/{name}", s.answer(s.replaceResource(c), "dryRun", "confirm"))
		mux.HandleFunc("DELETE "+path+"/{name}", s.answer(s.deleteResource(c), "dryRun", "confirm"))
	}
}

type answerFunc = func(http.ResponseWriter, *http.Request) (any, error)

func (s *server) listResources(c Collection) answerFunc {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		list, err := s.backend.Resources(r.Context(), c)
		return MemberList[Resource]{orEmpty(list)}, err
	}
}

func (s *server) showResource(c Collection) answerFunc {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		res, err := s.backend.Resource(r.Context(), c, r.PathValue("name"))
		if err == nil {
			w.Header().Set("ETag", `"`+res.Head().ETag+`"`)
		}
		return res, err
	}
}

func (s *server) createResource(c Collection) answerFunc {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		res, how, err := readResource(w, r, c)
		if err != nil {
			return nil, err
		}
		return s.backend.CreateResource(r.Context(), res, how)
	}
}

func (s *server) replaceResource(c Collection) answerFunc {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		res, how, err := readResource(w, r, c)
		if err != nil {
			return nil, err
		}
		return s.backend.ReplaceResource(r.Context(), r.PathValue("name"), res, how)
	}
}

func (s *server) deleteResource(c Collection) answerFunc {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		how, err := changeOf(r)
		if err != nil {
			return nil, err
		}
		return s.backend.DeleteResource(r.Context(), c, r.PathValue("name"), how)
	}
}

func readResource(w http.ResponseWriter, r *http.Request, c Collection) (Resource, Change, error) {
	how, err := changeOf(r)
	if err != nil {
		return nil, how, err
	}
	res := NewResource(c)
	if err := readJSON(w, r, res); err != nil {
		return nil, how, err
	}
	if how.ETag == "" {
		how.ETag = res.Head().ETag
	}
	return res, how, nil
}

// changeOf reads what a request says of how to change something.
func changeOf(r *http.Request) (how Change, err error) {
	how.RequestID = requestID(r)
	how.ETag = strings.Trim(strings.TrimPrefix(r.Header.Get("If-Match"), "W/"), `"`)
	q := r.URL.Query()
	switch v := q.Get("dryRun"); v {
	case "", "true", "false":
		how.DryRun = v == "true"
	default:
		return how, invalid(fmt.Sprintf("dryRun=%.64s: write true or false", v))
	}
	switch v := q.Get("confirm"); v {
	case "", ConfirmLoss:
		how.Confirmed = v != ""
	default:
		return how, invalid(fmt.Sprintf("confirm=%.64s: the only thing to confirm is %s", v, ConfirmLoss))
	}
	return how, nil
}

func (how Change) query() string {
	q := url.Values{}
	if how.DryRun {
		q.Set("dryRun", "true")
	}
	if how.Confirmed {
		q.Set("confirm", ConfirmLoss)
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

func (how Change) option() Option {
	return func(r *http.Request) {
		if how.RequestID != "" {
			r.Header.Set(HeaderRequestID, how.RequestID)
		}
		if how.ETag != "" {
			r.Header.Set("If-Match", `"`+how.ETag+`"`)
		}
	}
}

func resourcePath(c Collection, name string) string {
	if name == "" {
		return "/v1/" + string(c)
	}
	return "/v1/" + string(c) + "/" + url.PathEscape(name)
}

// ListResources lists a collection into members, a pointer to a slice.
func ListResources[T any](ctx context.Context, c *Client, of Collection) ([]T, error) {
	var l MemberList[T]
	err := c.call(ctx, http.MethodGet, resourcePath(of, ""), nil, &l)
	return l.Members, err
}

// Resource reads the resource of a name into r.
func (c *Client) Resource(ctx context.Context, name string, r Resource) error {
	return c.call(ctx, http.MethodGet, resourcePath(r.Collection(), name), nil, r)
}

// CreateResource makes a resource; r becomes what was made.
func (c *Client) CreateResource(ctx context.Context, r Resource, how Change) (Outcome, error) {
	o := Outcome{Resource: r}
	err := c.call(ctx, http.MethodPost, resourcePath(r.Collection(), "")+how.query(), r, &o, how.option())
	return o, err
}

// ReplaceResource changes the resource of a name to r, which becomes what it is
// then.
func (c *Client) ReplaceResource(ctx context.Context, name string, r Resource, how Change) (Outcome, error) {
	o := Outcome{Resource: r}
	err := c.call(ctx, http.MethodPut, resourcePath(r.Collection(), name)+how.query(), r, &o, how.option())
	return o, err
}

// DeleteResource deletes a resource that nothing refers to.
func (c *Client) DeleteResource(ctx context.Context, of Collection, name string, how Change) (o Outcome, err error) {
	err = c.call(ctx, http.MethodDelete, resourcePath(of, name)+how.query(), nil, &o, how.option())
	return o, err
}
