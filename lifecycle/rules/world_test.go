package rules

import (
	"fmt"
	"slices"

	"goldstream/lifecycle/model"
)

func u(k model.Kind, id string) model.URI { return model.URI("/rest/" + string(k) + "/" + id) }

var (
	typ1, typ2   = u(model.HardwareTypes, "t1"), u(model.HardwareTypes, "t2")
	home1, home2 = u(model.LogicalEnclosures, "l1"), u(model.LogicalEnclosures, "l2")
	plan1, plan2 = u(model.DeploymentPlans, "p1"), u(model.DeploymentPlans, "p2")
	key          = []byte("key")
)

// world is a site with one profile, in which decisions are carried out at once.
type world struct {
	hardware map[string]*model.ServerHardware
	homes    map[model.URI]*model.LogicalEnclosure
	plans    map[model.URI]*model.DeploymentPlan
	profile  *model.ServerProfile
	volume   *Volume
	volumes  int // made so far
	site     Site
	last     Decision
}

// newWorld has a profile on server a1 with a volume; b1 is in another logical
// enclosure, a3 and b2 are of another type.
func newWorld() *world {
	w := &world{hardware: map[string]*model.ServerHardware{}, homes: map[model.URI]*model.LogicalEnclosure{}, plans: map[model.URI]*model.DeploymentPlan{}}
	for _, le := range []model.URI{home1, home2} {
		w.homes[le] = &model.LogicalEnclosure{
			Meta: model.Meta{URI: le}, Group: u(model.EnclosureGroups, "g1"), Enclosures: []model.URI{u(model.Enclosures, le.ID())},
		}
	}
	for _, s := range []struct {
		name     string
		typ, ele model.URI
	}{{"a1", typ1, home1}, {"a2", typ1, home1}, {"a3", typ2, home1}, {"b1", typ1, home2}, {"b2", typ2, home2}} {
		w.hardware[s.name] = &model.ServerHardware{Meta: model.Meta{URI: u(model.ServerHardwares, s.name)}, Type: s.typ, Enclosure: u(model.Enclosures, s.ele.ID())}
	}
	for _, p := range []model.URI{plan1, plan2} {
		w.plans[p] = &model.DeploymentPlan{Meta: model.Meta{URI: p}, Size: 1 << 30, Values: []model.Value{model.NewValue("SSH", "option", "Enabled")}}
	}
	w.profile = &model.ServerProfile{
		Meta: model.Meta{URI: u(model.ServerProfiles, "web"), Name: "web"}, Hardware: w.hardware["a1"].URI, Type: typ1, Group: u(model.EnclosureGroups, "g1"),
		Deployment: &model.Deployment{Plan: plan1, Values: []model.Value{model.NewValue("Host", "hostname", "web")}},
	}
	w.make(w.view(w.profile))
	return w
}

func (w *world) view(p *model.ServerProfile) Profile {
	digest := Digest(key, w.plans[p.Plan()], p.Values())
	hw := w.hardware[p.Hardware.ID()]
	if hw == nil {
		return View(p, nil, nil, digest)
	}
	return View(p, hw, w.homeOf(hw.InEnclosure()), digest)
}

func (w *world) homeOf(enclosure model.URI) *model.LogicalEnclosure {
	for _, le := range w.homes {
		if slices.Contains(le.Enclosures, enclosure) {
			return le
		}
	}
	return nil
}

func (w *world) make(p Profile) {
	w.volumes++
	w.volume = &Volume{URI: u(model.OSVolumes, fmt.Sprintf("v%d", w.volumes)), Home: p.Home, Size: 1 << 30,
		Made: model.Made{Plan: p.Plan, HardwareType: p.Type, Digest: p.Digest}}
}

// state tells what became of the volume.
func (w *world) state() string {
	if w.volume == nil {
		return "-"
	}
	return w.volume.URI.ID()
}

// event carries an event out: after is what the profile becomes, done what else
// changes. It returns the decision.
func (w *world) event(e Event, after *model.ServerProfile, done func()) Decision {
	c := Case{Event: e, Before: w.view(w.profile), Volume: w.volume, Site: w.site}
	if after != nil {
		c.After = w.view(after)
	}
	w.last = Decide(c)
	if w.last.Action == Refuse {
		return w.last
	}
	if after != nil {
		w.profile = after
	}
	if done != nil {
		done()
	}
	switch w.last.Action {
	case Create, Regenerate:
		w.make(w.view(w.profile))
	case Delete, DeleteThenPending:
		w.volume = nil
	}
	return w.last
}

