package oneview

import (
	"net/http"

	"goldstream/api/rest"
	"goldstream/lifecycle/model"
)

func hardware() *rest.Resource {
	return &rest.Resource{
		Kind:  model.ServerHardwares,
		Types: []rest.Version{rest.From(0, "server-hardware-7"), rest.From(600, "server-hardware-9"), rest.From(1000, "server-hardware-11"), rest.From(1600, "server-hardware-12")},
		Show:  showHardware, Take: takeHardware,
		Told:   []string{"serverGroupUri", "serverProfileUri", "powerLock"},
		Create: rest.AsTask, Replace: rest.AsTask, Delete: rest.AsTask,
	}
}

func hardwareRoutes() []rest.Route {
	return []rest.Route{
		rest.On("PUT /rest/server-hardware/{id}/powerState", setPower),
		rest.On("PATCH /rest/server-hardware/{id}", patchHardware),
		rest.On("PUT /rest/server-hardware/{id}/refreshState", func(c *rest.Call) error {
			return hardware().Edit(c, func(*rest.View, model.Resource) error { return nil })
		}),
	}
}

func showHardware(v *rest.View, res model.Resource, o rest.Object) error {
	h := res.(*model.ServerHardware)
	o["uuid"], o["serialNumber"], o["macs"] = rest.OrNull(h.UUID), rest.OrNull(h.Serial), rest.List(h.MACs)
	o["serverHardwareTypeUri"], o["locationUri"], o["position"] = h.Type, h.InEnclosure(), h.Bay
	if o["powerState"] = string(h.Power); h.Power == "" {
		o["powerState"] = string(model.PowerUnknown)
	}
	o["powerLock"] = false
	o.Defaults(rest.Object{
		"virtualUuid": nil, "virtualSerialNumber": nil, "model": v.Name(h.Type), "maintenanceMode": false, "memoryMb": 0, "processorCount": 0,
		"mpHostInfo": rest.Object{"mpHostName": h.Name, "mpIpAddresses": []any{}}, "formFactor": "", "refreshState": "NotRefreshing", "oneTimeBoot": "NORMAL",
	})
	le, err := home(v, h.InEnclosure())
	if err != nil {
		return err
	}
	o["serverGroupUri"] = nil
	if le != nil {
		o["serverGroupUri"] = string(le.Group)
	}
	p, err := profileOf(v, h.URI)
	if err != nil {
		return err
	}
	o["state"], o["serverProfileUri"] = hardwareState(p), nil
	if p != nil {
		o["serverProfileUri"] = string(p.URI)
	}
	return nil
}

func hardwareState(p *model.ServerProfile) string {
	switch {
	case p == nil:
		return "NoProfileApplied"
	case p.State == model.StateApplying:
		return "ApplyingProfile"
	case p.State == model.StateError:
		return "ProfileError"
	}
	return "ProfileApplied"
}

// home is the logical enclosure that an enclosure is in, or nil.
func home(v *rest.View, enclosure model.URI) (*model.LogicalEnclosure, error) {
	return rest.Known(v, "home of "+string(enclosure), func() (*model.LogicalEnclosure, error) {
		u, err := v.Owner(model.EnclosureClaim(enclosure))
		if err != nil || u == "" {
			return nil, err
		}
		res, err := v.Get(u)
		if err != nil {
			return nil, err
		}
		return res.(*model.LogicalEnclosure), nil
	})
}

// profileOf is the profile of a server, or nil.
func profileOf(v *rest.View, server model.URI) (*model.ServerProfile, error) {
	u, err := v.Owner(model.ProfileClaim(server))
	if err != nil || u == "" {
		return nil, err
	}
	res, err := v.Get(u)
	if err != nil {
		return nil, err
	}
	return res.(*model.ServerProfile), nil
}

// takeHardware reads a server. Nothing is asked of the server itself: what it is
// has to be said. Clients that add one by its management address get it by that
// name.
func takeHardware(_ *rest.View, f *rest.Fields, meta model.Meta, old model.Resource) (rest.Wanted, error) {
	h := &model.ServerHardware{Meta: meta, Type: model.DefaultURI(model.HardwareTypes)}
	if was, ok := old.(*model.ServerHardware); ok {
		*h = *was
		h.Meta = meta
	}
	if host := f.Text("hostname"); h.Name == "" {
		h.Name = host
	}
	if f.Has("serverHardwareTypeUri") {
		h.Type = f.URI("serverHardwareTypeUri", model.HardwareTypes)
	}
	if f.Has("locationUri") {
		h.Enclosure = f.URI("locationUri", model.Enclosures)
	}
	if f.Has("position") {
		h.Bay = int(f.Int("position"))
	}
	if h.Bay == 0 && h.Enclosure == model.DefaultURI(model.Enclosures) {
		h.Enclosure = "" // one form of what is the same
	}
	h.UUID, h.Serial = f.TextOr("uuid", h.UUID), f.TextOr("serialNumber", h.Serial)
	if f.Has("macs") {
		h.MACs = f.Texts("macs")
	}
	if s := model.PowerState(f.Text("powerState")); s != "" {
		h.Power = s
	}
	f.Ignore("username", "password", "force")
	return rest.Wanted{Resource: h}, nil
}

// setPower records what is said of a server's power: who PUTs it has seen to it.
func setPower(c *rest.Call) error {
	f, err := c.Fields()
	if err != nil {
		return err
	}
	state, control := f.Text("powerState"), f.Text("powerControl")
	if err := f.Err(); err != nil {
		return err
	}
	return editPower(c, state, control)
}

func editPower(c *rest.Call, state, control string) error {
	if state != "On" && state != "Off" {
		return rest.Bad("powerState is %.64q: write On or Off", state)
	}
	switch control {
	case "", "MomentaryPress", "PressAndHold", "ColdBoot", "Reset":
	default:
		return rest.Bad("powerControl is %.64q: write MomentaryPress, PressAndHold, ColdBoot or Reset", control)
	}
	return hardware().Edit(c, func(_ *rest.View, res model.Resource) error {
		res.(*model.ServerHardware).Power = model.PowerState(state)
		return nil
	})
}

// patchHardware carries out one operation.
func patchHardware(c *rest.Call) error {
	ops, err := operations(c)
	if err != nil {
		return err
	}
	if len(ops) != 1 {
		return rest.Bad("a patch of server hardware has one operation, not %d", len(ops))
	}
	path, value := ops[0].Path, ops[0].Value
	text, _ := value.(string)
	switch path {
	case "/powerState":
		return editPower(c, text, "")
	case "/maintenanceMode", "/uidState", "/oneTimeBoot", "/mpState":
		return hardware().Edit(c, func(_ *rest.View, res model.Resource) error {
			return keepField(res.Head(), path[1:], value)
		})
	}
	return &rest.Problem{Status: http.StatusBadRequest, Code: "INVALID_PATCH", Message: "server hardware has nothing at " + path + " that a patch can change", Actions: []string{"Use /powerState, /maintenanceMode, /uidState or /oneTimeBoot."}}
}
