package daemon

import (
	"errors"

	"goldstream/api/v1"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/store"
)

// understand makes the model's form of a request. old is what is replaced, or
// nil.
func understand(r *store.Reader, in v1.Resource, old model.Resource) (model.Resource, error) {
	h := in.Head()
	meta := model.Meta{Name: h.Name, Description: h.Description}
	if old != nil {
		meta = *old.Head()
		meta.Name, meta.Description = h.Name, h.Description
	}
	switch in := in.(type) {
	case *v1.Hardware:
		return understandHardware(r, meta, in, old)
	case *v1.HardwareType:
		return &model.HardwareType{Meta: meta, Model: in.Model, Family: in.Family}, nil
	case *v1.Enclosure:
		return &model.Enclosure{Meta: meta, Serial: in.Serial}, nil
	case *v1.EnclosureGroup:
		return &model.EnclosureGroup{Meta: meta, NoDeployment: in.NoDeployment}, nil
	case *v1.LogicalEnclosure:
		return understandLogical(r, meta, in)
	case *v1.Template:
		return understandTemplate(r, meta, in, old)
	}
	return nil, errors.New("a resource of an unknown kind")
}

func understandHardware(r *store.Reader, meta model.Meta, in *v1.Hardware, old model.Resource) (model.Resource, error) {
	if in.Type == "" {
		in.Type = model.DefaultName
	}
	hw := &model.ServerHardware{Meta: meta, Bay: in.Bay, UUID: in.UUID, Serial: in.Serial, MACs: in.MACs, Power: model.PowerState(in.Power)}
	if old, ok := old.(*model.ServerHardware); ok && in.Power == "" {
		hw.Power = old.Power
	}
	var err error
	if hw.Type, err = reference(r, in.Name, "type", model.HardwareTypes, in.Type); err != nil {
		return nil, err
	}
	if hw.Enclosure, err = reference(r, in.Name, "enclosure", model.Enclosures, in.Enclosure); err != nil {
		return nil, err
	}
	if hw.Enclosure == model.DefaultURI(model.Enclosures) && hw.Bay == 0 {
		hw.Enclosure = "" // one form of what is the same
	}
	return hw, hw.Validate()
}

func understandLogical(r *store.Reader, meta model.Meta, in *v1.LogicalEnclosure) (model.Resource, error) {
	if in.Group == "" {
		in.Group = model.DefaultName
	}
	le := &model.LogicalEnclosure{Meta: meta, Enclosures: []model.URI{}}
	var err error
	if le.Group, err = reference(r, in.Name, "group", model.EnclosureGroups, in.Group); err != nil {
		return nil, err
	}
	for _, name := range in.Enclosures {
		e, err := reference(r, in.Name, "enclosures", model.Enclosures, name)
		if err != nil {
			return nil, err
		}
		le.Enclosures = append(le.Enclosures, e)
	}
	return le, le.Validate()
}

// teller makes the API's form of resources. It remembers names, which lists
// repeat.
type teller struct {
	r     *store.Reader
	names map[model.URI]string
	// deployments are the plans that were read.
	deployments map[model.URI]deployment
	templates   map[model.URI]*model.ProfileTemplate
}

func newTeller(r *store.Reader) *teller {
	return &teller{r, map[model.URI]string{}, map[model.URI]deployment{}, map[model.URI]*model.ProfileTemplate{}}
}

// name is what a resource is called; of what is gone, its URI.
func (t *teller) name(u model.URI) (string, error) {
	if name, ok := t.names[u]; ok || u == "" {
		return name, nil
	}
	name, err := t.r.Name(u)
	if errors.Is(err, store.ErrNotFound) {
		return string(u), nil
	}
	if err == nil {
		t.names[u] = name
	}
	return name, err
}

func (t *teller) tell(res model.Resource) (v1.Resource, error) {
	m := res.Head()
	h := v1.ResourceHead{Name: m.Name, Description: m.Description, URI: string(m.URI), ETag: m.ETag, Created: m.Created, Modified: m.Modified}
	switch res := res.(type) {
	case *model.ServerHardware:
		return t.tellHardware(h, res)
	case *model.HardwareType:
		return &v1.HardwareType{ResourceHead: h, Model: res.Model, Family: res.Family}, nil
	case *model.Enclosure:
		out := &v1.Enclosure{ResourceHead: h, Serial: res.Serial}
		var err error
		out.LogicalEnclosure, err = t.homeName(res.URI)
		return out, err
	case *model.EnclosureGroup:
		return &v1.EnclosureGroup{ResourceHead: h, NoDeployment: res.NoDeployment}, nil
	case *model.LogicalEnclosure:
		return t.tellLogical(h, res)
	case *model.ProfileTemplate:
		return t.tellTemplate(h, res)
	case *model.ServerProfile:
		return t.tellProfile(h, res)
	}
	return nil, nil // api/v1 shows plans otherwise, and networks not at all
}

func (t *teller) tellHardware(h v1.ResourceHead, hw *model.ServerHardware) (v1.Resource, error) {
	out := &v1.Hardware{ResourceHead: h, Bay: hw.Bay, UUID: hw.UUID, Serial: hw.Serial, MACs: hw.MACs, Power: string(hw.Power)}
	if out.Power == "" {
		out.Power = string(model.PowerUnknown)
	}
	var err error
	if out.Type, err = t.name(hw.Type); err != nil {
		return nil, err
	}
	if out.Enclosure, err = t.name(hw.InEnclosure()); err != nil {
		return nil, err
	}
	if out.LogicalEnclosure, err = t.homeName(hw.InEnclosure()); err != nil {
		return nil, err
	}
	owner, err := t.r.Owner(model.ProfileClaim(hw.URI))
	if err != nil {
		return nil, err
	}
	out.Profile, err = t.name(owner)
	return out, err
}

func (t *teller) tellLogical(h v1.ResourceHead, le *model.LogicalEnclosure) (v1.Resource, error) {
	out := &v1.LogicalEnclosure{ResourceHead: h, Enclosures: []string{}}
	var err error
	if out.Group, err = t.name(le.Group); err != nil {
		return nil, err
	}
	for _, e := range le.Enclosures {
		name, err := t.name(e)
		if err != nil {
			return nil, err
		}
		out.Enclosures = append(out.Enclosures, name)
	}
	return out, nil
}

// homeName is the name of the logical enclosure that has an enclosure.
func (t *teller) homeName(enclosure model.URI) (string, error) {
	le, err := t.r.Owner(model.EnclosureClaim(enclosure))
	if err != nil {
		return "", err
	}
	return t.name(le)
}
