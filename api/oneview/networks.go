package oneview

import (
	"goldstream/api/rest"
	"goldstream/lifecycle/model"
)

func networks() *rest.Resource {
	return &rest.Resource{
		Kind:  model.Networks,
		Types: []rest.Version{rest.From(0, "ethernet-networkV300"), rest.From(600, "ethernet-networkV4")},
		Show:  showNetwork, Take: takeNetwork,
		Create: rest.AsTask, Replace: rest.AsTask, Delete: rest.AsTask,
	}
}

func showNetwork(_ *rest.View, res model.Resource, o rest.Object) error {
	n := res.(*model.Network)
	o["vlanId"] = n.VLAN
	o.Defaults(rest.Object{
		"purpose": "General", "ethernetNetworkType": networkType(n.VLAN), "smartLink": false, "privateNetwork": false,
		"connectionTemplateUri": nil, "subnetUri": nil, "fabricUri": nil, "scopesUri": nil,
	})
	return nil
}

func networkType(vlan int) string {
	if vlan == 0 {
		return "Untagged"
	}
	return "Tagged"
}

func takeNetwork(_ *rest.View, f *rest.Fields, meta model.Meta, old model.Resource) (rest.Wanted, error) {
	n := &model.Network{Meta: meta}
	if was, ok := old.(*model.Network); ok {
		n.VLAN = was.VLAN
	}
	if f.Has("vlanId") {
		n.VLAN = int(f.Int("vlanId"))
	}
	return rest.Wanted{Resource: n}, nil
}
