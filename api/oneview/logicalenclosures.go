package oneview

import (
	"encoding/json"

	"goldstream/api/rest"
	"goldstream/lifecycle/model"
)

func logicalEnclosures() *rest.Resource {
	return &rest.Resource{
		Kind:  model.LogicalEnclosures,
		Types: []rest.Version{rest.From(0, "LogicalEnclosureV300"), rest.From(500, "LogicalEnclosureV4"), rest.From(1200, "LogicalEnclosureV6"), rest.From(2200, "LogicalEnclosureV7")},
		Show:  showLogical, Take: takeLogical,
		Told:   []string{"enclosures"},
		Create: rest.AsTask, Replace: rest.AsTask, Delete: rest.AsTask,
	}
}

func logicalRoutes() []rest.Route {
	same := func(c *rest.Call) error {
		if _, err := c.Body(); err != nil {
			return err
		}
		return logicalEnclosures().Edit(c, func(*rest.View, model.Resource) error { return nil })
	}
	return []rest.Route{
		rest.On("PUT /rest/logical-enclosures/{id}/updateFromGroup", same), // nothing of it is copied from the group
		rest.On("PUT /rest/logical-enclosures/{id}/configuration", same),
		rest.On("PATCH /rest/logical-enclosures/{id}", same), // of firmware
	}
}

const managerKey = "deploymentManagerSettings"

func showLogical(v *rest.View, res model.Resource, o rest.Object) error {
	l := res.(*model.LogicalEnclosure)
	o["enclosureGroupUri"], o["enclosureUris"] = string(l.Group), rest.List(l.Enclosures)
	manager := rest.Object{}
	_ = json.Unmarshal(l.Extra[managerKey], &manager) // an object, as it was kept
	manager.Default("deploymentClusterUri", clusterURI)
	if g, err := v.Get(l.Group); err == nil {
		manager[deploymentKey] = groupDeployment(g.(*model.EnclosureGroup))
	}
	o[managerKey] = manager
	o.Defaults(rest.Object{"firmware": rest.Object{}, "powerMode": "RedundantPowerFeed", "scalingState": "NotScaling", "logicalInterconnectUris": []any{}})
	in := rest.Object{}
	for _, e := range l.Enclosures {
		in[string(e)] = rest.Object{"enclosureUri": string(e), "interconnectBays": []any{}}
	}
	o["enclosures"] = in
	return nil
}

func takeLogical(_ *rest.View, f *rest.Fields, meta model.Meta, old model.Resource) (rest.Wanted, error) {
	l := &model.LogicalEnclosure{Meta: meta}
	if was, ok := old.(*model.LogicalEnclosure); ok {
		l.Group, l.Enclosures = was.Group, was.Enclosures
	}
	if f.Has("enclosureGroupUri") {
		l.Group = f.URI("enclosureGroupUri", model.EnclosureGroups)
	}
	if f.Has("enclosureUris") {
		l.Enclosures = []model.URI{}
		for _, e := range f.Texts("enclosureUris") {
			l.Enclosures = append(l.Enclosures, model.URI(e))
		}
	}
	d := f.Object(managerKey)
	d.Ignore(deploymentKey)
	return rest.Wanted{Resource: l, Kept: map[string]json.RawMessage{managerKey: rest.KeepObject(d, nil)}}, nil
}
