package personalize

import (
	"errors"
	"fmt"
	"slices"

	"goldstream/personalize/attribute"
	"goldstream/personalize/guestfish"
)

// Report says what was found in one document.
type Report struct {
	Kind     Kind               `json:"kind"`
	Name     string             `json:"name"`
	Commands int                `json:"commands"` // of a script, or of all steps
	Steps    int                `json:"steps,omitempty"`
	Uses     []string           `json:"uses,omitempty"` // attributes, in order of first use
	Warnings guestfish.Problems `json:"warnings,omitempty"`
	// Missing lists what is referred to and not among the documents, so that
	// it was not checked together.
	Missing []string `json:"missing,omitempty"`
}

// CheckDocuments checks documents by themselves and with each other, without
// anything else. The error, attribute.ErrInvalid, names all that is wrong.
func CheckDocuments(docs []Document) ([]Report, error) {
	c := checker{scripts: map[string]PlanScript{}, builds: map[string]BuildPlan{}}
	var errs []error
	for _, kind := range []Kind{KindScript, KindBuild, KindDeployment} {
		for i := range docs {
			if docs[i].Kind == kind {
				errs = append(errs, c.check(&docs[i]))
			}
		}
	}
	return c.reports, errors.Join(errs...)
}

type checker struct {
	scripts map[string]PlanScript
	builds  map[string]BuildPlan
	reports []Report
}

func (c *checker) check(d *Document) (err error) {
	r := Report{Kind: d.Kind, Name: d.Name}
	switch d.Kind {
	case KindScript:
		err = c.script(d, &r)
	case KindBuild:
		err = c.build(d, &r)
	default:
		err = c.deployment(d, &r)
	}
	c.reports = append(c.reports, r)
	return err
}

func (c *checker) script(d *Document, r *Report) error {
	s := d.PlanScript()
	if _, twice := c.scripts[d.Name]; twice {
		return attribute.Invalid("two plan scripts are called %q", d.Name)
	}
	c.scripts[d.Name] = s
	program, err := s.Draft(d.Name)
	if program != nil {
		r.Commands, r.Warnings = len(program.Commands), program.Warnings
	}
	r.uses(s.uses())
	return err
}

func (s PlanScript) uses() (names []string) {
	for _, p := range attribute.Placeholders(s.text()) {
		names = append(names, p.Full())
	}
	return names
}

// uses adds names that are not there yet.
func (r *Report) uses(names []string) {
	for _, name := range names {
		if !slices.Contains(r.Uses, name) {
			r.Uses = append(r.Uses, name)
		}
	}
}

func (c *checker) build(d *Document, r *Report) error {
	plan, err := d.Build(func(name string) (string, error) { return name, nil })
	if err != nil {
		return fmt.Errorf("build plan %q: %w", d.Name, err)
	}
	if _, twice := c.builds[d.Name]; twice {
		return attribute.Invalid("two build plans are called %q", d.Name)
	}
	c.builds[d.Name] = plan
	var steps []Step
	for _, s := range plan.Steps {
		if s.Native != nil {
			r.uses(s.Native.Uses())
			continue
		}
		script, ok := c.scripts[s.Script]
		if !ok {
			r.Missing = append(r.Missing, "plan script "+s.Script)
			continue
		}
		steps = append(steps, Step{Name: s.Script, Script: script})
		if program, err := script.Draft(s.Script); err == nil {
			r.Commands += len(program.Commands)
		}
	}
	r.Steps = len(plan.Steps)
	return errors.Join(plan.Check(d.Name), plan.CheckSteps(d.Name, steps))
}

func (c *checker) deployment(d *Document, r *Report) error {
	if d.Image == "" && d.Size == "" {
		return attribute.Invalid("deployment plan %q has neither a golden image nor the size of an empty volume: give one", d.Name)
	}
	if d.BuildPlan == "" {
		return nil
	}
	plan, ok := c.builds[d.BuildPlan]
	if !ok {
		r.Missing = append(r.Missing, "build plan "+d.BuildPlan)
		return nil
	}
	r.Steps = len(plan.Steps)
	if err := plan.CheckValues(d.Settings(plan.Attributes)); err != nil {
		return fmt.Errorf("deployment plan %q: %w", d.Name, err)
	}
	return nil
}

// CheckValues checks values of a deployment plan, which need not be complete:
// a profile may have the rest.
func (b BuildPlan) CheckValues(values []attribute.Value) error {
	return attribute.CheckSome(b.Attributes, values)
}
