package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/lifecycle/model"
)

// TestRows has each row of the table, on a profile with a volume on server a1.
func TestRows(t *testing.T) {
	a1 := u(model.ServerHardwares, "a1")
	e1, g1 := u(model.Enclosures, "l1"), u(model.EnclosureGroups, "g1")
	for _, row := range []struct {
		name   string
		do     func(w *world) Decision
		action Action
		rows   []Row
		export Export
	}{
		{"1 unassigned", func(w *world) Decision { return w.assign("") }, Retain, []Row{"1"}, CloseExport},
		{"1 assigned again", func(w *world) Decision { w.assign(""); return w.assign("a2") }, Retain, []Row{"1"}, OpenExport},
		{"2 home moved", func(w *world) Decision { return w.event(Event{Kind: MoveEnclosure, Subject: home1}, nil, nil) }, Retain, []Row{"2"}, ""},
		{"2 profile follows", func(w *world) Decision {
			return w.save(false, func(p *model.ServerProfile) { p.Group = u(model.EnclosureGroups, "g2") })
		}, Retain, []Row{"2"}, ""},
		{"3", func(w *world) Decision {
			w.assign("")
			return w.event(Event{Kind: DeleteEnclosure, Subject: home1}, nil, nil)
		}, DeleteThenPending, []Row{"3"}, ""},
		{"3 of another home", func(w *world) Decision {
			w.assign("")
			return w.event(Event{Kind: DeleteEnclosure, Subject: home2}, nil, nil)
		}, Retain, []Row{"10"}, ""},
		{"3a assigned", func(w *world) Decision { return w.event(Event{Kind: DeleteEnclosure, Subject: home1}, nil, nil) }, Refuse, []Row{"3a"}, ""},
		{"3a enclosure removed", func(w *world) Decision {
			return w.event(Event{Kind: RemoveEnclosure, Subject: e1, Home: home1}, nil, nil)
		}, Refuse, []Row{"3a"}, ""},
		{"3a deployment off", func(w *world) Decision { return w.event(Event{Kind: DeploymentOff, Subject: g1}, nil, nil) }, Refuse, []Row{"3a"}, ""},
		{"3a type deleted", func(w *world) Decision { return w.event(Event{Kind: DeleteType, Subject: typ1}, nil, nil) }, Refuse, []Row{"3a"}, ""},
		{"3a server leaves home", func(w *world) Decision {
			return w.event(Event{Kind: ReplaceHardware, Subject: a1, NewType: typ1, NewHome: home2}, nil, nil)
		}, Refuse, []Row{"3a"}, ""},
		{"4", func(w *world) Decision { return w.assign("b1") }, Regenerate, []Row{"4"}, ""},
		{"4 after unassign", func(w *world) Decision { w.assign(""); return w.assign("b1") }, Regenerate, []Row{"4"}, ""},
		{"4 not with node access", func(w *world) Decision { w.site.NodeAccess = true; return w.assign("b1") }, Retain, []Row{"6"}, MoveExport},
		{"5", func(w *world) Decision {
			return w.save(false, func(p *model.ServerProfile) { p.Type, p.Hardware = typ2, w.hardware["a3"].URI })
		}, Regenerate, []Row{"5"}, ""},
		{"5 without hardware", func(w *world) Decision {
			w.assign("")
			return w.save(false, func(p *model.ServerProfile) { p.Type = typ2 })
		}, DeleteThenPending, []Row{"5"}, ""},
		{"5 and 4", func(w *world) Decision {
			return w.save(false, func(p *model.ServerProfile) { p.Type, p.Hardware = typ2, w.hardware["b2"].URI })
		}, Regenerate, []Row{"5", "4"}, ""},
		{"5a", func(w *world) Decision { return w.assign("a3") }, Refuse, []Row{"5a"}, ""},
		{"5a type without server", func(w *world) Decision {
			return w.save(false, func(p *model.ServerProfile) { p.Type = typ2 })
		}, Refuse, []Row{"5a"}, ""},
		{"6", func(w *world) Decision { return w.assign("a2") }, Retain, []Row{"6"}, MoveExport},
		{"6 replaced", func(w *world) Decision {
			return w.event(Event{Kind: ReplaceHardware, Subject: a1, NewType: typ1, NewHome: home1}, nil, nil)
		}, Retain, []Row{"6"}, MoveExport},
		{"6 removed", func(w *world) Decision { return w.event(Event{Kind: RemoveHardware, Subject: a1}, nil, nil) }, Retain, []Row{"6"}, CloseExport},
		{"7", func(w *world) Decision { w.volume = nil; w.assign(""); return w.assign("b1") }, Create, []Row{"7"}, ""},
		{"7 not before", func(w *world) Decision { w.volume = nil; return w.assign("") }, Retain, []Row{"1"}, CloseExport},
		{"8 plan", func(w *world) Decision { return w.save(false, replan(plan2, "web")) }, Regenerate, []Row{"8"}, ""},
		{"8 value", func(w *world) Decision { return w.save(false, replan(plan1, "www")) }, Regenerate, []Row{"8"}, ""},
		{"8 without hardware", func(w *world) Decision { w.assign(""); return w.save(false, replan(plan1, "www")) }, DeleteThenPending, []Row{"8"}, ""},
		{"9 plan removed", func(w *world) Decision {
			return w.save(false, func(p *model.ServerProfile) { p.Deployment = nil })
		}, Delete, []Row{"9"}, ""},
		{"9 beats 12 and 4", func(w *world) Decision {
			return w.save(true, func(p *model.ServerProfile) { p.Deployment, p.Hardware = nil, w.hardware["b1"].URI })
		}, Delete, []Row{"9"}, ""},
		{"5a beats 9", func(w *world) Decision {
			return w.save(true, func(p *model.ServerProfile) { p.Deployment, p.Hardware = nil, w.hardware["b2"].URI })
		}, Refuse, []Row{"5a"}, ""},
		{"9 profile deleted", func(w *world) Decision { return w.event(Event{Kind: DeleteProfile}, nil, nil) }, Delete, []Row{"9"}, ""},
		{"10", func(w *world) Decision {
			return w.save(false, func(p *model.ServerProfile) { p.Name, p.Description, p.Firmware = "x", "y", "z" })
		}, Retain, []Row{"10"}, ""},
		{"11", func(w *world) Decision { return w.event(Event{Kind: EditArtifact, Subject: plan1}, nil, nil) }, Retain, []Row{"11"}, ""},
		{"12 redeploy", func(w *world) Decision { return w.event(Event{Kind: Redeploy}, nil, nil) }, Regenerate, []Row{"12"}, ""},
		{"12 force", func(w *world) Decision { return w.save(true, func(*model.ServerProfile) {}) }, Regenerate, []Row{"12"}, ""},
		{"12 all reasons", func(w *world) Decision {
			return w.save(true, func(p *model.ServerProfile) {
				replan(plan2, "web")(p)
				p.Type, p.Hardware = typ2, w.hardware["b2"].URI
			})
		}, Regenerate, []Row{"12", "5", "4", "8"}, ""},
		{"12 of nothing", func(w *world) Decision {
			w.profile.Deployment, w.volume = nil, nil
			return w.event(Event{Kind: Redeploy}, nil, nil)
		}, Refuse, []Row{"12"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			d := row.do(newWorld())
			require.Equal(t, row.action, d.Action, "%v", d.Reasons)
			require.Equal(t, row.rows, d.Rows)
			require.Equal(t, row.export, d.Export)
		})
	}
}

