package daemon

import (
	"errors"
	"fmt"
	"slices"

	"goldstream/api/v1"
	"goldstream/lifecycle/model"
	"goldstream/lifecycle/rules"
	"goldstream/lifecycle/task"
	"goldstream/personalize/attribute"
)

// view is a profile as the rules see it.
func (ch *change) view(p *model.ServerProfile) (rules.Profile, error) {
	if p == nil {
		return rules.Profile{}, nil
	}
	var plan *model.DeploymentPlan
	if p.Plan() != "" {
		res, err := ch.tx.Get(p.Plan())
		if err != nil {
			return rules.Profile{}, err
		}
		plan = res.(*model.DeploymentPlan)
	}
	digest := rules.Digest(ch.key, plan, p.Values())
	if p.Hardware == "" {
		return rules.View(p, nil, nil, digest), nil
	}
	hw, le, err := ch.place(p.Hardware)
	return rules.View(p, hw, le, digest), err
}

// place is a server and its logical enclosure, nil if its enclosure is in none.
func (ch *change) place(hardware model.URI) (*model.ServerHardware, *model.LogicalEnclosure, error) {
	res, err := ch.tx.Get(hardware)
	if err != nil {
		return nil, nil, err
	}
	hw := res.(*model.ServerHardware)
	le, err := ch.homeOf(hw.InEnclosure())
	return hw, le, err
}

func (ch *change) homeOf(enclosure model.URI) (*model.LogicalEnclosure, error) {
	uri, err := ch.tx.Owner(model.EnclosureClaim(enclosure))
	if err != nil || uri == "" {
		return nil, err
	}
	res, err := ch.tx.Get(uri)
	if err != nil {
		return nil, err
	}
	return res.(*model.LogicalEnclosure), nil
}

func (ch *change) volumeOf(p *model.ServerProfile) (*model.OSVolume, error) {
	if p == nil || p.Volume == "" {
		return nil, nil
	}
	res, err := ch.tx.Get(p.Volume)
	if err != nil {
		return nil, err
	}
	return res.(*model.OSVolume), nil
}

// caseOf is what the rules decide on. after is nil for events that are not of the
// profile itself.
func (ch *change) caseOf(e rules.Event, before, after *model.ServerProfile, v *model.OSVolume) (c rules.Case, err error) {
	c = rules.Case{Event: e, Site: ch.b.d.opts.Site}
	if c.Before, err = ch.view(before); err != nil {
		return c, err
	}
	if c.After, err = ch.view(after); err != nil {
		return c, err
	}
	if before != nil {
		for _, row := range before.Owed {
			c.Owed = append(c.Owed, rules.Row(row))
		}
	}
	if v != nil {
		c.Volume = &rules.Volume{URI: v.URI, Home: v.Home, Made: v.Made, Size: v.Size}
	}
	return c, nil
}

// saveProfile decides on a profile that is made or changed, and keeps it. before
// is nil for a new one.
func (ch *change) saveProfile(e rules.Event, before, after *model.ServerProfile) error {
	ch.subject = string(after.URI)
	if err := ch.settle(after); err != nil {
		return err
	}
	if before != nil && ch.busy(before) {
		if e.Kind == rules.Save && sameResource(before, after) {
			ch.res, ch.running = before, before.Task.ID()
			return nil
		}
		return busyError(before)
	}
	v, err := ch.volumeOf(before)
	if err != nil {
		return err
	}
	c, err := ch.caseOf(e, before, after, v)
	if err != nil {
		return err
	}
	d := rules.Decide(c)
	if d.Action == rules.Refuse {
		return ch.refused(&rules.Refusal{Status: d.Status, Rows: d.Rows, Reasons: d.Reasons})
	}
	return ch.keep(c, d, before, after, v)
}

// settle completes what a request leaves open, and refuses what cannot be.
func (ch *change) settle(p *model.ServerProfile) error {
	if err := p.Validate(); err != nil || p.Hardware == "" {
		return err
	}
	hw, le, err := ch.place(p.Hardware)
	if err != nil {
		return err
	}
	if p.Type == "" {
		p.Type = hw.Type // for good: row 5 goes by it
	}
	if p.Plan() == "" {
		return nil
	}
	if le == nil {
		return attribute.Invalid("server %q stands in %s, which is in no logical enclosure: an OS volume would have no home; put the enclosure into one first", hw.Name, hw.InEnclosure())
	}
	res, err := ch.tx.Get(le.Group)
	if err != nil {
		return err
	}
	if res.(*model.EnclosureGroup).NoDeployment {
		return attribute.Invalid("OS deployment is switched off in enclosure group %q, where server %q stands: choose another server, or switch it on", res.Head().Name, hw.Name)
	}
	return nil
}

