package rules

import (
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/lifecycle/model"
)

// TestSentBack has all that clients send back of what they were shown.
func TestSentBack(t *testing.T) {
	secret := model.NewValue("Root", model.Password, "clear")
	host := model.NewValue("Host", "hostname", "web")
	dhcp := model.NewValue("NIC1.dhcp", "nic", "true")
	values := func(v ...model.Value) *model.Deployment { return &model.Deployment{Plan: plan1, Values: v} }
	for name, row := range map[string]struct {
		sent                 *model.Deployment
		given, givesValues   bool
		want                 Action
		wantPlan, wantSecret bool
	}{
		"absent":              {nil, false, false, Retain, true, true},
		"empty":               {&model.Deployment{}, false, false, Retain, true, true},
		"plan alone":          {&model.Deployment{Plan: plan1}, true, false, Retain, true, true},
		"the same":            {values(secret, host, dhcp), true, true, Retain, true, true},
		"masked":              {values(model.NewValue("Root", model.Password, model.Mask), host, dhcp), true, true, Retain, true, true},
		"masked, no type":     {values(model.NewValue("Root", "", "***"), host, dhcp), true, true, Retain, true, true},
		"empty password":      {values(model.NewValue("Root", model.Password, ""), host, dhcp), true, true, Retain, true, true},
		"absent password":     {values(host, dhcp), true, true, Retain, true, true},
		"another order":       {values(dhcp, host, secret), true, true, Retain, true, true},
		"True":                {values(secret, host, model.NewValue("NIC1.dhcp", "", "True")), true, true, Retain, true, true},
		"default told":        {values(secret, host, dhcp, model.NewValue("SSH", "option", "Enabled")), true, true, Retain, true, true},
		"address of a NIC":    {values(secret, host, dhcp, model.NewValue("NIC1.mac", "", "52:54:00:00:00:01")), true, true, Retain, true, true},
		"boot NIC":            {values(secret, host, dhcp, model.NewValue("_Initiator1.ip", "", "10.0.0.1")), true, true, Retain, true, true},
		"another password":    {values(model.NewValue("Root", "", "other"), host, dhcp), true, true, Regenerate, true, false},
		"default overridden":  {values(secret, host, dhcp, model.NewValue("SSH", "option", "Disabled")), true, true, Regenerate, true, true},
		"value left out":      {values(secret, dhcp), true, true, Regenerate, true, true},
		"plan empty":          {&model.Deployment{}, true, false, Delete, false, false},
		"plan empty, values ": {&model.Deployment{Values: []model.Value{host}}, true, true, Delete, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.profile.Deployment = values(secret, host, dhcp)
			w.make(w.view(w.profile))
			sent := *w.profile
			sent.Deployment, sent.Volume, sent.State = row.sent, "", "made up"
			after := Merge(w.profile, Request{Profile: sent, GivesDeployment: row.given, GivesValues: row.givesValues})
			require.Equal(t, w.profile.State, after.State)
			d := w.event(Event{Kind: Save}, &after, nil)
			require.Equal(t, row.want, d.Action, "%v", d.Reasons)
			require.Equal(t, row.wantPlan, after.Plan() != "")
			clear := false
			for _, v := range after.Values() {
				if v.Name == "Root" {
					require.True(t, v.Secret())
					clear = v.Reveal() == "clear"
				}
			}
			require.Equal(t, row.wantSecret, clear)
		})
	}
}

func TestDigest(t *testing.T) {
	plan := &model.DeploymentPlan{Meta: model.Meta{URI: plan1}}
	v := func(n, s string) []model.Value { return []model.Value{model.NewValue(n, "", s)} }
	require.Empty(t, Digest(key, nil, v("a", "b")))
	require.NotEqual(t, Digest(key, plan, v("a", "b")), Digest([]byte("other"), plan, v("a", "b")), "keyed")
	require.NotEqual(t, Digest(key, plan, v("ab", "c")), Digest(key, plan, v("a", "bc")), "no two lists run together")
	auto := append(v("N.constraint", "auto"), v("N.ipaddress", "10.0.0.1")...)
	require.Equal(t, Digest(key, plan, auto), Digest(key, plan, v("N.constraint", "auto")), "addresses from pools")
	fixed := append(v("N.constraint", "userspecified"), v("N.ipaddress", "10.0.0.1")...)
	require.NotEqual(t, Digest(key, plan, fixed), Digest(key, plan, v("N.constraint", "userspecified")))
}

func TestMergeOfANewProfile(t *testing.T) {
	p := Merge(nil, Request{Profile: model.ServerProfile{Volume: u(model.OSVolumes, "v9"), Deployment: &model.Deployment{Plan: plan1}}, GivesDeployment: true})
	require.Empty(t, p.Volume, "clients do not say which volume is theirs")
	require.Equal(t, plan1, p.Plan())
	require.Nil(t, Merge(nil, Request{Profile: model.ServerProfile{Deployment: &model.Deployment{}}}).Deployment)
}

func TestTemplate(t *testing.T) {
	plan := func(id string) model.URI { return model.URI("/rest/deployment-plans/" + id) }
	tpl := &model.ProfileTemplate{Type: "/rest/server-hardware-types/t", Deployment: &model.Deployment{Plan: plan("a"), Values: []model.Value{
		model.NewValue("Host", "", "www"), model.NewValue("Root", model.Password, "secret"),
	}}}
	p := model.ServerProfile{Group: "/rest/enclosure-groups/g", Firmware: "f", Deployment: &model.Deployment{Plan: plan("b"), Values: []model.Value{model.NewValue("Host", "", "own")}}}
	require.Equal(t, []string{"type", "plan"}, Differs(&p, tpl), "what the template leaves open is no difference")
	q := Comply(p, tpl)
	require.Empty(t, Differs(&q, tpl))
	require.Equal(t, model.URI("/rest/enclosure-groups/g"), q.Group)
	require.Equal(t, tpl.Values(), q.Values())
	require.Equal(t, "own", p.Values()[0].Reveal(), "the profile that it was is left alone")
	require.Equal(t, "www", tpl.Values()[0].Reveal())
	q.Deployment.Values[0] = model.NewValue("Host", "", "own")
	again := Comply(q, tpl)
	require.Equal(t, "own", again.Values()[0].Reveal(), "values of a plan that stays stay")
	require.Empty(t, Differs(&q, &model.ProfileTemplate{}))

	filled := Filled([]model.Value{model.NewValue("Host", "", "mine"), model.NewValue("More", "", "x")}, tpl.Values())
	require.Len(t, filled, 3)
	require.Equal(t, "mine", filled[0].Reveal())
	require.Equal(t, "secret", filled[2].Reveal())
	made := Merge(nil, Request{GivesDeployment: true, GivesValues: true, Profile: model.ServerProfile{Deployment: &model.Deployment{
		Plan: plan("a"), Values: []model.Value{model.NewValue("Root", model.Password, model.Mask)},
	}}})
	require.Empty(t, made.Values(), "a mask is no password")
}