// TestSequences are those that are easily got wrong.
func TestSequences(t *testing.T) {
	t.Run("type changed and back while unassigned", func(t *testing.T) {
		w := newWorld()
		w.assign("")
		w.save(false, func(p *model.ServerProfile) { p.Type = typ2 })
		require.Equal(t, "-", w.state())
		w.save(false, func(p *model.ServerProfile) { p.Type = typ1 })
		require.Equal(t, "-", w.state(), "the old one comes back by restore only")
		require.Equal(t, Create, w.assign("a1").Action)
	})
	t.Run("abroad after its home was deleted is row 7", func(t *testing.T) {
		w := newWorld()
		w.assign("")
		w.event(Event{Kind: DeleteEnclosure, Subject: home1}, nil, nil)
		d := w.assign("b1")
		require.Equal(t, "create 7", outcome(d))
	})
	t.Run("unassigned, home moved, assigned", func(t *testing.T) {
		w := newWorld()
		w.assign("")
		w.homes[home1].Group = u(model.EnclosureGroups, "g2")
		d := w.save(false, func(p *model.ServerProfile) {
			p.Hardware, p.Group = w.hardware["a2"].URI, u(model.EnclosureGroups, "g2")
		})
		require.Equal(t, "retain 1,2", outcome(d))
		require.Equal(t, "v1", w.state())
	})
	t.Run("node access switched off again", func(t *testing.T) {
		w := newWorld()
		w.site.NodeAccess = true
		w.assign("b1")
		w.site.NodeAccess = false
		require.Equal(t, Retain, steps[0].do(w).Action, "saving again never costs a volume")
	})
}

