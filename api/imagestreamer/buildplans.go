package imagestreamer

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"

	"goldstream/api/rest"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
	"goldstream/personalize"
)

func buildPlans() *rest.Resource {
	return &rest.Resource{
		Kind: model.BuildPlans, Types: []rest.Version{rest.From(0, "OeBuildPlan"), rest.From(500, "OeBuildPlanV5")},
		Show: showBuild, Take: takeBuild,
		Told:   []string{"hpProvided", "dependentArtifacts", "buildPlanid"},
		Create: rest.AsResource, Replace: rest.AsTask, Delete: rest.AsTask,
	}
}

const stepsKey = "buildStep"

func showBuild(v *rest.View, res model.Resource, o rest.Object) (err error) {
	b := res.(*model.BuildPlan)
	o["buildPlanid"], o["etag"] = b.URI.ID(), b.ETag
	o["oeBuildPlanType"], o["hpProvided"] = string(b.Type), b.ReadOnly
	o[stepsKey], o[attributesKey] = showSteps(v, b), showDefinitions(b)
	o["dependentArtifacts"], err = v.Dependents(b.URI, model.DeploymentPlans)
	return err
}

func showSteps(v *rest.View, b *model.BuildPlan) []rest.Object {
	list, known := []rest.Object{}, rest.Kept(b.Extra, stepsKey)
	for i, s := range b.Steps {
		o := rest.Object{"parameters": nil}
		if i < len(known) {
			for key, value := range known[i] {
				o[key] = value
			}
		}
		o["serialNumber"] = strconv.Itoa(i + 1)
		if s.Native != nil { // without a script, and so of goldstream only
			o["planScriptUri"], o["planScriptName"], o["native"] = nil, s.Native.Title(), s.Native
		} else {
			o["planScriptUri"], o["planScriptName"] = s.Script, v.Name(model.URI(s.Script))
		}
		list = append(list, o)
	}
	return list
}

func showDefinitions(b *model.BuildPlan) []rest.Object {
	list, known := []rest.Object{}, rest.Kept(b.Extra, attributesKey)
	for _, d := range b.Attributes {
		o := rest.Named(known, d.Name)
		showDefinition(o, d)
		list = append(list, o)
	}
	return list
}

func takeBuild(v *rest.View, f *rest.Fields, meta model.Meta, old model.Resource) (rest.Wanted, error) {
	b := &model.BuildPlan{Meta: meta}
	var was personalize.BuildPlan
	if o, ok := old.(*model.BuildPlan); ok {
		was, b.ReadOnly = o.BuildPlan, o.ReadOnly
	}
	b.Type = personalize.Type(f.TextOr("oeBuildPlanType", string(was.Type)))
	steps := f.Objects(stepsKey)
	slices.SortStableFunc(steps, func(a, b *rest.Fields) int { return int(a.Int("serialNumber") - b.Int("serialNumber")) })
	for _, s := range steps {
		step, err := takeStep(v, s)
		if err != nil {
			return rest.Wanted{}, err
		}
		b.Steps = append(b.Steps, step)
	}
	attributes := f.Objects(attributesKey)
	for _, a := range attributes {
		d, err := takeDefinition(a, was.Attributes)
		if err != nil {
			return rest.Wanted{}, err
		}
		b.Attributes = append(b.Attributes, d)
	}
	return rest.Wanted{Resource: b, Kept: map[string]json.RawMessage{stepsKey: rest.Keep(steps), attributesKey: rest.Keep(attributes)}}, nil
}

// takeStep finds a script by its URI or, where a client does not say that, by its
// name.
func takeStep(v *rest.View, f *rest.Fields) (s personalize.BuildStep, err error) {
	uri, name := f.URI("planScriptUri", model.PlanScripts), f.Text("planScriptName")
	if raw := f.Raw("native"); len(raw) > 0 && string(raw) != "null" {
		if err := json.Unmarshal(raw, &s.Native); err != nil {
			return s, rest.Bad("native step: %v", err)
		}
		return s, nil
	}
	var res model.Resource
	switch {
	case uri != "":
		res, err = v.Get(uri)
	case name != "":
		res, err = v.ByName(model.PlanScripts, name)
	default:
		return s, nil // the check of the plan tells
	}
	if errors.Is(err, store.ErrNotFound) {
		return s, rest.Bad("buildStep names the plan script %q %s, which does not exist: create it first", name, uri)
	}
	if err == nil {
		s.Script = string(res.Head().URI)
	}
	return s, err
}
