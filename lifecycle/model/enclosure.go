package model

import "slices"

// Enclosure is a chassis.
type Enclosure struct {
	Meta
	bare
	Serial string `json:"serialNumber,omitempty"`
}

// Kind is Enclosures.
func (*Enclosure) Kind() Kind { return Enclosures }

// Validate checks the name.
func (e *Enclosure) Validate() error { return e.validate(e.Kind()) }

// References are none.
func (*Enclosure) References() []Reference { return nil }

// EnclosureGroup is a template of enclosures.
type EnclosureGroup struct {
	Meta
	bare
	// NoDeployment switches OS deployment off: profiles in it name no plan.
	NoDeployment bool `json:"noOsDeployment,omitempty"`
}

// Kind is EnclosureGroups.
func (*EnclosureGroup) Kind() Kind { return EnclosureGroups }

// Validate checks the name.
func (g *EnclosureGroup) Validate() error { return g.validate(g.Kind()) }

// References are none.
func (*EnclosureGroup) References() []Reference { return nil }

// LogicalEnclosure is the group of enclosures that is administered together,
// and the home of the OS volumes made for servers in them.
type LogicalEnclosure struct {
	Meta
	Group      URI   `json:"enclosureGroupUri"`
	Enclosures []URI `json:"enclosureUris"`
}

// Kind is LogicalEnclosures.
func (*LogicalEnclosure) Kind() Kind { return LogicalEnclosures }

// Validate checks that no enclosure is listed twice.
func (l *LogicalEnclosure) Validate() error {
	if err := l.validate(l.Kind()); err != nil {
		return err
	}
	if l.Group == "" {
		return invalidf("logical enclosure %q is of no enclosure group", l.Name)
	}
	for i, e := range l.Enclosures {
		if slices.Contains(l.Enclosures[:i], e) {
			return invalidf("logical enclosure %q lists %s twice", l.Name, e)
		}
	}
	return checkRefs(l.Name, l.References())
}

// References are the group and the enclosures.
func (l *LogicalEnclosure) References() []Reference {
	list := refs(Reference{"enclosureGroupUri", l.Group, EnclosureGroups})
	for _, e := range l.Enclosures {
		list = append(list, Reference{"enclosureUris", e, Enclosures})
	}
	return list
}

// Claims are its enclosures: each is in one logical enclosure at most.
func (l *LogicalEnclosure) Claims() []Claim {
	var list []Claim
	for _, e := range l.Enclosures {
		list = append(list, EnclosureClaim(e))
	}
	return list
}

// EnclosureClaim is what the logical enclosure of an enclosure has.
func EnclosureClaim(e URI) Claim { return Claim{"enclosure:" + string(e), "enclosure " + string(e)} }

// Secrets are none.
func (*LogicalEnclosure) Secrets() map[string]*string { return nil }
