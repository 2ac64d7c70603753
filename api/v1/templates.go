package v1

import (
	"context"
	"net/http"
)

// Template is what server profiles are made from. What it leaves open, each
// profile says for itself. A change of it changes no profile: those tell in what
// they differ from it, and comply when they are asked to.
type Template struct {
	ResourceHead
	Type     string `json:"type,omitempty"`
	Group    string `json:"group,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	// Deployment that is left away in a change, or empty, stays as it is.
	Deployment *ProfileDeployment `json:"deployment,omitempty"`

	Profiles int `json:"profiles"` // that name it; told
}

// Collection is TemplateCollection.
func (*Template) Collection() Collection { return TemplateCollection }

// Secrets maps names to the passwords among the values.
func (t *Template) Secrets() map[string]*string { return t.Deployment.secrets() }

func (s *server) routeTemplates(mux *router) {
	mux.HandleFunc("POST /v1/profiles/{name}/comply", s.answer(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		how, err := changeOf(r)
		if err != nil {
			return nil, err
		}
		return s.backend.Comply(r.Context(), r.PathValue("name"), how)
	}, "dryRun", "confirm"))
}

// Comply makes a profile what its template says; p becomes the profile.
func (c *Client) Comply(ctx context.Context, name string, p *Profile, how Change) (Outcome, error) {
	o := Outcome{Resource: p}
	err := c.call(ctx, http.MethodPost, resourcePath(ProfileCollection, name)+"/comply"+how.query(), nil, &o, how.option())
	return o, err
}
