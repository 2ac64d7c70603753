package model

import "goldstream/personalize/attribute"

// ProfileState says what is up with a profile.
type ProfileState string

// States of a profile.
const (
	StateNormal   ProfileState = "Normal"
	StatePending  ProfileState = "PendingAssignment" // its volume is made at the next assignment
	StateApplying ProfileState = "Applying"          // a task runs on it
	StateError    ProfileState = "Error"             // the last task failed; Owed says what for
)

// Deployment is what a profile or template says of its OS.
type Deployment struct {
	Plan   URI     `json:"osDeploymentPlanUri,omitempty"`
	Values []Value `json:"osCustomAttributes,omitempty"`
}

// ServerProfile is the identity of a server.
type ServerProfile struct {
	Meta
	Template   URI         `json:"serverProfileTemplateUri,omitempty"`
	Hardware   URI         `json:"serverHardwareUri,omitempty"` // none: unassigned
	Type       URI         `json:"serverHardwareTypeUri,omitempty"`
	Group      URI         `json:"enclosureGroupUri,omitempty"`
	Firmware   string      `json:"firmwareBaseline,omitempty"`
	Deployment *Deployment `json:"osDeploymentSettings,omitempty"`

	// The rest is set by tasks, never by clients.

	Volume URI          `json:"osVolumeUri,omitempty"`
	State  ProfileState `json:"state,omitempty"`
	Task   URI          `json:"taskUri,omitempty"` // that runs on it, or failed last
	// Owed lists the rows of the rules whose change was asked for and failed.
	Owed []string `json:"owed,omitempty"`
}

// Kind is ServerProfiles.
func (*ServerProfile) Kind() Kind { return ServerProfiles }

// Validate checks names, values and references.
func (p *ServerProfile) Validate() error {
	if err := p.validate(p.Kind()); err != nil {
		return err
	}
	if err := p.Deployment.validate(p.Name); err != nil {
		return err
	}
	return checkRefs(p.Name, p.References())
}

// References are all that the profile names, but for tasks.
func (p *ServerProfile) References() []Reference {
	return refs(
		Reference{"serverProfileTemplateUri", p.Template, ProfileTemplates},
		Reference{"serverHardwareUri", p.Hardware, ServerHardwares},
		Reference{"serverHardwareTypeUri", p.Type, HardwareTypes},
		Reference{"enclosureGroupUri", p.Group, EnclosureGroups},
		Reference{"osDeploymentPlanUri", p.Plan(), DeploymentPlans},
		Reference{"osVolumeUri", p.Volume, OSVolumes},
	)
}

// Plan is the deployment plan that the profile names, or "".
func (p *ServerProfile) Plan() URI { return p.Deployment.plan() }

// Values are the attribute values that the profile supplies.
func (p *ServerProfile) Values() []Value { return p.Deployment.values() }

// Claims are the hardware and the volume: each has one profile at most.
func (p *ServerProfile) Claims() []Claim {
	var list []Claim
	for _, u := range []URI{p.Hardware, p.Volume} {
		if u != "" {
			list = append(list, ProfileClaim(u))
		}
	}
	return list
}

// ProfileClaim is what the profile of a server or of a volume has.
func ProfileClaim(u URI) Claim { return Claim{"profile:" + string(u), string(u)} }

// Secrets are the passwords among the values.
func (p *ServerProfile) Secrets() map[string]*string { return attribute.Secrets(p.Values()) }

func (d *Deployment) plan() URI {
	if d == nil {
		return ""
	}
	return d.Plan
}

func (d *Deployment) values() []Value {
	if d == nil {
		return nil
	}
	return d.Values
}

func (d *Deployment) validate(of string) error {
	if d == nil {
		return nil
	}
	if d.Plan == "" && len(d.Values) > 0 {
		return invalidf("%q has attribute values but no deployment plan that they are for", of)
	}
	return attribute.CheckValues(of, d.Values)
}
