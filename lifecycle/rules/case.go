package rules

import "goldstream/lifecycle/model"

// Profile is what the rules look at in a server profile. The zero value is one
// that does not exist.
type Profile struct {
	URI   model.URI
	Name  string
	Type  model.URI // that the profile names
	Group model.URI // that the profile names
	Plan  model.URI

	// Digest of Plan and of the values supplied, see Digest.
	Digest string

	// Of the hardware that it is assigned to, all empty without.
	Hardware      model.URI
	HardwareType  model.URI
	Enclosure     model.URI
	Home          model.URI // its logical enclosure
	HardwareGroup model.URI // the group of that
}

func (p Profile) assigned() bool { return p.Hardware != "" }

// Volume is what the rules look at in an OS volume.
type Volume struct {
	URI  model.URI
	Home model.URI
	Made model.Made
	Size int64 // bytes
}

// EventKind is what happens.
type EventKind string

// Events of one profile.
const (
	Save          EventKind = "save"           // created or changed: Before becomes After
	DeleteProfile EventKind = "delete-profile" // Before goes
	Redeploy      EventKind = "redeploy"       // asked for by name
)

// Events that can concern many profiles. Subject names what it happens to.
const (
	MoveEnclosure   EventKind = "move-logical-enclosure"   // to another group
	DeleteEnclosure EventKind = "delete-logical-enclosure" //
	RemoveEnclosure EventKind = "remove-enclosure"         // from its logical enclosure
	DeploymentOff   EventKind = "switch-deployment-off"    // in an enclosure group
	DeleteType      EventKind = "delete-hardware-type"     //
	RemoveHardware  EventKind = "remove-hardware"          // from the inventory
	ReplaceHardware EventKind = "replace-hardware"         // or change of its record
	EditArtifact    EventKind = "edit-artifact"            // image, script or plan
)

// Event is what happens, and to what.
type Event struct {
	Kind    EventKind
	Subject model.URI
	Force   bool // of a Save: forceOsDeployment

	// Home is the logical enclosure that an enclosure is removed from.
	Home model.URI
	// Of ReplaceHardware: what the hardware is from now on.
	NewType, NewHome model.URI
}

// Site holds what an operator has set for all.
type Site struct {
	// NodeAccess has volumes retained wherever the node can serve them, row 4
	// never applies ("volume-access: node").
	NodeAccess bool
}

// Case is one profile before and after an event.
type Case struct {
	Event         Event
	Before, After Profile
	Volume        *Volume // of Before; nil: none
	Owed          []Row
	Site          Site
}

// View makes a Profile. hw and le are nil if the profile is not assigned.
func View(p *model.ServerProfile, hw *model.ServerHardware, le *model.LogicalEnclosure, digest string) Profile {
	v := Profile{URI: p.URI, Name: p.Name, Type: p.Type, Group: p.Group, Plan: p.Plan(), Digest: digest}
	if hw == nil {
		return v
	}
	v.Hardware, v.HardwareType, v.Enclosure = hw.URI, hw.Type, hw.InEnclosure()
	if le != nil {
		v.Home, v.HardwareGroup = le.URI, le.Group
	}
	if v.Type == "" { // who names no type takes that of the hardware
		v.Type = hw.Type
	}
	return v
}
