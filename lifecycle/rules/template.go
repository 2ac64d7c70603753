package rules

import (
	"slices"

	"goldstream/lifecycle/model"
)

// Differs lists in what a profile is not as its template says. What the template
// leaves open is no difference, and neither are values of attributes: each server
// has its own.
func Differs(p *model.ServerProfile, t *model.ProfileTemplate) []string {
	var list []string
	for _, f := range []struct {
		what      string
		has, says string
	}{
		{"type", string(p.Type), string(t.Type)},
		{"group", string(p.Group), string(t.Group)},
		{"firmware", p.Firmware, t.Firmware},
		{"plan", string(p.Plan()), string(t.Plan())},
	} {
		if f.says != "" && f.has != f.says {
			list = append(list, f.what)
		}
	}
	return list
}

// Comply returns what a profile is once it is as its template says. Its values
// stay, unless the template has another plan.
func Comply(p model.ServerProfile, t *model.ProfileTemplate) model.ServerProfile {
	for _, f := range []struct {
		to   *model.URI
		says model.URI
	}{{&p.Type, t.Type}, {&p.Group, t.Group}} {
		if f.says != "" {
			*f.to = f.says
		}
	}
	if t.Firmware != "" {
		p.Firmware = t.Firmware
	}
	if t.Plan() != "" && t.Plan() != p.Plan() {
		p.Deployment = &model.Deployment{Plan: t.Plan(), Values: slices.Clone(t.Values())}
	}
	return p
}

// Filled returns the values of a profile that is made from a template: its own go
// before those of the template.
func Filled(own, template []model.Value) []model.Value {
	list := slices.Clone(own)
	for _, v := range template {
		if !slices.ContainsFunc(own, func(o model.Value) bool { return o.Name == v.Name }) {
			list = append(list, v)
		}
	}
	return list
}
