package personalize

import (
	"slices"

	"goldstream/personalize/attribute"
)

// Seed returns the attributes that scripts use and that are not declared yet, in the
// order of their first use, as a build plan may declare them: NICs, with the members
// that are used, where a member stands in a script, and else texts, with the first
// default that does. What the server fills in needs no declaration. Types and
// constraints that are more precise are the author's to choose.
func Seed(scripts []PlanScript, declared []attribute.Definition) []DocumentAttribute {
	s := seeding{list: []DocumentAttribute{}, at: map[string]int{}, members: map[string][]string{}}
	for _, d := range declared {
		s.at[d.Name] = -1
	}
	for _, script := range scripts {
		for _, p := range attribute.Placeholders(script.text()) {
			s.see(p)
		}
	}
	for i := range s.list {
		if used := s.members[s.list[i].Name]; len(used) > 0 {
			slices.Sort(used)
			s.list[i].Type, s.list[i].Default = attribute.NIC, ""
			s.list[i].Constraints = map[string]any{"parameters": used}
		}
	}
	return s.list
}

type seeding struct {
	list    []DocumentAttribute
	at      map[string]int // place in list, or -1: declared
	members map[string][]string
}

func (s *seeding) see(p attribute.Placeholder) {
	i, seen := s.at[p.Name]
	if attribute.System(p.Name) || seen && i < 0 {
		return
	}
	if !seen {
		i = len(s.list)
		s.at[p.Name] = i
		s.list = append(s.list, DocumentAttribute{Name: p.Name, Type: attribute.String})
	}
	if p.Member != "" {
		if !slices.Contains(s.members[p.Name], p.Member) {
			s.members[p.Name] = append(s.members[p.Name], p.Member)
		}
	} else if s.list[i].Default == "" {
		s.list[i].Default = p.Default
	}
}
