package personalize

import (
	"errors"
	"fmt"
	"slices"

	"goldstream/personalize/attribute"
	"goldstream/personalize/guestfish"
	"goldstream/personalize/step"
)

// Plan is the program of one deployment. Printed, it has masks for secrets.
type Plan struct {
	Steps  []PlanStep        `json:"steps"`
	Values *attribute.Values `json:"-"`
}

// PlanStep is one step of it: the commands of a script, or a native step.
type PlanStep struct {
	Name     string              `json:"name"`
	Commands []guestfish.Command `json:"commands,omitempty"`
	Warnings guestfish.Problems  `json:"warnings,omitempty"`
	// Native is the step as it stands in the plan, and Shown the same with its
	// values, secrets masked. Nil for scripts.
	Native *step.Step `json:"-"`
	Shown  *step.Step `json:"native,omitempty"`
}

// Generalized are steps behind one that generalizes what can be, unless they have one
// of their own.
func Generalized(steps []Step) []Step {
	own := func(s Step) bool { return s.Native != nil && s.Native.Generalize != nil }
	if slices.ContainsFunc(steps, own) {
		return steps
	}
	first := step.Step{Generalize: &step.Generalize{IfSystem: true}}
	return append([]Step{{Name: first.Title(), Native: &first}}, steps...)
}

// Compile puts the values of one deployment into the steps of its plan. The
// definitions in the inputs are the plan's. The error, attribute.ErrInvalid,
// names all that is wrong.
func Compile(steps []Step, in attribute.Inputs) (*Plan, error) {
	values, err := attribute.Resolve(in)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Steps: []PlanStep{}, Values: values}
	var errs []error
	for i, s := range steps {
		if s.Native != nil {
			shown, err := s.Native.Shown(values.Expand)
			if err != nil {
				err = fmt.Errorf("step %d, %s: %w", i+1, s.Name, err)
			}
			errs = append(errs, err)
			plan.Steps = append(plan.Steps, PlanStep{Name: s.Name, Native: s.Native, Shown: &shown})
			continue
		}
		text, err := values.Expand(s.Script.text())
		if err != nil {
			return nil, fmt.Errorf("step %d, %q: %w", i+1, s.Name, err)
		}
		program, err := guestfish.Parse(s.Name, text, guestfish.Options{})
		errs = append(errs, err)
		plan.Steps = append(plan.Steps, PlanStep{Name: s.Name, Commands: program.Commands, Warnings: program.Warnings})
	}
	return plan, errors.Join(errs...)
}
