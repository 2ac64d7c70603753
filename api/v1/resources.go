package v1

import (
	"time"

	"goldstream/lifecycle/task"
)

// Collection is a sort of resources, as it stands in their paths.
type Collection string

// The collections.
const (
	HardwareCollection  Collection = "hardware"
	TypeCollection      Collection = "hardware-types"
	EnclosureCollection Collection = "enclosures"
	GroupCollection     Collection = "enclosure-groups"
	LogicalCollection   Collection = "logical-enclosures"
	TemplateCollection  Collection = "profile-templates"
	ProfileCollection   Collection = "profiles"
)

// Collections lists all of them; those that others refer to come first.
func Collections() []Collection {
	return []Collection{TypeCollection, EnclosureCollection, GroupCollection, LogicalCollection, HardwareCollection, TemplateCollection, ProfileCollection}
}

// Resource is one of the things that an operator administers. In a request a
// reference is the name of another resource, or its URI; in answers a name. What
// is marked as told stands in answers only and is passed over in requests.
type Resource interface {
	Head() *ResourceHead
	Collection() Collection
}

// NewResource returns an empty resource of a collection, or nil.
func NewResource(c Collection) Resource {
	switch c {
	case HardwareCollection:
		return &Hardware{}
	case TypeCollection:
		return &HardwareType{}
	case EnclosureCollection:
		return &Enclosure{}
	case GroupCollection:
		return &EnclosureGroup{}
	case LogicalCollection:
		return &LogicalEnclosure{}
	case TemplateCollection:
		return &Template{}
	case ProfileCollection:
		return &Profile{}
	}
	return nil
}

// ResourceHead is what all resources have.
type ResourceHead struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	// URI names the resource for good. It is told.
	URI string `json:"uri,omitempty"`
	// ETag names the present state. In a request it is the state that the
	// client knows, unless an If-Match header says so.
	ETag     string    `json:"eTag,omitempty"`
	Created  time.Time `json:"created,omitzero"`  // told
	Modified time.Time `json:"modified,omitzero"` // told
}

// Head returns the head itself.
func (h *ResourceHead) Head() *ResourceHead { return h }

// Hardware is a physical server.
type Hardware struct {
	ResourceHead
	Type      string   `json:"type"`
	Enclosure string   `json:"enclosure,omitempty"` // "default" without
	Bay       int      `json:"bay,omitempty"`
	UUID      string   `json:"uuid,omitempty"`
	Serial    string   `json:"serial,omitempty"`
	MACs      []string `json:"macs,omitempty"`
	Power     string   `json:"power,omitempty"` // On, Off or Unknown

	LogicalEnclosure string `json:"logicalEnclosure,omitempty"` // told
	Profile          string `json:"profile,omitempty"`          // told
}

// Collection is HardwareCollection.
func (*Hardware) Collection() Collection { return HardwareCollection }

// HardwareType is a model class of servers.
type HardwareType struct {
	ResourceHead
	Model  string `json:"model,omitempty"`
	Family string `json:"family,omitempty"`
}

// Collection is TypeCollection.
func (*HardwareType) Collection() Collection { return TypeCollection }

// Enclosure is a chassis.
type Enclosure struct {
	ResourceHead
	Serial           string `json:"serial,omitempty"`
	LogicalEnclosure string `json:"logicalEnclosure,omitempty"` // told
}

// Collection is EnclosureCollection.
func (*Enclosure) Collection() Collection { return EnclosureCollection }

// EnclosureGroup is a template of enclosures.
type EnclosureGroup struct {
	ResourceHead
	NoDeployment bool `json:"noDeployment,omitempty"` // profiles in it name no deployment plan
}

// Collection is GroupCollection.
func (*EnclosureGroup) Collection() Collection { return GroupCollection }

// LogicalEnclosure is a group of enclosures, and the home of the OS volumes
// that were made for servers in them.
type LogicalEnclosure struct {
	ResourceHead
	Group      string   `json:"group"`
	Enclosures []string `json:"enclosures"`
}

// Collection is LogicalCollection.
func (*LogicalEnclosure) Collection() Collection { return LogicalCollection }

// Change says how a resource is to be changed.
type Change struct {
	// ETag is the state that is to be changed; "" or "*" is whatever it is.
	ETag      string
	RequestID string
	// DryRun only tells what would happen.
	DryRun bool
	// Confirmed says that a volume may be lost of a server that may run.
	Confirmed bool
}

// Outcome is what became of a change, or with DryRun would.
type Outcome struct {
	Resource Resource `json:"resource,omitempty"` // nil where it was deleted
	// Effects say what happens to which volume, and why.
	Effects []Effect `json:"effects"`
	DryRun  bool     `json:"dryRun,omitempty"`
	// Task carries the effects out; nil where there was nothing to do.
	Task *task.Info `json:"task,omitempty"`
}

// Effect is what happens to the OS volume of one profile.
type Effect struct {
	Profile string   `json:"profile"`
	Volume  string   `json:"volume,omitempty"` // that it has now
	Action  string   `json:"action"`           // retain, create, regenerate, delete, delete-then-pending
	Rows    []string `json:"rows"`             // of the table of rules
	Reasons []string `json:"reasons"`
	Bytes   int64    `json:"bytes,omitempty"` // of a volume that goes, as its server sees it
}
