package bundle

import (
	"errors"
	"fmt"

	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

// check finds artifacts that cannot be told apart, and what is wrong in scripts
// and build plans by themselves and together.
func (o *opening) check() error {
	bad := []error{twice("plan scripts", o.b.Scripts), twice("golden images", o.b.Images), twice("build plans", o.b.Builds), twice("deployment plans", o.b.Deployments)}
	if err := errors.Join(bad...); err != nil {
		return err // else names without end stand in what follows
	}
	for _, s := range o.b.Scripts {
		bad = append(bad, s.Check(s.Name))
	}
	for _, d := range o.b.Deployments {
		if len(d.Image) > maxName || len(d.Build) > maxName {
			bad = append(bad, attribute.Invalid("deployment plan %q names its image or its build plan by more than %d bytes", d.Name, maxName))
		}
	}
	for _, p := range o.b.Builds {
		bad = append(bad, o.b.checkBuild(p))
	}
	return errors.Join(bad...)
}

type headed interface{ head() Head }

func (h Head) head() Head { return h }

func twice[T headed](kind string, list []T) error {
	ids, names := map[string]bool{}, map[string]bool{}
	for _, item := range list {
		h := item.head()
		switch {
		case h.Name == "":
			return attribute.Invalid("one of the %s of the bundle, %s, has no name", kind, h.ID)
		case len(h.Name) > maxName, len(h.Description) > maxDescription:
			return attribute.Invalid("one of the %s of the bundle, %s, has a name of %d bytes and a description of %d: at most %d and %d are allowed", kind, h.ID, len(h.Name), len(h.Description), maxName, maxDescription)
		case ids[h.ID]:
			return attribute.Invalid("two of the %s of the bundle have the ID %s", kind, h.ID)
		case names[h.Name]:
			return attribute.Invalid("two of the %s of the bundle are called %q", kind, h.Name)
		}
		ids[h.ID], names[h.Name] = true, true
	}
	return nil
}

// checkBuild checks a plan with those of its scripts that are in the bundle.
func (b *Bundle) checkBuild(p Build) error {
	if err := p.Check(p.Name); err != nil {
		return err
	}
	for i, s := range p.Steps {
		if len(s.Script) > maxName {
			return attribute.Invalid("step %d of build plan %q names a script by %d bytes: at most %d are allowed", i+1, p.Name, len(s.Script), maxName)
		}
	}
	var steps []personalize.Step
	for _, s := range p.Steps {
		for _, script := range b.Scripts {
			if script.Name == s.Script {
				steps = append(steps, personalize.Step{Name: script.Name, Script: script.PlanScript})
			}
		}
	}
	if err := p.CheckSteps(p.Name, steps); err != nil {
		return fmt.Errorf("build plan %q: %w", p.Name, err)
	}
	return nil
}
