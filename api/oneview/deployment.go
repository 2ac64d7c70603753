package oneview

import (
	"encoding/json"
	"strings"

	"goldstream/api/rest"
	"goldstream/lifecycle/model"
	"goldstream/personalize/attribute"
)

const (
	valuesKey   = "osCustomAttributes"
	targetsPath = "/rest/deployed-targets/"
)

// showDeployment are the settings of the OS of a profile or template; null where
// there is none.
func showDeployment(extra map[string]json.RawMessage, d *model.Deployment, volume model.URI) any {
	if d == nil || d.Plan == "" {
		return nil
	}
	o := rest.Object{}
	_ = json.Unmarshal(extra[deploymentKey], &o) // an object, as it was kept
	var known struct {
		Values []rest.Object `json:"osCustomAttributes"`
	}
	_ = json.Unmarshal(extra[deploymentKey], &known)
	values := []rest.Object{}
	for _, v := range d.Values {
		one := rest.Named(known.Values, v.Name)
		if _, null := one["value"]; !null || v.Reveal() != "" {
			one["value"] = v.Shown()
		}
		one["name"] = v.Name
		if v.Type != "" {
			one.Default("type", string(v.Type))
		}
		values = append(values, one)
	}
	o["osDeploymentPlanUri"], o[valuesKey], o["osVolumeUri"] = planURI(d.Plan), values, nil
	if volume != "" {
		o["osVolumeUri"] = targetsPath + volume.ID()
	}
	return o
}

// takeDeployment reads the settings. An empty object, null, or none at all say
// nothing; settings without a plan take the plan away.
func takeDeployment(f *rest.Fields, w *rest.Wanted, to **model.Deployment, was map[string]json.RawMessage) error {
	d := f.Object(deploymentKey)
	if d.Empty() {
		if kept, ok := was[deploymentKey]; ok {
			w.Kept[deploymentKey] = kept
		}
		return nil
	}
	w.Deployment, w.Values, w.Force = true, d.Has(valuesKey), d.Bool("forceOsDeployment")
	plan, err := takePlanURI(d.Text("osDeploymentPlanUri"))
	if err != nil {
		return err
	}
	*to = &model.Deployment{Plan: plan}
	d.Ignore("osVolumeUri")
	items := d.Objects(valuesKey)
	for _, item := range items {
		item.Ignore("value")
		(*to).Values = append((*to).Values, attribute.NewValue(item.Text("name"), passwordOnly(item), item.Scalar("value")))
	}
	w.Kept[deploymentKey] = rest.KeepObject(d, rest.Object{valuesKey: rest.Keep(items)})
	return nil
}

// passwordOnly is the type that a client says, if it makes the value a secret: the
// plan knows all others. The field is kept as it was sent.
func passwordOnly(item *rest.Fields) attribute.Type {
	var kind string
	if json.Unmarshal(item.Peek("type"), &kind) == nil && strings.EqualFold(kind, string(attribute.Password)) {
		return attribute.Password
	}
	return ""
}

// takePlanURI takes either name of a plan.
func takePlanURI(s string) (model.URI, error) {
	if s == "" {
		return "", nil
	}
	u := model.URI("/rest/" + string(model.DeploymentPlans) + "/" + strings.TrimPrefix(s, plansPath+"/"))
	if native := model.URI(s); native.Kind() == model.DeploymentPlans {
		u = native
	}
	if u.Kind() == "" {
		return "", rest.Bad("osDeploymentPlanUri is %.128q: it must be the URI of a deployment plan, such as %s/ID", s, plansPath)
	}
	return u, nil
}
