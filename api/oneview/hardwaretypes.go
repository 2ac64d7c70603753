package oneview

import (
	"goldstream/api/rest"
	"goldstream/lifecycle/model"
)

func hardwareTypes() *rest.Resource {
	return &rest.Resource{
		Kind:  model.HardwareTypes,
		Types: []rest.Version{rest.From(0, "server-hardware-type-7"), rest.From(600, "server-hardware-type-9"), rest.From(1000, "server-hardware-type-11"), rest.From(1600, "server-hardware-type-12")},
		Show:  showType, Take: takeType,
		Create: rest.AsTask, Replace: rest.AsResource, Delete: rest.AsTask,
	}
}

// showType tells clients which sections a profile may have; all of them only
// describe.
func showType(_ *rest.View, res model.Resource, o rest.Object) error {
	t := res.(*model.HardwareType)
	o["model"], o["family"] = t.Model, t.Family
	o.Defaults(rest.Object{
		"formFactor": "", "generation": "", "platform": "", "adapters": []any{}, "biosSettings": []any{},
		"bootModes": []string{"UEFI", "UEFIOptimized", "BIOS"}, "bootCapabilities": []string{"PXE", "HardDisk"},
		"pxeBootPolicies": []string{"Auto", "IPv4", "IPv6"}, "storageCapabilities": nil,
	})
	return nil
}

func takeType(_ *rest.View, f *rest.Fields, meta model.Meta, old model.Resource) (rest.Wanted, error) {
	t := &model.HardwareType{Meta: meta}
	if was, ok := old.(*model.HardwareType); ok {
		t.Model, t.Family = was.Model, was.Family
	}
	t.Model, t.Family = f.TextOr("model", t.Model), f.TextOr("family", t.Family)
	return rest.Wanted{Resource: t}, nil
}
