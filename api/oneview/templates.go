package oneview

import (
	"encoding/json"

	"goldstream/api/rest"
	"goldstream/lifecycle/model"
)

func templates() *rest.Resource {
	return &rest.Resource{
		Kind: model.ProfileTemplates,
		Types: []rest.Version{
			rest.From(0, "ServerProfileTemplateV2"), rest.From(500, "ServerProfileTemplateV3"), rest.From(600, "ServerProfileTemplateV4"), rest.From(800, "ServerProfileTemplateV5"),
			rest.From(1000, "ServerProfileTemplateV6"), rest.From(1200, "ServerProfileTemplateV7"), rest.From(1600, "ServerProfileTemplateV8"),
		},
		Show: showTemplate, Take: takeTemplate,
		Create: rest.AsTask, Replace: rest.AsTask, Delete: rest.AsTask,
	}
}

func templateRoutes() []rest.Route {
	return []rest.Route{rest.On("GET /rest/server-profile-templates/{id}/new-profile", newProfile)}
}

func showTemplate(_ *rest.View, res model.Resource, o rest.Object) error {
	t := res.(*model.ProfileTemplate)
	o["serverHardwareTypeUri"], o["enclosureGroupUri"] = rest.OrNull(t.Type), rest.OrNull(t.Group)
	showFirmware(o, t.Extra, t.Firmware)
	o.Defaults(sections())
	o.Defaults(rest.Object{"affinity": "Bay", "serialNumberType": "Physical", "macType": "Physical", "wwnType": "Physical", "serverProfileDescription": ""})
	o[deploymentKey] = showDeployment(t.Extra, t.Deployment, "")
	return nil
}

func takeTemplate(_ *rest.View, f *rest.Fields, meta model.Meta, _ model.Resource) (rest.Wanted, error) {
	t := &model.ProfileTemplate{Meta: meta, Type: f.URI("serverHardwareTypeUri", model.HardwareTypes), Group: f.URI("enclosureGroupUri", model.EnclosureGroups)}
	kept := map[string]json.RawMessage{}
	t.Firmware, kept[firmwareKey] = takeFirmware(f)
	w := rest.Wanted{Resource: t, Kept: kept}
	if err := takeDeployment(f, &w, &t.Deployment, meta.Extra); err != nil {
		return w, err
	}
	takeConnections(f, kept)
	return w, nil
}

// newProfile shows the profile that would be made of a template: the client gives
// it a name and a server, and POSTs it.
func newProfile(c *rest.Call) error {
	var o rest.Object
	err := c.View(func(v *rest.View) error {
		res, err := templates().Find(v)
		if err != nil {
			return err
		}
		t := res.(*model.ProfileTemplate)
		p := &model.ServerProfile{Meta: model.Meta{Extra: t.Extra}, Template: t.URI, Type: t.Type, Group: t.Group, Firmware: t.Firmware, Deployment: t.Deployment}
		o, err = profiles().Object(v, p)
		return err
	})
	if err != nil {
		return err
	}
	for _, key := range []string{"uri", "id", "eTag", "created", "modified", "category", "serverProfileDescription"} {
		delete(o, key)
	}
	o["description"], o["templateCompliance"] = nil, "Unknown"
	return c.Answer(200, o)
}
