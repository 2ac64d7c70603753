package model

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
)

// URI names a resource for good: /rest/COLLECTION/ID.
type URI string

// Kind is a collection of resources, as it stands in their URIs.
type Kind string

// The collections.
const (
	GoldenImages      Kind = "golden-images"
	PlanScripts       Kind = "plan-scripts"
	BuildPlans        Kind = "build-plans"
	DeploymentPlans   Kind = "deployment-plans"
	ArtifactBundles   Kind = "artifact-bundles"
	OSVolumes         Kind = "os-volumes"
	ServerProfiles    Kind = "server-profiles"
	ProfileTemplates  Kind = "server-profile-templates"
	ServerHardwares   Kind = "server-hardware"
	HardwareTypes     Kind = "server-hardware-types"
	Enclosures        Kind = "enclosures"
	EnclosureGroups   Kind = "enclosure-groups"
	LogicalEnclosures Kind = "logical-enclosures"
	Networks          Kind = "ethernet-networks"
)

const (
	uriPrefix      = "/rest/"
	defaultID      = "default"
	maxName        = 128 // bytes, as the following
	maxDescription = 4096
	maxExtra       = 256 << 10
)

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// NewURI returns a URI for a new resource. No two are alike.
func NewURI(k Kind) URI {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (Go 1.24)
	return uri(k, fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

// URIOf returns the URI with an ID that is known from elsewhere, or "" for what
// cannot be one.
func URIOf(k Kind, id string) URI {
	if u := uri(k, id); u.Kind() == k {
		return u
	}
	return ""
}

// DefaultURI names the resource of a kind that a fresh store has; only
// hardware types, enclosures, enclosure groups and logical enclosures have one.
func DefaultURI(k Kind) URI { return uri(k, defaultID) }

// ImageURI names an image of the block store, by its ID there, that has no record
// or gets one.
func ImageURI(id string) URI { return uri(GoldenImages, id) }

func uri(k Kind, id string) URI { return URI(uriPrefix + string(k) + "/" + id) }

// Kind returns the collection that the URI is in, or "" if it has no such form.
func (u URI) Kind() Kind {
	k, _ := u.split()
	return k
}

// ID returns the last part of the URI, or "".
func (u URI) ID() string {
	_, id := u.split()
	return id
}

func (u URI) split() (Kind, string) {
	rest, ok := strings.CutPrefix(string(u), uriPrefix)
	kind, id, both := strings.Cut(rest, "/")
	if !ok || !both || !idForm.MatchString(id) || New(Kind(kind)) == nil {
		return "", ""
	}
	return Kind(kind), id
}
