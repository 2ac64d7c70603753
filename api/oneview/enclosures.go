package oneview

import (
	"slices"

	"goldstream/api/rest"
	"goldstream/lifecycle/model"
)

func enclosures() *rest.Resource {
	return &rest.Resource{
		Kind:  model.Enclosures,
		Types: []rest.Version{rest.From(0, "EnclosureV300"), rest.From(600, "EnclosureV7"), rest.From(1600, "EnclosureV8")},
		Show:  showEnclosure, Take: takeEnclosure,
		Told:   []string{"applianceBays", "deviceBays", "enclosureGroupUri", "logicalEnclosureUri"},
		Create: rest.AsTask, Replace: rest.AsResource, Delete: rest.AsTask,
	}
}

func showEnclosure(v *rest.View, res model.Resource, o rest.Object) error {
	e := res.(*model.Enclosure)
	o["serialNumber"], o["enclosureGroupUri"], o["logicalEnclosureUri"] = e.Serial, nil, nil
	le, err := home(v, e.URI)
	if err != nil {
		return err
	}
	if le != nil {
		o["enclosureGroupUri"], o["logicalEnclosureUri"] = string(le.Group), string(le.URI)
	}
	o["applianceBays"] = []any{} // there is no appliance in it
	o["deviceBays"], err = bays(v, e.URI)
	o.Defaults(rest.Object{"enclosureType": "", "enclosureModel": "", "uuid": nil, "rackName": nil, "refreshState": "NotRefreshing", "interconnectBays": []any{}})
	return err
}

// bays are those of an enclosure in which servers stand.
func bays(v *rest.View, enclosure model.URI) ([]rest.Object, error) {
	all, err := rest.Known(v, "bays", func() (map[model.URI][]*model.ServerHardware, error) {
		in := map[model.URI][]*model.ServerHardware{}
		err := v.Each(model.ServerHardwares, func(res model.Resource) error {
			if h := res.(*model.ServerHardware); h.Bay > 0 {
				in[h.InEnclosure()] = append(in[h.InEnclosure()], h)
			}
			return nil
		})
		return in, err
	})
	if err != nil {
		return nil, err
	}
	servers := all[enclosure]
	slices.SortFunc(servers, func(a, b *model.ServerHardware) int { return a.Bay - b.Bay })
	list := []rest.Object{}
	for _, h := range servers {
		p, err := profileOf(v, h.URI)
		if err != nil {
			return nil, err
		}
		bay := rest.Object{"type": "DeviceBayV400", "bayNumber": h.Bay, "deviceUri": string(h.URI), "devicePresence": "Present", "profileUri": nil, "uri": nil}
		if p != nil {
			bay["profileUri"] = string(p.URI)
		}
		list = append(list, bay)
	}
	return list, nil
}

func takeEnclosure(_ *rest.View, f *rest.Fields, meta model.Meta, old model.Resource) (rest.Wanted, error) {
	e := &model.Enclosure{Meta: meta}
	if was, ok := old.(*model.Enclosure); ok {
		e.Serial = was.Serial
	}
	if host := f.Text("hostname"); e.Name == "" {
		e.Name = host
	}
	e.Serial = f.TextOr("serialNumber", e.Serial)
	f.Ignore("username", "password", "force")
	return rest.Wanted{Resource: e}, nil
}