// busy tells whether a task works on the profile.
func (ch *change) busy(p *model.ServerProfile) bool {
	return p.State == model.StateApplying && ch.runs(taskID(p.Task))
}

func busyError(p *model.ServerProfile) error {
	return &v1.Error{
		Code: v1.CodeInUse, Message: fmt.Sprintf("task %s still works on server profile %q", taskID(p.Task), p.Name),
		Advice: fmt.Sprintf("Wait for it with 'goldstream task watch %s', or have it undone with 'task cancel'.", taskID(p.Task)),
	}
}

// keep writes what the decision on a profile comes to.
func (ch *change) keep(c rules.Case, d rules.Decision, before, after *model.ServerProfile, v *model.OSVolume) error {
	if v == nil {
		d.Export = rules.KeepExport
	} else if d.Action == rules.Retain && d.Export == rules.KeepExport && v.Closed && after.Hardware != "" {
		d.Export = rules.OpenExport // it was closed by a change that failed
	}
	d.Reasons = ch.named(d.Reasons)
	if err := ch.note(c, d, before, after, v); err != nil {
		return err
	}
	// What is owed stays owed, but for what is done to the profile itself.
	var left []string
	if before != nil && d.Action == rules.Retain && !ofProfile(c.Event.Kind) {
		if left = before.Owed; len(left) > 0 && v != nil {
			d.Export = owing(d.Export, left, v)
		}
	}
	works := d.Action != rules.Retain || d.Export != rules.KeepExport
	if d.Action == rules.Create || d.Action == rules.Regenerate {
		if err := ch.prepareVolume(c, after); err != nil {
			return err
		}
	}
	after.Owed, after.Task = left, ""
	if after.State = restState(after); works {
		after.State, after.Task = model.StateApplying, taskURI(ch.task)
		for _, row := range rules.Owes(d) {
			after.Owed = append(after.Owed, string(row))
		}
		m := moveOf(d, before, after, v)
		if m.Stays && !v.Closed {
			// Durable at once: nobody gets it if the task ends before its first step.
			if err := editVolume(ch.tx, v.URI, func(v *model.OSVolume) { v.Closed = true }); err != nil {
				return err
			}
		}
		m.Owed = left
		m.Gone = c.Event.Kind == rules.DeleteProfile
		ch.work.Moves = append(ch.work.Moves, m)
	}
	ch.res = after
	if before == nil {
		return ch.tx.Create(after)
	}
	if c.Event.Kind == rules.DeleteProfile && !works {
		ch.res = nil
		return ch.tx.Delete(before.URI, before.ETag)
	}
	if !works && sameResource(before, after) {
		return nil
	}
	return ch.tx.Save(after)
}

// owing is what happens to the export of a volume that is to be another: it is not
// opened to a server that cannot access it.
func owing(e rules.Export, owed []string, v *model.OSVolume) rules.Export {
	abroad := slices.Contains(owed, "4") || slices.Contains(owed, "5")
	switch {
	case v.Closed:
		return rules.KeepExport
	case abroad && e != rules.KeepExport:
		return rules.CloseExport
	}
	return e
}

func ofProfile(k rules.EventKind) bool {
	return k == rules.Save || k == rules.Redeploy || k == rules.DeleteProfile
}

// restState is that of a profile on which no task works.
func restState(p *model.ServerProfile) model.ProfileState {
	if len(p.Owed) > 0 {
		return model.StateError
	}
	if p.Plan() != "" && p.Volume == "" {
		return model.StatePending
	}
	return model.StateNormal
}

