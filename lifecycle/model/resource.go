package model

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"goldstream/personalize/attribute"
)

// ErrInvalid is the cause of every error of a Validate.
var ErrInvalid = attribute.ErrInvalid

type invalid struct{ text string }

func (e *invalid) Error() string { return e.text }
func (e *invalid) Unwrap() error { return ErrInvalid }

func invalidf(format string, args ...any) error { return &invalid{fmt.Sprintf(format, args...)} }

// Meta is what all resources have. The store sets URI, ETag and the times.
type Meta struct {
	URI         URI       `json:"uri"`
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	ETag        string    `json:"eTag,omitempty"`
	Created     time.Time `json:"created,omitzero"`
	Modified    time.Time `json:"modified,omitzero"`
	// Extra are fields of the APIs of old that mean nothing here: clients compare
	// what they sent with what they get. It has no secrets.
	Extra map[string]json.RawMessage `json:"extra,omitempty"`
}

// Head returns the meta data itself, to read or to set.
func (m *Meta) Head() *Meta { return m }

// Resource is one thing that is administered. It is not safe for use by
// several goroutines while one changes it.
type Resource interface {
	Head() *Meta
	Kind() Kind
	// Validate checks the resource by itself. Error: ErrInvalid.
	Validate() error
	// References lists what must exist for it to exist.
	References() []Reference
	// Claims lists what nobody else may have, beside the name.
	Claims() []Claim
	// Secrets maps a stable name to where each secret is in clear text.
	Secrets() map[string]*string
}

// Reference is a field that names another resource.
type Reference struct {
	Field string
	To    URI
	Kind  Kind // that To must be of
}

// Claim is something that one resource has at a time.
type Claim struct {
	Key  string // unique among all claims: "bay:/rest/enclosures/e1:4"
	What string // for people: "bay 4 of enclosure /rest/enclosures/e1"
}

// New returns an empty resource of a kind, or nil if this package has none.
func New(k Kind) Resource {
	switch k {
	case GoldenImages:
		return &GoldenImage{}
	case PlanScripts:
		return &PlanScript{}
	case BuildPlans:
		return &BuildPlan{}
	case DeploymentPlans:
		return &DeploymentPlan{}
	case ArtifactBundles:
		return &ArtifactBundle{}
	case OSVolumes:
		return &OSVolume{}
	case ServerProfiles:
		return &ServerProfile{}
	case ProfileTemplates:
		return &ProfileTemplate{}
	case ServerHardwares:
		return &ServerHardware{}
	case HardwareTypes:
		return &HardwareType{}
	case Enclosures:
		return &Enclosure{}
	case EnclosureGroups:
		return &EnclosureGroup{}
	case LogicalEnclosures:
		return &LogicalEnclosure{}
	case Networks:
		return &Network{}
	}
	return nil
}

// bare is embedded by resources without claims and secrets.
type bare struct{}

func (bare) Claims() []Claim             { return nil }
func (bare) Secrets() map[string]*string { return nil }

var nameForm = regexp.MustCompile(`^[^\x00-\x1f\x7f/ ]([^\x00-\x1f\x7f/]*[^\x00-\x1f\x7f/ ])?$`)

func (m *Meta) validate(kind Kind) error {
	if len(m.Name) > maxName || !nameForm.MatchString(m.Name) {
		return invalidf("%q is no name for one of the %s: use 1 to %d bytes without slashes, control characters and blanks at the ends", m.Name, kind, maxName)
	}
	if len(m.Description) > maxDescription {
		return invalidf("the description of %q has %d bytes: use at most %d", m.Name, len(m.Description), maxDescription)
	}
	extra := 0
	for key, value := range m.Extra {
		extra += len(key) + len(value)
	}
	if extra > maxExtra {
		return invalidf("%q has %d bytes of fields that are only kept: use at most %d", m.Name, extra, maxExtra)
	}
	if m.URI != "" && m.URI.Kind() != kind {
		return invalidf("%q is no URI of one of the %s", m.URI, kind)
	}
	return nil
}

// refs collects the references that are set, and complains about wrong kinds.
func refs(list ...Reference) []Reference {
	var out []Reference
	for _, r := range list {
		if r.To != "" {
			out = append(out, r)
		}
	}
	return out
}

// checkRefs complains of references that name something of another kind.
func checkRefs(name string, list []Reference) error {
	for _, r := range list {
		if r.To.Kind() != r.Kind {
			return invalidf("%s of %q is %q: it must be the URI of one of the %s", r.Field, name, r.To, r.Kind)
		}
	}
	return nil
}