func TestOwed(t *testing.T) {
	w := newWorld()
	c := Case{Event: Event{Kind: Save}, Before: w.view(w.profile), Volume: w.volume}
	c.After = c.Before
	c.After.Hardware, c.After.Home = u(model.ServerHardwares, "b1"), home2
	d := Decide(c)
	require.Equal(t, []Row{"4"}, Owes(d))
	require.True(t, StaysClosed(d))
	// It failed: the profile is abroad, the volume is the old one.
	c.Owed, c.Before = Owes(d), c.After
	require.Equal(t, "regenerate 4", outcome(Decide(c)), "the same request tries again")
	c.After.Hardware, c.After.Home = u(model.ServerHardwares, "a1"), home1
	require.Equal(t, "retain 6", outcome(Decide(c)), "back at home the old volume is good")
	c.Owed = []Row{"8", "5", "12"}
	require.Equal(t, Retain, Decide(c).Action, "as it was made, and force is never owed")
	c.Event.Force = true
	require.Equal(t, "regenerate 12", outcome(Decide(c)))
	require.Empty(t, Owes(Decide(c)))
}

// TestOwedGoesBack: after a failure the volume is still what the profile had asked
// for before, and going back to that costs nothing.
func TestOwedGoesBack(t *testing.T) {
	for _, x := range []struct {
		name, again, back string
		change            func(w *world, p *model.ServerProfile)
	}{
		{"5", "regenerate 5", "retain 6", func(w *world, p *model.ServerProfile) { p.Type, p.Hardware = typ2, w.hardware["a3"].URI }},
		{"8 plan", "regenerate 8", "retain 10", func(_ *world, p *model.ServerProfile) { replan(plan2, "web")(p) }},
		{"8 value", "regenerate 8", "retain 10", func(_ *world, p *model.ServerProfile) { replan(plan1, "www")(p) }},
		{"9", "delete 9", "retain 10", func(_ *world, p *model.ServerProfile) { p.Deployment = nil }},
		{"5 and 8", "regenerate 5,8", "retain 6", func(w *world, p *model.ServerProfile) {
			replan(plan2, "web")(p)
			p.Type, p.Hardware = typ2, w.hardware["a3"].URI
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld()
			asked := *w.profile
			x.change(w, &asked)
			good, failed := w.view(w.profile), w.view(&asked)
			c := Case{Event: Event{Kind: Save}, Before: good, After: failed, Volume: w.volume}
			d := Decide(c)
			require.Equal(t, x.again, outcome(d))
			c.Before, c.Owed = failed, Owes(d)
			require.Equal(t, x.again, outcome(Decide(c)), "the same request tries again")
			c.After = good
			require.Equal(t, x.back, outcome(Decide(c)))
		})
	}
	w := newWorld()
	none, third := *w.profile, *w.profile
	none.Deployment = nil
	replan(plan2, "web")(&third)
	c := Case{Event: Event{Kind: Save}, Before: w.view(&none), After: w.view(&third), Volume: w.volume, Owed: []Row{"9"}}
	require.Equal(t, "regenerate 8", outcome(Decide(c)), "another plan than that of the volume")
}

