package imagestreamer

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"goldstream/api/rest"
	"goldstream/lifecycle/model"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

func deploymentPlans() *rest.Resource {
	return &rest.Resource{
		Kind: model.DeploymentPlans, Types: []rest.Version{rest.From(0, "OEDeploymentPlan"), rest.From(500, "OEDeploymentPlanV5")},
		Show: showPlan, Take: takePlan,
		Told:   []string{"hpProvided", "dependentArtifacts"},
		Create: rest.AsResource, Replace: rest.AsResource, Delete: rest.Empty,
	}
}

func showPlan(v *rest.View, res model.Resource, o rest.Object) (err error) {
	p := res.(*model.DeploymentPlan)
	o["goldenImageURI"], o["oeBuildPlanURI"], o["hpProvided"] = string(p.Image), string(p.BuildPlan), p.ReadOnly
	if o["dependentArtifacts"], err = v.Dependents(p.URI, model.ServerProfiles); err != nil {
		return err
	}
	attributes, err := PlanAttributes(v, p)
	o[attributesKey] = attributes
	return err
}

// PlanAttributes are the attributes of a deployment plan: those of its build
// plan, with its own values, in the order that the client gave.
func PlanAttributes(v *rest.View, p *model.DeploymentPlan) ([]rest.Object, error) {
	list := []rest.Object{}
	if p.BuildPlan == "" {
		return list, nil
	}
	res, err := v.Get(p.BuildPlan)
	if err != nil {
		return nil, err
	}
	known := rest.Kept(p.Extra, attributesKey)
	for _, d := range inOrder(res.(*model.BuildPlan).Attributes, known) {
		o := rest.Named(known, d.Name)
		_, given := o["name"]
		null := wasNull(o)
		showDefinition(o, d)
		for _, own := range p.Values {
			if own.Name == d.Name {
				o["value"] = shownValue(own, null)
				given = false
			}
		}
		if given { // sent without a value: the build plan's is not the plan's
			o["value"] = shownValue(attribute.NewValue(d.Name, d.Type, ""), null)
		}
		o["editable"] = !slices.Contains(p.Fixed, d.Name)
		if _, known := o["visible"]; !known {
			o["visible"] = !slices.Contains(p.Hidden, d.Name)
		}
		if _, known := o["id"]; !known {
			o["id"] = p.URI.ID() + "-" + d.Name
		}
		list = append(list, o)
	}
	return list, nil
}

// inOrder puts definitions in the order of what was kept; the rest comes after.
func inOrder(defs []attribute.Definition, known []rest.Object) []attribute.Definition {
	place := func(d attribute.Definition) int {
		i := slices.IndexFunc(known, func(o rest.Object) bool { return o["name"] == d.Name })
		if i < 0 {
			return len(known)
		}
		return i
	}
	defs = slices.Clone(defs)
	slices.SortStableFunc(defs, func(a, b attribute.Definition) int { return place(a) - place(b) })
	return defs
}

// takePlan reads a plan. An attribute that is not said to be editable is not: some
// clients leave out what is false.
func takePlan(v *rest.View, f *rest.Fields, meta model.Meta, old model.Resource) (rest.Wanted, error) {
	p := &model.DeploymentPlan{Meta: meta, Image: f.URI("goldenImageURI", model.GoldenImages), BuildPlan: f.URI("oeBuildPlanURI", model.BuildPlans)}
	was := &model.DeploymentPlan{}
	if o, ok := old.(*model.DeploymentPlan); ok {
		was, p.Size, p.ReadOnly = o, o.Size, o.ReadOnly
	}
	attributes := f.Objects(attributesKey)
	for _, a := range attributes {
		a.Ignore("type", "constraints", "description") // the build plan's
		name, text := a.Text("name"), a.Scalar("value")
		if !a.Bool("editable") {
			p.Fixed = append(p.Fixed, name)
		}
		visible := !slices.Contains(was.Hidden, name)
		if a.Has("visible") {
			visible = a.Bool("visible")
		}
		if !visible {
			p.Hidden = append(p.Hidden, name)
		}
		if value := attribute.NewValue(name, "", text); text != "" {
			p.Values = append(p.Values, unmasked(value, was.Values))
		}
	}
	var err error
	if p.Values, err = typed(v, p); err != nil {
		return rest.Wanted{}, err
	}
	if p.Image == "" {
		if p.Size, err = emptySize(v, p, p.Size); err != nil {
			return rest.Wanted{}, err
		}
	}
	return rest.Wanted{Resource: p, Kept: map[string]json.RawMessage{attributesKey: rest.Keep(attributes)}}, nil
}

// unmasked puts the password back that a client was not shown.
func unmasked(v attribute.Value, was []attribute.Value) attribute.Value {
	for _, o := range was {
		if o.Name == v.Name && o.Secret() && v.Withheld() {
			return o
		}
	}
	return v
}

// typed gives values the types that the build plan declares.
func typed(v *rest.View, p *model.DeploymentPlan) ([]attribute.Value, error) {
	if p.BuildPlan == "" {
		return p.Values, nil
	}
	res, err := v.Get(p.BuildPlan)
	if err != nil {
		return nil, rest.Bad("oeBuildPlanURI is %s, which does not exist", p.BuildPlan)
	}
	return personalize.Retype(p.Values, res.(*model.BuildPlan).Attributes), nil
}

// emptySize is the size of a volume without an image: the attribute VolumeSize of
// the plan, or of its build plan, has it in MiB.
func emptySize(v *rest.View, p *model.DeploymentPlan, old int64) (int64, error) {
	values := p.Values
	if p.BuildPlan != "" {
		res, err := v.Get(p.BuildPlan)
		if err != nil {
			return 0, err
		}
		for _, d := range res.(*model.BuildPlan).Attributes {
			values = append(slices.Clone(values), d.Default())
		}
	}
	for _, value := range values {
		if !strings.EqualFold(value.Name, attribute.VolumeSize) {
			continue
		}
		if n, err := strconv.ParseInt(value.Reveal(), 10, 32); err == nil && n > 0 {
			return n << 20, nil
		}
	}
	return old, nil
}
