package v1

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"goldstream/lifecycle/task"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
	"goldstream/personalize/step"
)

// TypeYAML is the media type of plans as people write them.
const TypeYAML = "application/yaml"

// PlanBackend is the part of a Backend that knows plans, and deploys them.
type PlanBackend interface {
	// ImportPlans keeps the plans of a file, all or none; with dry it only
	// tells what it would do.
	ImportPlans(ctx context.Context, r io.Reader, dry bool) ([]PlanChange, error)
	Plans(ctx context.Context) ([]PlanInfo, error)
	Plan(ctx context.Context, kind personalize.Kind, name string) (Plan, error)
	DeletePlan(ctx context.Context, kind personalize.Kind, name string) error
	// Preview checks a deployment and shows its program.
	Preview(ctx context.Context, req DeployRequest) (Preview, error)
	Deploy(ctx context.Context, req DeployRequest, requestID string) (task.Info, error)
}

// PlanInfo describes a plan script, a build plan or a deployment plan.
type PlanInfo struct {
	Kind        personalize.Kind `json:"kind"`
	Name        string           `json:"name"`
	URI         string           `json:"uri"`
	ETag        string           `json:"eTag"`
	Description string           `json:"description,omitempty"`
	Modified    time.Time        `json:"modified"`
	Type        personalize.Type `json:"type,omitempty"`
	Image       string           `json:"image,omitempty"`
	BuildPlan   string           `json:"buildPlan,omitempty"`
	Size        int64            `json:"size,omitempty"`
	Steps       []string         `json:"steps,omitempty"` // names of scripts, and what native steps are called
}

// Plan is all of a plan.
type Plan struct {
	PlanInfo
	Script string `json:"script,omitempty"`
	// Native has the native steps, each at its place in Steps; null stands for a
	// script.
	Native     []*step.Step           `json:"nativeSteps,omitempty"`
	Attributes []attribute.Definition `json:"attributes,omitempty"`
	Values     []attribute.Value      `json:"values,omitempty"`
	Fixed      []string               `json:"fixed,omitempty"`
	Hidden     []string               `json:"hidden,omitempty"`
}

// PlanChange says what an import did with a plan: created, changed, unchanged.
type PlanChange struct {
	Kind   personalize.Kind `json:"kind"`
	Name   string           `json:"name"`
	Change string           `json:"change"`
}

// PlanChanges answers POST /v1/plans.
type PlanChanges struct {
	Plans []PlanChange `json:"plans"`
}

// PlanList answers GET /v1/plans.
type PlanList struct {
	Plans []PlanInfo `json:"plans"`
}

// DeployRequest asks for an OS volume by a deployment plan.
type DeployRequest struct {
	Plan   string            `json:"plan"`
	Name   string            `json:"name"` // of the volume
	Values []attribute.Value `json:"values,omitempty"`
	// Keep leaves the volume of a deployment that failed, to be looked at.
	Keep bool `json:"keep,omitempty"`
	// AsIs leaves the identity of the image's machine on the volume: nothing is done
	// but the plan's steps. Otherwise a generalize step comes first, unless the plan
	// has one.
	AsIs bool `json:"asIs,omitempty"`
}

// Preview is what a deployment would do, with secrets masked.
type Preview struct {
	Plan   string            `json:"plan"`
	Name   string            `json:"name"`
	Image  string            `json:"image,omitempty"`
	Size   int64             `json:"size,omitempty"`
	Values []attribute.Value `json:"values"`
	Steps  json.RawMessage   `json:"steps"`
	Text   string            `json:"text"` // the program for people
}

func (s *server) routePlans(mux *router) {
	mux.HandleFunc("POST /v1/plans", s.answer(s.importPlans, "dryRun"))
	mux.HandleFunc("GET /v1/plans", s.answer(s.listPlans))
	mux.HandleFunc("GET /v1/plans/{kind}/{name}", s.answer(s.showPlan))
	mux.HandleFunc("DELETE /v1/plans/{kind}/{name}", s.answer(s.deletePlan))
	mux.HandleFunc("POST /v1/deployments", s.answer(s.deploy))
	mux.HandleFunc("POST /v1/deployments/preview", s.answer(s.preview))
}

func (s *server) importPlans(w http.ResponseWriter, r *http.Request) (any, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(jsonTimeout))
	defer http.NewResponseController(w).SetReadDeadline(time.Time{})
	list, err := s.backend.ImportPlans(r.Context(), http.MaxBytesReader(w, r.Body, personalize.MaxDocument+1), r.URL.Query().Get("dryRun") == "true")
	return PlanChanges{Plans: orEmpty(list)}, err
}

func (s *server) listPlans(_ http.ResponseWriter, r *http.Request) (any, error) {
	list, err := s.backend.Plans(r.Context())
	return PlanList{Plans: orEmpty(list)}, err
}

func (s *server) showPlan(_ http.ResponseWriter, r *http.Request) (any, error) {
	return s.backend.Plan(r.Context(), personalize.Kind(r.PathValue("kind")), r.PathValue("name"))
}

func (s *server) deletePlan(_ http.ResponseWriter, r *http.Request) (any, error) {
	return nil, s.backend.DeletePlan(r.Context(), personalize.Kind(r.PathValue("kind")), r.PathValue("name"))
}

func (s *server) preview(w http.ResponseWriter, r *http.Request) (any, error) {
	var body DeployRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.Preview(r.Context(), body)
}

func (s *server) deploy(w http.ResponseWriter, r *http.Request) (any, error) {
	var body DeployRequest
	if err := readJSON(w, r, &body); err != nil {
		return nil, err
	}
	return s.backend.Deploy(r.Context(), body, requestID(r))
}

// ImportPlans keeps the plans of a file in YAML, all or none.
func (c *Client) ImportPlans(ctx context.Context, file string, dry bool) (p PlanChanges, err error) {
	resp, err := c.do(ctx, http.MethodPost, fmt.Sprintf("/v1/plans?dryRun=%v", dry), TypeYAML, strings.NewReader(file), int64(len(file)), nil)
	if err != nil {
		return p, err
	}
	defer resp.Body.Close()
	return p, json.NewDecoder(resp.Body).Decode(&p)
}

// Plans lists the plans of all kinds.
func (c *Client) Plans(ctx context.Context) ([]PlanInfo, error) {
	var l PlanList
	err := c.call(ctx, http.MethodGet, "/v1/plans", nil, &l)
	return l.Plans, err
}

// Plan returns one plan.
func (c *Client) Plan(ctx context.Context, kind personalize.Kind, name string) (p Plan, err error) {
	err = c.call(ctx, http.MethodGet, planPath(kind, name), nil, &p)
	return p, err
}

// DeletePlan deletes a plan that no other uses.
func (c *Client) DeletePlan(ctx context.Context, kind personalize.Kind, name string) error {
	return c.call(ctx, http.MethodDelete, planPath(kind, name), nil, nil)
}

func planPath(kind personalize.Kind, name string) string {
	return "/v1/plans/" + url.PathEscape(string(kind)) + "/" + url.PathEscape(name)
}

// Preview checks a deployment and shows its program.
func (c *Client) Preview(ctx context.Context, req DeployRequest) (p Preview, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/deployments/preview", req, &p)
	return p, err
}

// Deploy makes an OS volume by a deployment plan, as a task.
func (c *Client) Deploy(ctx context.Context, req DeployRequest, opts ...Option) (t task.Info, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/deployments", req, &t, opts...)
	return t, err
}