func TestRefusalOfOneIsOfAll(t *testing.T) {
	a, b := newWorld(), newWorld()
	b.assign("")
	e := Event{Kind: DeleteEnclosure, Subject: home1}
	cases := []Case{{Event: e, Before: b.view(b.profile), Volume: b.volume}, {Event: e, Before: a.view(a.profile), Volume: a.volume}}
	_, err := DecideAll(cases)
	var no *Refusal
	require.ErrorAs(t, err, &no)
	require.Equal(t, 409, no.Status)
	require.Equal(t, []model.URI{a.profile.URI}, no.Profiles)
	list, err := DecideAll(cases[:1])
	require.NoError(t, err)
	preview := Previews(cases[:1], list)
	require.Equal(t, []Preview{{Action: DeleteThenPending, Rows: []Row{"3"}, Reasons: list[0].Reasons,
		Profiles: []model.URI{b.profile.URI}, Volumes: []model.URI{b.volume.URI}, Bytes: 1 << 30}}, preview)
}

func TestAsk(t *testing.T) {
	w := newWorld()
	c := Case{Before: w.view(w.profile), Volume: w.volume}
	lose, keep := Decision{Action: Regenerate, Rows: []Row{"8"}, Reasons: []string{"x"}}, Decision{Action: Retain}
	for _, row := range []struct {
		d         Decision
		use       Use
		confirmed bool
		asks      bool
	}{
		{lose, Use{model.PowerOff, -1}, false, false},
		{lose, Use{model.PowerUnknown, -1}, false, false},
		{lose, Use{"", time.Minute}, false, false},
		{lose, Use{model.PowerOff, time.Second}, false, true}, // traffic is the truth
		{lose, Use{model.PowerOff, 0}, false, true},
		{lose, Use{model.PowerOn, time.Hour}, false, true},
		{lose, Use{model.PowerOn, 0}, true, false},
		{keep, Use{model.PowerOn, 0}, false, false},
		{lose, Use{model.PowerOff, Quiet}, false, false},
	} {
		err := Ask(c, row.d, row.use, row.confirmed)
		if !row.asks {
			require.NoError(t, err, "%+v", row)
			continue
		}
		var no *Refusal
		require.ErrorAs(t, err, &no, "%+v", row)
		require.Equal(t, 409, no.Status)
		require.Contains(t, err.Error(), PoweredOn)
	}
}

func TestOrder(t *testing.T) {
	require.Equal(t, []Step{Intent, Build, Fence, Swap, Retire, OpenToUser}, Order(Decision{Action: Regenerate}))
	require.Equal(t, []Step{Intent, Build, Swap, OpenToUser}, Order(Decision{Action: Create}))
	require.Equal(t, []Step{Intent, Fence, Swap, Retire}, Order(Decision{Action: Delete}))
	require.Equal(t, []Step{Fence, Swap, OpenToUser}, Order(Decision{Action: Retain, Export: MoveExport}))
	require.Nil(t, Order(Decision{Action: Refuse}))
}

func TestLocks(t *testing.T) {
	w := newWorld()
	c := Case{Event: Event{Kind: Save}, Before: w.view(w.profile), Volume: w.volume}
	c.After = c.Before
	c.After.Home = home2
	g1 := u(model.EnclosureGroups, "g1")
	require.Equal(t, []Lock{{home1, false}, {home2, false}, {g1, false}, {w.profile.URI, true}}, Locks([]Case{c}))
	e := Case{Event: Event{Kind: DeleteEnclosure, Subject: home2}, Before: c.Before, Volume: w.volume}
	require.Equal(t, []Lock{{home1, false}, {home2, true}, {g1, false}, {w.profile.URI, true}}, Locks([]Case{e}))
}