// note remembers a decision, for people and for ask.
func (ch *change) note(c rules.Case, d rules.Decision, before, after *model.ServerProfile, v *model.OSVolume) error {
	effect := v1.Effect{Profile: after.Name, Action: string(d.Action), Reasons: d.Reasons}
	for _, r := range d.Rows {
		effect.Rows = append(effect.Rows, string(r))
	}
	if v != nil {
		effect.Volume = v.Name
		if d.Destroys() {
			effect.Bytes = v.Size
		}
	}
	var hardware model.URI
	if before != nil {
		hardware = before.Hardware
	}
	use, err := ch.useOf(v, hardware)
	if err != nil {
		return err
	}
	ch.effects = append(ch.effects, effect)
	ch.cases, ch.decisions, ch.uses = append(ch.cases, c), append(ch.decisions, d), append(ch.uses, use)
	return nil
}

// prepareVolume pins what the new volume of a profile is made of.
func (ch *change) prepareVolume(c rules.Case, p *model.ServerProfile) error {
	res, err := ch.tx.Get(p.Plan())
	if err != nil {
		return err
	}
	d, err := readDeployment(&ch.tx.Reader, res.(*model.DeploymentPlan))
	if err != nil {
		return err
	}
	program, err := programOf(d, p)
	if err != nil {
		return err
	}
	name := volumeName(p.Name, ch.newVolume)
	if ch.work.deployInput, err = ch.b.input(d, requestFor(d, p), name); err != nil {
		return err
	}
	ch.work.New = &newVolume{
		URI: ch.newVolume, Home: c.After.Home, Size: d.plan.Size,
		Made: model.Made{Plan: d.plan.URI, PlanETag: d.plan.ETag, HardwareType: c.After.Type, ImageID: d.imageID, Program: program, Digest: c.After.Digest},
	}
	return nil
}

// removeProfile deletes a profile, once its volume is retired.
func (ch *change) removeProfile(p *model.ServerProfile) error {
	ch.subject = string(p.URI)
	if ch.busy(p) {
		return busyError(p)
	}
	v, err := ch.volumeOf(p)
	if err != nil {
		return err
	}
	c, err := ch.caseOf(rules.Event{Kind: rules.DeleteProfile}, p, nil, v)
	if err != nil {
		return err
	}
	after := *p
	err = ch.keep(c, rules.Decide(c), p, &after, v)
	ch.res = nil
	return err
}

// elsewhere decides on events that are not of one profile: all are refused, or
// none. Profiles that keep their volumes as they are stay untouched. edit is done
// to the others.
func (ch *change) elsewhere(events []rules.Event, edit func(rules.Event, *model.ServerProfile)) error {
	type affected struct {
		profile *model.ServerProfile
		volume  *model.OSVolume
	}
	var cases []rules.Case
	var who []affected
	err := ch.tx.Each(model.ServerProfiles, func(res model.Resource) error {
		p := res.(*model.ServerProfile)
		v, err := ch.volumeOf(p)
		if err != nil {
			return err
		}
		for _, e := range events {
			c, err := ch.caseOf(e, p, nil, v)
			if err != nil {
				return err
			}
			cases, who = append(cases, c), append(who, affected{p, v})
		}
		return nil
	})
	if err != nil {
		return err
	}
	decisions, err := rules.DecideAll(cases)
	if err != nil {
		return ch.refused(err)
	}
	for i, d := range decisions {
		p := who[i].profile
		if slices.Equal(d.Rows, []rules.Row{"10"}) || !concerned(cases[i]) {
			continue
		}
		if d.Action == rules.Retain && d.Export == rules.KeepExport && edit == nil {
			d.Reasons = ch.named(d.Reasons)
			if err := ch.note(cases[i], d, p, p, who[i].volume); err != nil {
				return err
			}
			continue
		}
		if ch.busy(p) {
			return busyError(p)
		}
		after := *p
		if edit != nil {
			edit(cases[i].Event, &after)
		}
		if err := ch.keep(cases[i], d, p, &after, who[i].volume); err != nil {
			return err
		}
	}
	return nil
}

// concerned tells whether a logical enclosure that moves is one of the profile's.
func concerned(c rules.Case) bool {
	return c.Event.Kind != rules.MoveEnclosure || c.Before.Home == c.Event.Subject || c.Volume != nil && c.Volume.Home == c.Event.Subject
}

// runs tells whether a task is known and not finished.
func (ch *change) runs(id string) bool {
	i, err := ch.tasks.Get(id, 0)
	return err == nil && !i.State.Finished() || err != nil && !errors.Is(err, task.ErrNotFound)
}
