package model

// Defaults returns what a fresh store holds: one enclosure, group and logical
// enclosure, each called default.
func Defaults() []Resource {
	about := "servers without an enclosure belong here"
	meta := func(k Kind) Meta { return Meta{URI: DefaultURI(k), Name: defaultID, Description: about} }
	return []Resource{
		&Enclosure{Meta: meta(Enclosures)},
		&EnclosureGroup{Meta: meta(EnclosureGroups)},
		&LogicalEnclosure{Meta: meta(LogicalEnclosures), Group: DefaultURI(EnclosureGroups), Enclosures: []URI{DefaultURI(Enclosures)}},
	}
}
