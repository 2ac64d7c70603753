package oneview

import (
	"encoding/json"

	"goldstream/api/rest"
	"goldstream/lifecycle/model"
)

func enclosureGroups() *rest.Resource {
	return &rest.Resource{
		Kind:  model.EnclosureGroups,
		Types: []rest.Version{rest.From(0, "EnclosureGroupV300"), rest.From(500, "EnclosureGroupV400"), rest.From(600, "EnclosureGroupV7"), rest.From(1200, "EnclosureGroupV8"), rest.From(2200, "EnclosureGroupV9")},
		Show:  showGroup, Take: takeGroup,
		Create: rest.AsResource, Replace: rest.AsResource, Delete: rest.Empty,
	}
}

const (
	deploymentKey = "osDeploymentSettings"
	managedKey    = "manageOSDeployment"
)

func showGroup(_ *rest.View, res model.Resource, o rest.Object) error {
	g := res.(*model.EnclosureGroup)
	o[deploymentKey] = groupDeployment(g)
	o.Defaults(rest.Object{
		"enclosureCount": 1, "enclosureTypeUri": nil, "stackingMode": "Enclosure", "ipAddressingMode": "External", "ipRangeUris": []any{},
		"interconnectBayMappings": []any{}, "interconnectBayMappingCount": 0, "powerMode": "RedundantPowerFeed", "ambientTemperatureMode": "Standard",
	})
	return nil
}

func groupDeployment(g *model.EnclosureGroup) rest.Object {
	o := rest.Object{"deploymentModeSettings": rest.Object{"deploymentMode": "None", "deploymentNetworkUri": nil}}
	_ = json.Unmarshal(g.Extra[deploymentKey], &o) // an object, as it was kept
	o[managedKey] = !g.NoDeployment
	return o
}

// takeGroup reads a group. Who does not speak of OS deployment leaves it on.
func takeGroup(_ *rest.View, f *rest.Fields, meta model.Meta, old model.Resource) (rest.Wanted, error) {
	g := &model.EnclosureGroup{Meta: meta}
	if was, ok := old.(*model.EnclosureGroup); ok {
		g.NoDeployment = was.NoDeployment
	}
	d := f.Object(deploymentKey)
	if d.Has(managedKey) {
		g.NoDeployment = !d.Bool(managedKey)
	}
	return rest.Wanted{Resource: g, Kept: map[string]json.RawMessage{deploymentKey: rest.KeepObject(d, nil)}}, nil
}
