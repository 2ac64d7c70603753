package model

import (
	"fmt"

	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

// PlanScript is one personalization script.
type PlanScript struct {
	Meta
	bare
	personalize.PlanScript
}

// Kind is PlanScripts.
func (*PlanScript) Kind() Kind { return PlanScripts }

// Validate reads the whole script.
func (s *PlanScript) Validate() error {
	if err := s.validate(s.Kind()); err != nil {
		return err
	}
	return s.Check(s.Name)
}

// References are none.
func (*PlanScript) References() []Reference { return nil }

// BuildPlan is an ordered list of plan scripts.
type BuildPlan struct {
	Meta
	personalize.BuildPlan
}

// Kind is BuildPlans.
func (*BuildPlan) Kind() Kind { return BuildPlans }

// Validate checks the plan without its scripts.
func (b *BuildPlan) Validate() error {
	if err := b.validate(b.Kind()); err != nil {
		return err
	}
	if err := b.Check(b.Name); err != nil {
		return err
	}
	return checkRefs(b.Name, b.References())
}

// References are the scripts; native steps stand in the plan itself.
func (b *BuildPlan) References() []Reference {
	var list []Reference
	for i, s := range b.Steps {
		if s.Native != nil {
			continue
		}
		list = append(list, Reference{fmt.Sprintf("buildStep[%d].planScriptUri", i), URI(s.Script), PlanScripts})
	}
	return list
}

// Claims are none.
func (*BuildPlan) Claims() []Claim { return nil }

// Secrets are the defaults of passwords.
func (b *BuildPlan) Secrets() map[string]*string {
	m := map[string]*string{}
	for i := range b.Attributes {
		if b.Attributes[i].Type == attribute.Password {
			m["default:"+b.Attributes[i].Name] = b.Attributes[i].Place()
		}
	}
	return m
}