// save changes the profile as a client would: reads it, edits and sends it.
func (w *world) save(force bool, edit func(p *model.ServerProfile)) Decision {
	sent := *w.profile
	edit(&sent)
	after := Merge(w.profile, Request{Profile: sent, GivesDeployment: true, GivesValues: true})
	return w.event(Event{Kind: Save, Force: force}, &after, nil)
}

func (w *world) assign(server string) Decision {
	return w.save(false, func(p *model.ServerProfile) {
		p.Hardware = ""
		if hw := w.hardware[server]; hw != nil {
			p.Hardware = hw.URI
		}
	})
}

// replan names another plan or value.
func replan(plan model.URI, host string) func(p *model.ServerProfile) {
	return func(p *model.ServerProfile) {
		p.Deployment = &model.Deployment{Plan: plan, Values: []model.Value{model.NewValue("Host", "hostname", host)}}
	}
}

// step is one thing that can happen in a world.
type step struct {
	name string
	do   func(w *world) Decision
}

var steps = []step{
	{"save again", func(w *world) Decision { return w.save(false, func(p *model.ServerProfile) { p.Description += "." }) }},
	{"unassign", func(w *world) Decision { return w.assign("") }},
	{"assign a1", func(w *world) Decision { return w.assign("a1") }},
	{"assign a2, same home", func(w *world) Decision { return w.assign("a2") }},
	{"assign b1, abroad", func(w *world) Decision { return w.assign("b1") }},
	{"assign a3, other type", func(w *world) Decision { return w.assign("a3") }},
	{"type t2", func(w *world) Decision { return w.save(false, func(p *model.ServerProfile) { p.Type = typ2 }) }},
	{"type t1", func(w *world) Decision { return w.save(false, func(p *model.ServerProfile) { p.Type = typ1 }) }},
	{"type t2 and a3", func(w *world) Decision {
		return w.save(false, func(p *model.ServerProfile) { p.Type, p.Hardware = typ2, w.hardware["a3"].URI })
	}},
	{"plan p2", func(w *world) Decision { return w.save(false, replan(plan2, "web")) }},
	{"value", func(w *world) Decision { return w.save(false, replan(plan1, "www")) }},
	{"plan removed", func(w *world) Decision {
		return w.save(false, func(p *model.ServerProfile) { p.Deployment = nil })
	}},
	{"redeploy", func(w *world) Decision { return w.event(Event{Kind: Redeploy}, nil, nil) }},
	{"edit plan", func(w *world) Decision {
		return w.event(Event{Kind: EditArtifact, Subject: plan1}, nil, func() {
			w.plans[plan1].Values = []model.Value{model.NewValue("SSH", "option", w.plans[plan1].Values[0].Reveal()+"!")}
		})
	}},
	{"l1 to group g2", func(w *world) Decision {
		return w.event(Event{Kind: MoveEnclosure, Subject: home1}, nil, func() {
			if le := w.homes[home1]; le != nil {
				le.Group = u(model.EnclosureGroups, "g2")
			}
		})
	}},
	{"delete l1", func(w *world) Decision {
		return w.event(Event{Kind: DeleteEnclosure, Subject: home1}, nil, func() {
			if w.homes[home1] != nil {
				delete(w.homes, home1)
				// Another one takes its enclosure in, for servers to be somewhere.
				w.homes[home2].Enclosures = append(w.homes[home2].Enclosures, u(model.Enclosures, home1.ID()))
			}
		})
	}},
	{"replace a1", func(w *world) Decision {
		return w.event(Event{Kind: ReplaceHardware, Subject: u(model.ServerHardwares, "a1"), NewType: typ1, NewHome: w.homeOf(w.hardware["a1"].Enclosure).URI}, nil, nil)
	}},
	{"remove a1", func(w *world) Decision {
		hw := u(model.ServerHardwares, "a1")
		return w.event(Event{Kind: RemoveHardware, Subject: hw}, nil, func() {
			if w.profile.Hardware == hw {
				w.profile.Hardware = ""
			}
		})
	}},
}
