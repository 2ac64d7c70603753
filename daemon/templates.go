package daemon

import (
	"context"
	"fmt"

	"goldstream/api/v1"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/rules"
	"goldstream/lifecycle/store"
	"goldstream/personalize/attribute"
)

// understandTemplate reads a template as a profile is read: what clients send back
// of what they were shown changes nothing.
func understandTemplate(r *store.Reader, meta model.Meta, in *v1.Template, old model.Resource) (model.Resource, error) {
	q, err := requestOf(r, &v1.Profile{ResourceHead: in.ResourceHead, Type: in.Type, Group: in.Group, Firmware: in.Firmware, Deployment: in.Deployment})
	if err != nil {
		return nil, err
	}
	var before *model.ServerProfile
	if old, ok := old.(*model.ProfileTemplate); ok {
		before = &model.ServerProfile{Deployment: old.Deployment}
	}
	p := rules.Merge(before, q)
	t := &model.ProfileTemplate{Meta: meta, Type: p.Type, Group: p.Group, Firmware: p.Firmware, Deployment: p.Deployment}
	return t, checkTemplate(r, t)
}

// checkTemplate checks a template, and its values against its plan.
func checkTemplate(r *store.Reader, t *model.ProfileTemplate) error {
	if err := t.Validate(); err != nil || t.Plan() == "" {
		return err
	}
	res, err := r.Get(t.Plan())
	if err != nil {
		return err
	}
	dep, err := readDeployment(r, res.(*model.DeploymentPlan))
	if err != nil {
		return err
	}
	if err := dep.build.CheckValues(t.Values()); err != nil {
		return attribute.Invalid("template %q has values that its plan %q does not take: %v", t.Name, dep.plan.Name, err)
	}
	return nil
}

// fromTemplate completes a new profile by its template. A client's own values go
// before those of the template; another plan than the template's has its own.
func fromTemplate(r *store.Reader, in *v1.Profile) (*v1.Profile, []model.Value, error) {
	uri, err := reference(r, in.Name, "template", model.ProfileTemplates, in.Template)
	if err != nil || uri == "" {
		return in, nil, err
	}
	res, err := r.Get(uri)
	if err != nil {
		return nil, nil, err
	}
	t, full := res.(*model.ProfileTemplate), *in
	for _, f := range []struct{ to, says *string }{
		{&full.Type, (*string)(&t.Type)}, {&full.Group, (*string)(&t.Group)}, {&full.Firmware, &t.Firmware},
	} {
		if *f.to == "" {
			*f.to = *f.says
		}
	}
	if t.Plan() == "" {
		return &full, nil, nil
	}
	d := v1.ProfileDeployment{}
	if in.Deployment != nil {
		d = *in.Deployment
	}
	if d.Plan == nil {
		d.Plan = (*string)(&t.Deployment.Plan)
	}
	full.Deployment = &d
	plan, err := reference(r, in.Name, "plan", model.DeploymentPlans, *d.Plan)
	if err != nil || plan != t.Plan() {
		return &full, nil, err
	}
	return &full, t.Values(), nil
}

// Comply makes a profile what its template says.
func (b *backend) Comply(ctx context.Context, name string, how v1.Change) (v1.Outcome, error) {
	return b.carryOut(ctx, wish{how, "comply profile " + name, name, func(ch *change) error {
		before, err := ch.profile(name, how)
		if err != nil {
			return err
		}
		if before.Template == "" {
			return attribute.Invalid("profile %q is made from no template: name one with 'profile edit --template'", before.Name)
		}
		res, err := ch.tx.Get(before.Template)
		if err != nil {
			return err
		}
		after := rules.Comply(*before, res.(*model.ProfileTemplate))
		return ch.saveProfile(rules.Event{Kind: rules.Save}, before, &after)
	}})
}

func (t *teller) tellTemplate(h v1.ResourceHead, res *model.ProfileTemplate) (v1.Resource, error) {
	out := &v1.Template{ResourceHead: h, Firmware: res.Firmware}
	users, err := t.r.Referrers(res.URI)
	if err != nil {
		return nil, err
	}
	out.Profiles = len(users)
	if out.Type, err = t.name(res.Type); err != nil {
		return nil, err
	}
	if out.Group, err = t.name(res.Group); err != nil {
		return nil, err
	}
	out.Deployment, err = t.tellDeployment(res.Deployment)
	return out, err
}

func (t *teller) tellDeployment(d *model.Deployment) (*v1.ProfileDeployment, error) {
	if d == nil {
		return nil, nil
	}
	plan, err := t.name(d.Plan)
	values := d.Values
	if values == nil {
		values = []attribute.Value{}
	}
	return &v1.ProfileDeployment{Plan: &plan, Values: &values}, err
}

// tellDiffers says in what a profile is not as its template is.
func (t *teller) tellDiffers(out *v1.Profile, p *model.ServerProfile) error {
	if p.Template == "" {
		return nil
	}
	tpl, err := t.template(p.Template)
	if err != nil {
		return err
	}
	out.Template = tpl.Name
	for _, what := range rules.Differs(p, tpl) {
		says := tpl.Firmware
		switch what {
		case "type":
			says, err = t.name(tpl.Type)
		case "group":
			says, err = t.name(tpl.Group)
		case "plan":
			says, err = t.name(tpl.Plan())
		}
		if err != nil {
			return err
		}
		out.Differs = append(out.Differs, fmt.Sprintf("%s: the template says %s", what, says))
	}
	return nil
}

// template reads one once for a list of profiles.
func (t *teller) template(uri model.URI) (*model.ProfileTemplate, error) {
	if tpl, ok := t.templates[uri]; ok {
		return tpl, nil
	}
	res, err := t.r.Get(uri)
	if err != nil {
		return nil, err
	}
	t.templates[uri] = res.(*model.ProfileTemplate)
	return t.templates[uri], nil
}
