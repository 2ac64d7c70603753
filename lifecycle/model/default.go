package model

// DefaultName is what the resources of a fresh store are called.
const DefaultName = defaultID

// Defaults returns what a fresh store holds: one hardware type, enclosure, group
// and logical enclosure, each called default.
func Defaults() []Resource {
	about := "of servers for which nothing else is named"
	meta := func(k Kind) Meta { return Meta{URI: DefaultURI(k), Name: defaultID, Description: about} }
	return []Resource{
		&HardwareType{Meta: meta(HardwareTypes)},
		&Enclosure{Meta: meta(Enclosures)},
		&EnclosureGroup{Meta: meta(EnclosureGroups)},
		&LogicalEnclosure{Meta: meta(LogicalEnclosures), Group: DefaultURI(EnclosureGroups), Enclosures: []URI{DefaultURI(Enclosures)}},
	}
}
