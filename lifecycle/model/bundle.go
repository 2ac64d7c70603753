package model

import "time"

// ArtifactBundle is a file of plans and golden images that was uploaded or made
// here. The file is beside the store, under the ID of the URI.
type ArtifactBundle struct {
	Meta
	bare
	Size     int64     `json:"size"` // bytes of the file
	SHA256   string    `json:"sha256"`
	ReadOnly bool      `json:"readOnly,omitempty"`
	Made     time.Time `json:"made,omitzero"` // as the bundle itself says
	// Artifacts are what is in it.
	Artifacts []BundleArtifact `json:"artifacts"`
	// Warnings say what of the file was passed over.
	Warnings []string `json:"warnings,omitempty"`
}

// BundleArtifact describes one artifact of a bundle.
type BundleArtifact struct {
	Kind        Kind   `json:"kind"`
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	ReadOnly    bool   `json:"readOnly,omitempty"`
	// Uses are names: the scripts of a build plan, the image and the build plan of
	// a deployment plan.
	Uses []string `json:"uses,omitempty"`
}

// Kind is ArtifactBundles.
func (*ArtifactBundle) Kind() Kind { return ArtifactBundles }

// Validate checks that there is a file.
func (b *ArtifactBundle) Validate() error {
	if err := b.validate(b.Kind()); err != nil {
		return err
	}
	if b.Size <= 0 || b.SHA256 == "" {
		return invalidf("artifact bundle %q has no file", b.Name)
	}
	total := 0
	for _, a := range b.Artifacts {
		total += len(a.ID) + len(a.Name) + len(a.Description)
		for _, u := range a.Uses {
			total += len(u)
		}
	}
	for _, w := range b.Warnings {
		total += len(w)
	}
	if total > maxBundle {
		return invalidf("what stands in artifact bundle %q has names and descriptions of %d bytes: at most %d are allowed; make several bundles of it", b.Name, total, maxBundle)
	}
	return nil
}

// maxBundle bounds what a record tells of a bundle, in bytes.
const maxBundle = 4 << 20

// References are none: what it holds stands in the file.
func (*ArtifactBundle) References() []Reference { return nil }
