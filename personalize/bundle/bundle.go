package bundle

import (
	"archive/zip"
	"slices"
	"time"

	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

// Limits of a bundle. Payloads of images have none but the size of the file.
const (
	maxEntries   = 4096
	maxDirectory = 4 << 20  // bytes of the archive's directory
	maxText      = 8 << 20  // bytes of one object, unpacked
	maxTexts     = 64 << 20 // bytes of all objects, unpacked
	maxManifest  = 64 << 10
	maxSums      = 2 << 20

	maxName        = 128 // bytes, as the next: what resources may have
	maxDescription = 4096
	maxWarnings    = 50
)

// Bundle is what stands in a file.
type Bundle struct {
	Manifest
	Scripts     []Script
	Images      []Image
	Builds      []Build
	Deployments []Deployment
	// Warnings say what was passed over.
	Warnings []string

	sums sums
}

// Head is what all artifacts have. ID is unique among those of its kind.
type Head struct {
	ID, Name, Description string
}

// Script is a plan script.
type Script struct {
	Head
	personalize.PlanScript
}

// Build is a build plan. Its steps name scripts, not their URIs.
type Build struct {
	Head
	personalize.BuildPlan
}

// Deployment is a deployment plan.
type Deployment struct {
	Head
	ReadOnly bool
	Image    string // name of the golden image; "" is an empty volume
	Build    string // name of the build plan
	// Attributes are those of the build plan, with the values of this plan.
	Attributes []attribute.Definition
	Fixed      []string // that profiles may not change
	Hidden     []string // that profiles do not show
}

// Image is a golden image.
type Image struct {
	Head
	ReadOnly bool
	payload  *zip.File // nil where the bundle has none
}

// HasPayload tells whether the disk is in the bundle.
func (i Image) HasPayload() bool { return i.payload != nil }

// Manifest says what the bundle is.
type Manifest struct {
	Name        string
	Description string
	ReadOnly    bool
	Time        time.Time // zero where it is not told
}

// Artifact describes one artifact of a bundle.
type Artifact struct {
	Head
	Collection string // as in URIs: plan-scripts …
	ReadOnly   bool
	// Uses are names: of the scripts of a build plan, or of the image and the build
	// plan of a deployment plan, "" for none.
	Uses []string
}

// Artifacts lists all of them, those that others refer to first.
func (b *Bundle) Artifacts() (list []Artifact) {
	for _, s := range b.Scripts {
		list = append(list, Artifact{s.Head, "plan-scripts", s.ReadOnly, nil})
	}
	for _, i := range b.Images {
		list = append(list, Artifact{i.Head, "golden-images", i.ReadOnly, nil})
	}
	for _, p := range b.Builds {
		var uses []string // each once: a plan may run a script many times
		for _, s := range p.Steps {
			if s.Native == nil && !slices.Contains(uses, s.Script) {
				uses = append(uses, s.Script)
			}
		}
		list = append(list, Artifact{p.Head, "build-plans", p.ReadOnly, uses})
	}
	for _, p := range b.Deployments {
		list = append(list, Artifact{p.Head, "deployment-plans", p.ReadOnly, []string{p.Image, p.Build}})
	}
	return list
}
