package model

import "goldstream/personalize/attribute"

// ProfileTemplate is what profiles are made from. What it leaves open, each
// profile says for itself.
type ProfileTemplate struct {
	Meta
	Type       URI         `json:"serverHardwareTypeUri,omitempty"`
	Group      URI         `json:"enclosureGroupUri,omitempty"`
	Firmware   string      `json:"firmwareBaseline,omitempty"`
	Deployment *Deployment `json:"osDeploymentSettings,omitempty"`
}

// Kind is ProfileTemplates.
func (*ProfileTemplate) Kind() Kind { return ProfileTemplates }

// Validate checks names, values and references.
func (t *ProfileTemplate) Validate() error {
	if err := t.validate(t.Kind()); err != nil {
		return err
	}
	if err := t.Deployment.validate(t.Name); err != nil {
		return err
	}
	return checkRefs(t.Name, t.References())
}

// References are all that the template names.
func (t *ProfileTemplate) References() []Reference {
	return refs(
		Reference{"serverHardwareTypeUri", t.Type, HardwareTypes},
		Reference{"enclosureGroupUri", t.Group, EnclosureGroups},
		Reference{"osDeploymentPlanUri", t.Plan(), DeploymentPlans},
	)
}

// Plan is the deployment plan that the template names, or "".
func (t *ProfileTemplate) Plan() URI { return t.Deployment.plan() }

// Values are the attribute values that profiles begin with.
func (t *ProfileTemplate) Values() []Value { return t.Deployment.values() }

// Claims are none.
func (*ProfileTemplate) Claims() []Claim { return nil }

// Secrets are the passwords among the values.
func (t *ProfileTemplate) Secrets() map[string]*string { return attribute.Secrets(t.Values()) }
