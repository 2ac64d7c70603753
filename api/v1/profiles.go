package v1

import (
	"context"
	"net/http"

	"goldstream/personalize/attribute"
)

// ProfileBackend is the part of a Backend that knows what only server profiles
// can do.
type ProfileBackend interface {
	// Redeploy has the OS volume of a profile made anew.
	Redeploy(ctx context.Context, name string, how Change) (Outcome, error)
	// Comply makes a profile what its template says.
	Comply(ctx context.Context, name string, how Change) (Outcome, error)
	// CheckProfiles says where profiles and the block store do not agree.
	CheckProfiles(ctx context.Context) ([]string, error)
}

// ProfileCheck answers POST /v1/check-profiles.
type ProfileCheck struct {
	Found []string `json:"found"`
}

// Profile is the identity of a server: the hardware it is assigned to, the
// deployment plan of its OS volume, and the values of the plan's attributes.
type Profile struct {
	ResourceHead
	// Template that it is made from: a new profile takes from it what it leaves
	// away itself.
	Template string `json:"template,omitempty"`
	Hardware string `json:"hardware,omitempty"` // none: unassigned
	Type     string `json:"type,omitempty"`     // of hardware; without: that of the first server
	Group    string `json:"group,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	// Deployment that is left away in a change, or empty, stays as it is.
	Deployment *ProfileDeployment `json:"deployment,omitempty"`

	// The rest is told.

	State     string   `json:"state,omitempty"` // Normal, PendingAssignment, Applying, Error
	Task      string   `json:"task,omitempty"`  // that works on it, or failed last
	Owed      []string `json:"owed,omitempty"`  // rows of the rules that were asked for and failed
	Volume    string   `json:"volume,omitempty"`
	VolumeURI string   `json:"volumeUri,omitempty"`
	Home      string   `json:"home,omitempty"` // logical enclosure that the volume was made for
	// ExportClosed says that nobody may open the volume over NBD now.
	ExportClosed bool `json:"exportClosed,omitempty"`
	// Outdated says what of the plan is another than what the volume was made
	// of; only a redeploy uses it.
	Outdated []string `json:"outdated,omitempty"`
	// Differs says in what the profile is not as its template is by now.
	Differs []string `json:"differs,omitempty"`
}

// ProfileDeployment is what a profile says of its OS.
type ProfileDeployment struct {
	// Plan is the name of a deployment plan; "" takes it away, and the volume.
	Plan *string `json:"plan,omitempty"`
	// Values that are left away stay as they are, unless the plan is another. A
	// password that is masked or left away stays, too.
	Values *[]attribute.Value `json:"values,omitempty"`
}

// Collection is ProfileCollection.
func (*Profile) Collection() Collection { return ProfileCollection }

// Secrets maps names to the passwords among the values.
func (p *Profile) Secrets() map[string]*string { return p.Deployment.secrets() }

func (d *ProfileDeployment) secrets() map[string]*string {
	if d == nil || d.Values == nil {
		return nil
	}
	m := map[string]*string{}
	for i := range *d.Values {
		v := &(*d.Values)[i]
		m[v.Name] = v.Place()
	}
	return m
}

func (s *server) routeProfiles(mux *router) {
	mux.HandleFunc("POST /v1/profiles/{name}/redeploy", s.answer(s.redeploy, "dryRun", "confirm"))
	mux.HandleFunc("POST /v1/check-profiles", s.answer(func(_ http.ResponseWriter, r *http.Request) (any, error) {
		found, err := s.backend.CheckProfiles(r.Context())
		return ProfileCheck{orEmpty(found)}, err
	}))
}

func (s *server) redeploy(_ http.ResponseWriter, r *http.Request) (any, error) {
	how, err := changeOf(r)
	if err != nil {
		return nil, err
	}
	return s.backend.Redeploy(r.Context(), r.PathValue("name"), how)
}

// Redeploy has the OS volume of a profile made anew; p becomes the profile.
func (c *Client) Redeploy(ctx context.Context, name string, p *Profile, how Change) (Outcome, error) {
	o := Outcome{Resource: p}
	err := c.call(ctx, http.MethodPost, resourcePath(ProfileCollection, name)+"/redeploy"+how.query(), nil, &o, how.option())
	return o, err
}

// CheckProfiles says where profiles and the block store do not agree.
func (c *Client) CheckProfiles(ctx context.Context) (p ProfileCheck, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/check-profiles", nil, &p)
	return p, err
}
