package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"goldstream/api/v1"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/rules"
	"goldstream/lifecycle/store"
	"goldstream/personalize"
	"goldstream/personalize/attribute"
)

// programOf names what a profile's volume would be made of: the image and all
// that would be run on it.
func programOf(dep deployment, p *model.ServerProfile) (string, error) {
	req := requestFor(dep, p)
	req.AsIs = true // what deploy puts before the plan's steps does not make it another plan
	plan, err := dep.program(req).compile()
	if err != nil {
		return "", err
	}
	steps, err := json.Marshal(plan.Steps) // with masks
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write([]byte(dep.imageID + "\n"))
	h.Write(steps)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// requestFor is the deployment of a profile. A plan without steps means the image as
// it is, also on hosts that have no sandboxes.
func requestFor(dep deployment, p *model.ServerProfile) v1.DeployRequest {
	return v1.DeployRequest{Plan: dep.plan.Name, Name: p.Name, Values: p.Values(), AsIs: len(dep.steps) == 0}
}

// requestOf reads a profile from a request, as the rules merge it.
func requestOf(r *store.Reader, in *v1.Profile) (q rules.Request, err error) {
	p := &q.Profile
	p.Name, p.Description, p.Firmware = in.Name, in.Description, in.Firmware
	for _, ref := range []struct {
		field string
		kind  model.Kind
		name  string
		to    *model.URI
	}{
		{"template", model.ProfileTemplates, in.Template, &p.Template},
		{"hardware", model.ServerHardwares, in.Hardware, &p.Hardware},
		{"type", model.HardwareTypes, in.Type, &p.Type},
		{"group", model.EnclosureGroups, in.Group, &p.Group},
	} {
		if *ref.to, err = reference(r, in.Name, ref.field, ref.kind, ref.name); err != nil {
			return q, err
		}
	}
	d := in.Deployment
	if d == nil || d.Plan == nil && d.Values == nil {
		return q, nil
	}
	if d.Plan == nil || *d.Plan == "" && d.Values != nil && len(*d.Values) > 0 {
		return q, attribute.Invalid("%q has values but no deployment plan that they are for", in.Name)
	}
	q.GivesDeployment = true
	plan, err := reference(r, in.Name, "plan", model.DeploymentPlans, *d.Plan)
	if err != nil {
		return q, err
	}
	p.Deployment = &model.Deployment{Plan: plan}
	if d.Values == nil {
		return q, nil
	}
	q.GivesValues = true
	p.Deployment.Values, err = retyped(r, plan, *d.Values)
	return q, err
}

// retyped gives values the types that the plan's attributes have: a password is
// one whether the client says so or not.
func retyped(r *store.Reader, plan model.URI, values []attribute.Value) ([]attribute.Value, error) {
	if plan == "" {
		return values, nil
	}
	res, err := r.Get(plan)
	if err != nil {
		return nil, err
	}
	d, err := readDeployment(r, res.(*model.DeploymentPlan))
	if err != nil {
		return nil, err
	}
	typed := personalize.Retype(values, d.build.Attributes)
	for i, v := range values {
		if v.Secret() { // who calls it one gets one
			typed[i].Type = model.Password
		}
	}
	return typed, nil
}

// createProfile makes a profile, and its volume if it is on a server.
func (b *backend) createProfile(ctx context.Context, in *v1.Profile, how v1.Change) (v1.Outcome, error) {
	return b.carryOut(ctx, wish{how, "create profile " + in.Name, in, func(ch *change) error {
		full, values, err := fromTemplate(&ch.tx.Reader, in)
		if err != nil {
			return err
		}
		q, err := requestOf(&ch.tx.Reader, full)
		if err != nil {
			return err
		}
		after := rules.Merge(nil, q)
		if len(values) > 0 {
			after.Deployment.Values = rules.Filled(after.Values(), values)
		}
		after.URI = ch.newProfile
		return ch.saveProfile(rules.Event{Kind: rules.Save}, nil, &after)
	}})
}

// replaceProfile changes a profile to what a client sends.
func (b *backend) replaceProfile(ctx context.Context, name string, in *v1.Profile, how v1.Change) (v1.Outcome, error) {
	return b.carryOut(ctx, wish{how, "change profile " + name, in, func(ch *change) error {
		before, err := ch.profile(name, how)
		if err != nil {
			return err
		}
		if in.Name == "" {
			in.Name = before.Name
		}
		q, err := requestOf(&ch.tx.Reader, in)
		if err != nil {
			return err
		}
		meta := before.Meta
		meta.Name, meta.Description = in.Name, in.Description
		q.Profile.Meta = meta
		after := rules.Merge(before, q)
		return ch.saveProfile(rules.Event{Kind: rules.Save}, before, &after)
	}})
}

// Redeploy has the volume of a profile made anew.
func (b *backend) Redeploy(ctx context.Context, name string, how v1.Change) (v1.Outcome, error) {
	return b.carryOut(ctx, wish{how, "redeploy profile " + name, name, func(ch *change) error {
		before, err := ch.profile(name, how)
		if err != nil {
			return err
		}
		after := *before
		return ch.saveProfile(rules.Event{Kind: rules.Redeploy}, before, &after)
	}})
}

func (b *backend) deleteProfile(ctx context.Context, name string, how v1.Change) (v1.Outcome, error) {
	return b.carryOut(ctx, wish{how, "delete profile " + name, name, func(ch *change) error {
		p, err := ch.profile(name, how)
		if err != nil {
			return err
		}
		return ch.removeProfile(p)
	}})
}

// profile reads one that is to be changed. The eTag that tasks have moved on is
// the client's affair too.
func (ch *change) profile(name string, how v1.Change) (*model.ServerProfile, error) {
	res, err := present(ch.tx, v1.ProfileCollection, name, how)
	if err != nil {
		return nil, err
	}
	return res.(*model.ServerProfile), nil
}

func (t *teller) tellProfile(h v1.ResourceHead, p *model.ServerProfile) (v1.Resource, error) {
	out := &v1.Profile{
		ResourceHead: h, Firmware: p.Firmware, State: string(p.State), Owed: p.Owed, VolumeURI: string(p.Volume), Task: taskID(p.Task),
	}
	var err error
	for _, n := range []struct {
		to *string
		of model.URI
	}{{&out.Hardware, p.Hardware}, {&out.Type, p.Type}, {&out.Group, p.Group}} {
		if *n.to, err = t.name(n.of); err != nil {
			return nil, err
		}
	}
	if out.Deployment, err = t.tellDeployment(p.Deployment); err != nil {
		return nil, err
	}
	if err := t.tellDiffers(out, p); err != nil {
		return nil, err
	}
	if p.Volume == "" {
		return out, nil
	}
	return out, t.tellVolume(out, p)
}

// tellVolume tells of the home of a profile's volume, and whether it is outdated.
func (t *teller) tellVolume(out *v1.Profile, p *model.ServerProfile) error {
	res, err := t.r.Get(p.Volume)
	if err != nil {
		return err
	}
	v := res.(*model.OSVolume)
	if out.Home, err = t.name(v.Home); err != nil {
		return err
	}
	out.Volume, out.ExportClosed = v.Name, v.Closed
	if p.Plan() == "" || p.Plan() != v.Made.Plan {
		return nil
	}
	dep, err := t.deployment(p.Plan())
	if err != nil {
		return err
	}
	if dep.imageID != v.Made.ImageID {
		out.Outdated = append(out.Outdated, "the golden image is another by now")
	}
	if dep.plan.ETag == v.Made.PlanETag && len(dep.steps) == 0 && len(out.Outdated) == 0 {
		return nil // a list has many of these
	}
	program, err := programOf(dep, p)
	switch {
	case errors.Is(err, attribute.ErrInvalid):
		out.Outdated = append(out.Outdated, "the plan was changed and does not accept the profile's values: "+err.Error())
	case err != nil:
		return err
	case program != v.Made.Program && len(out.Outdated) == 0:
		out.Outdated = append(out.Outdated, "the plan, its build plan or a script was changed")
	}
	return nil
}

// deployment reads a plan once for a list of profiles.
func (t *teller) deployment(plan model.URI) (deployment, error) {
	if d, ok := t.deployments[plan]; ok {
		return d, nil
	}
	res, err := t.r.Get(plan)
	if err != nil {
		return deployment{}, err
	}
	d, err := readDeployment(t.r, res.(*model.DeploymentPlan))
	t.deployments[plan] = d
	return d, err
}
