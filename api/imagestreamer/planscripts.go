package imagestreamer

import (
	"goldstream/api/rest"
	"goldstream/lifecycle/model"
	"goldstream/personalize"
)

func planScripts() *rest.Resource {
	return &rest.Resource{
		Kind: model.PlanScripts, Types: []rest.Version{rest.From(0, "PlanScript")},
		Show: showScript, Take: takeScript,
		Told:   []string{"hpProvided", "dependentArtifacts"},
		Create: rest.AsResource, Replace: rest.AsTask, Delete: rest.AsTask,
	}
}

func showScript(v *rest.View, res model.Resource, o rest.Object) (err error) {
	s := res.(*model.PlanScript)
	o["planType"], o["content"], o["hpProvided"] = string(s.Type), s.Content, s.ReadOnly
	if _, kept := o["customAttributes"]; !kept {
		o["customAttributes"] = nil // a text or null, never a list
	}
	o["dependentArtifacts"], err = v.Dependents(s.URI, model.BuildPlans)
	return err
}

func takeScript(_ *rest.View, f *rest.Fields, meta model.Meta, old model.Resource) (rest.Wanted, error) {
	s := &model.PlanScript{Meta: meta}
	if was, ok := old.(*model.PlanScript); ok {
		s.PlanScript = was.PlanScript
	}
	s.Type = personalize.Type(f.TextOr("planType", string(s.Type)))
	s.Content = f.TextOr("content", s.Content)
	return rest.Wanted{Resource: s}, nil
}
