package model

import (
	"time"

	"goldstream/personalize/attribute"
)

// GoldenImage is a sealed disk image of the block store.
type GoldenImage struct {
	Meta
	bare
	Image   string `json:"image"`   // its name in the block store
	ImageID string `json:"imageId"` // its ID there, which is never used twice
	Size    int64  `json:"size"`    // bytes
	// Source is the digest of the file that it was imported from, where it came in
	// a bundle.
	Source   string `json:"source,omitempty"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// Kind is GoldenImages.
func (*GoldenImage) Kind() Kind { return GoldenImages }

// Validate checks that an image of the block store is named.
func (g *GoldenImage) Validate() error {
	if err := g.validate(g.Kind()); err != nil {
		return err
	}
	if g.Image == "" || g.ImageID == "" {
		return invalidf("golden image %q names no image of the block store", g.Name)
	}
	return nil
}

// References are none: what it stands on is in the block store.
func (*GoldenImage) References() []Reference { return nil }

// DeploymentPlan is a golden image, a build plan and values of its attributes.
type DeploymentPlan struct {
	Meta
	Image     URI     `json:"goldenImageUri,omitempty"` // none: an empty volume of Size
	BuildPlan URI     `json:"buildPlanUri,omitempty"`   // none: no script runs
	Size      int64   `json:"size,omitempty"`           // of the volume, in bytes; 0: the image's
	Values    []Value `json:"customAttributes,omitempty"`
	// Fixed are the attributes that a profile may not change.
	Fixed []string `json:"fixedAttributes,omitempty"`
	// Hidden are those that a profile does not show.
	Hidden   []string `json:"hiddenAttributes,omitempty"`
	ReadOnly bool     `json:"hpProvided,omitempty"`
}

// Kind is DeploymentPlans.
func (*DeploymentPlan) Kind() Kind { return DeploymentPlans }

// Validate checks that the size of a volume is known.
func (p *DeploymentPlan) Validate() error {
	if err := p.validate(p.Kind()); err != nil {
		return err
	}
	if p.Size < 0 || p.Size == 0 && p.Image == "" {
		return invalidf("deployment plan %q has neither a golden image nor the size of an empty volume: give one", p.Name)
	}
	if err := attribute.CheckValues(p.Name, p.Values); err != nil {
		return err
	}
	return checkRefs(p.Name, p.References())
}

// References are the image and the build plan.
func (p *DeploymentPlan) References() []Reference {
	return refs(Reference{"goldenImageUri", p.Image, GoldenImages}, Reference{"buildPlanUri", p.BuildPlan, BuildPlans})
}

// Claims are none.
func (*DeploymentPlan) Claims() []Claim { return nil }

// Secrets are the passwords among the values.
func (p *DeploymentPlan) Secrets() map[string]*string { return attribute.Secrets(p.Values) }

// Made says what a volume was made of.
type Made struct {
	Plan         URI    `json:"planUri"`
	PlanETag     string `json:"planETag"`
	HardwareType URI    `json:"serverHardwareTypeUri,omitempty"`
	ImageID      string `json:"imageId,omitempty"`
	Program      string `json:"program,omitempty"` // SHA-256 of the expanded program
	Digest       string `json:"digest"`            // of plan and values, see package rules
}

// OSVolume is the disk of one server. Its bytes are in the block store, under
// the volume's Name.
type OSVolume struct {
	Meta
	// VolumeID is the block store's, which is never used twice: after this one is
	// retired, another may have its name. "" in records of before it was kept.
	VolumeID string `json:"volumeId,omitempty"`
	// Home is the logical enclosure that it was made for, which may be gone.
	Home URI `json:"homeUri"`
	// Profile is whose it is or, when retired, was, which may be gone.
	Profile URI   `json:"serverProfileUri"`
	Made    Made  `json:"madeOf"`
	Size    int64 `json:"size"`
	// Token is what its server shows to open the export. It is a secret.
	Token Value `json:"token,omitzero"`
	// Closed keeps everybody from opening the export.
	Closed bool `json:"exportClosed,omitempty"`
	// Retired is when it was deleted, Until when it goes for good.
	Retired time.Time `json:"retired,omitzero"`
	Until   time.Time `json:"until,omitzero"`
}

// Kind is OSVolumes.
func (*OSVolume) Kind() Kind { return OSVolumes }

// Validate checks that the volume is somebody's and at home somewhere.
func (v *OSVolume) Validate() error {
	if err := v.validate(v.Kind()); err != nil {
		return err
	}
	if v.Home.Kind() != LogicalEnclosures || v.Profile.Kind() != ServerProfiles {
		return invalidf("OS volume %q has no home or no profile", v.Name)
	}
	if v.Token.Reveal() != "" && !v.Token.Secret() {
		return invalidf("the token of OS volume %q is not kept secret", v.Name)
	}
	return nil
}

// IsRetired tells that the volume was deleted and can still be restored.
func (v *OSVolume) IsRetired() bool { return !v.Retired.IsZero() }

// References are none: a volume outlives its home, plan and profile while it
// is retired.
func (*OSVolume) References() []Reference { return nil }

// Claims are none: the profile claims its volume.
func (*OSVolume) Claims() []Claim { return nil }

// Secrets are the token.
func (v *OSVolume) Secrets() map[string]*string {
	if !v.Token.Secret() {
		return nil
	}
	return map[string]*string{"token": v.Token.Place()}
}
