package oneview

import (
	"goldstream/api/rest"
	"goldstream/lifecycle/model"
)

// available lists the servers that have no profile, or the one that is asked for.
func available(c *rest.Call, each func(v *rest.View, h *model.ServerHardware, le *model.LogicalEnclosure) error) error {
	q := c.URL.Query()
	return c.View(func(v *rest.View) error {
		return v.Each(model.ServerHardwares, func(res model.Resource) error {
			h := res.(*model.ServerHardware)
			p, err := profileOf(v, h.URI)
			if err != nil || p != nil && string(p.URI) != q.Get("profileUri") {
				return err
			}
			le, err := home(v, h.InEnclosure())
			if err != nil {
				return err
			}
			if want := q.Get("serverHardwareTypeUri"); want != "" && string(h.Type) != want {
				return nil
			}
			if want := q.Get("enclosureGroupUri"); want != "" && (le == nil || string(le.Group) != want) {
				return nil
			}
			return each(v, h, le)
		})
	})
}

func availableTargets(c *rest.Call) error {
	targets := []rest.Object{}
	err := available(c, func(v *rest.View, h *model.ServerHardware, le *model.LogicalEnclosure) error {
		o := rest.Object{
			"enclosureBay": h.Bay, "enclosureName": v.Name(h.InEnclosure()), "enclosureUri": string(h.InEnclosure()), "enclosureGroupUri": nil,
			"serverHardwareUri": string(h.URI), "serverHardwareName": h.Name, "serverHardwareTypeUri": string(h.Type), "serverHardwareTypeName": v.Name(h.Type),
			"powerState": powerOf(h), "formFactor": []string{}, "serverHardwareStatus": "OK",
		}
		if le != nil {
			o["enclosureGroupUri"] = string(le.Group)
		}
		targets = append(targets, o)
		return nil
	})
	if err != nil {
		return err
	}
	return c.Answer(200, rest.Object{"type": "AvailableTargetsV1", "targets": targets})
}

// availableServers is the older form of the same.
func availableServers(c *rest.Call) error {
	list := []rest.Object{}
	err := available(c, func(v *rest.View, h *model.ServerHardware, _ *model.LogicalEnclosure) error {
		list = append(list, rest.Object{"name": h.Name, "serverHardwareUri": string(h.URI), "serverHardwareTypeUri": string(h.Type), "enclosureBay": h.Bay, "locationUri": string(h.InEnclosure()), "powerState": powerOf(h), "status": "OK"})
		return nil
	})
	if err != nil {
		return err
	}
	return c.List(list)
}

func powerOf(h *model.ServerHardware) string {
	if h.Power == "" {
		return string(model.PowerUnknown)
	}
	return string(h.Power)
}
