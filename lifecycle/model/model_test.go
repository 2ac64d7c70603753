package model

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func named(k Kind, id string) Meta { return Meta{URI: uri(k, id), Name: id} }

func TestURI(t *testing.T) {
	u := NewURI(ServerProfiles)
	require.Equal(t, ServerProfiles, u.Kind())
	require.NotEqual(t, u, NewURI(ServerProfiles))
	require.Equal(t, BuildPlans, uri(BuildPlans, "b").Kind())
	require.Equal(t, u, URIOf(ServerProfiles, u.ID()))
	for _, bad := range []string{"", "..", "a/b", "-a"} {
		require.Empty(t, URIOf(BuildPlans, bad), "%q", bad)
	}
	for _, bad := range []URI{"", "/rest/", "/rest/enclosures", "/rest/enclosures/", "/rest/enclosures/a/b", "/rest/gadgets/a", "/rest/enclosures/../x", "enclosures/a"} {
		require.Empty(t, bad.Kind(), "%q", bad)
		require.Empty(t, bad.ID(), "%q", bad)
	}
}

func TestNewKnowsItsKind(t *testing.T) {
	for _, k := range []Kind{GoldenImages, PlanScripts, BuildPlans, DeploymentPlans, ArtifactBundles, OSVolumes, ServerProfiles, ProfileTemplates, ServerHardwares, HardwareTypes, Enclosures, EnclosureGroups, LogicalEnclosures, Networks} {
		require.Equal(t, k, New(k).Kind())
	}
	require.Nil(t, New("gadgets"))
}

func TestDefaultsAreValid(t *testing.T) {
	known := map[URI]bool{}
	for _, r := range Defaults() {
		require.NoError(t, r.Validate())
		for _, ref := range r.References() {
			require.True(t, known[ref.To], "%s comes before %s", ref.To, r.Head().URI)
		}
		known[r.Head().URI] = true
	}
	server := &ServerHardware{Meta: named(ServerHardwares, "s"), Type: uri(HardwareTypes, "t")}
	require.NoError(t, server.Validate())
	require.True(t, known[server.InEnclosure()], "a rack server stands in the default enclosure")
}

func TestValidate(t *testing.T) {
	typ, plan := uri(HardwareTypes, "t"), uri(DeploymentPlans, "p")
	for name, row := range map[string]struct {
		r    Resource
		want string // part of the error; "" is none
	}{
		"no name":            {&Enclosure{}, "is no name"},
		"slash":              {&Enclosure{Meta: Meta{Name: "a/b"}}, "is no name"},
		"blank at the end":   {&Enclosure{Meta: Meta{Name: "a "}}, "is no name"},
		"one letter":         {&Enclosure{Meta: Meta{Name: "ä"}}, ""},
		"URI of others":      {&Enclosure{Meta: Meta{Name: "a", URI: typ}}, "is no URI"},
		"server":             {&ServerHardware{Meta: Meta{Name: "s"}, Type: typ, MACs: []string{"52:54:00:AA:00:01"}}, ""},
		"server of no type":  {&ServerHardware{Meta: Meta{Name: "s"}}, "no hardware type"},
		"type of wrong kind": {&ServerHardware{Meta: Meta{Name: "s"}, Type: plan}, "must be the URI"},
		"bad MAC":            {&ServerHardware{Meta: Meta{Name: "s"}, Type: typ, MACs: []string{"52:54"}}, "no MAC"},
		"MAC twice":          {&ServerHardware{Meta: Meta{Name: "s"}, Type: typ, MACs: []string{"52:54:00:aa:00:01", "52-54-00-AA-00-01"}}, "twice"},
		"bay of nothing":     {&ServerHardware{Meta: Meta{Name: "s"}, Type: typ, Bay: 3}, "no enclosure"},
		"power":              {&ServerHardware{Meta: Meta{Name: "s"}, Type: typ, Power: "Maybe"}, "power state"},
		"LE of no group":     {&LogicalEnclosure{Meta: Meta{Name: "l"}}, "no enclosure group"},
		"enclosure twice":    {&LogicalEnclosure{Meta: Meta{Name: "l"}, Group: uri(EnclosureGroups, "g"), Enclosures: []URI{uri(Enclosures, "e"), uri(Enclosures, "e")}}, "twice"},
		"plan of nothing":    {&DeploymentPlan{Meta: Meta{Name: "p"}}, "neither"},
		"plan, empty disk":   {&DeploymentPlan{Meta: Meta{Name: "p"}, Size: 1 << 30}, ""},
		"values of no plan":  {&ServerProfile{Meta: Meta{Name: "p"}, Deployment: &Deployment{Values: []Value{NewValue("a", "", "b")}}}, "no deployment plan"},
		"value twice":        {&ServerProfile{Meta: Meta{Name: "p"}, Deployment: &Deployment{Plan: plan, Values: []Value{NewValue("a", "", "b"), NewValue("a", "", "c")}}}, "two values"},
		"homeless volume":    {&OSVolume{Meta: Meta{Name: "v"}, Profile: uri(ServerProfiles, "p")}, "no home"},
		"network":            {&Network{Meta: Meta{Name: "n"}, VLAN: 4094}, ""},
		"VLAN":               {&Network{Meta: Meta{Name: "n"}, VLAN: 4095}, "no VLAN"},
		"much extra":         {&Enclosure{Meta: Meta{Name: "e", Extra: map[string]json.RawMessage{"x": make(json.RawMessage, maxExtra)}}}, "only kept"},
		"bundle of much":     {&ArtifactBundle{Meta: Meta{Name: "b"}, Size: 1, SHA256: "x", Artifacts: []BundleArtifact{{Uses: []string{strings.Repeat("x", maxBundle+1)}}}}, "make several"},
		"bundle of nothing":  {&ArtifactBundle{Meta: Meta{Name: "b"}}, "has no file"},
		"image of nothing":   {&GoldenImage{Meta: Meta{Name: "g"}}, "names no image"},
	} {
		t.Run(name, func(t *testing.T) {
			err := row.r.Validate()
			if row.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, row.want)
			require.ErrorIs(t, err, ErrInvalid)
		})
	}
}

func TestMACsHaveOneForm(t *testing.T) {
	h := &ServerHardware{Meta: Meta{Name: "s"}, Type: uri(HardwareTypes, "t"), MACs: []string{"52-54-00-AA-00-01"}}
	require.NoError(t, h.Validate())
	require.Equal(t, "mac:52:54:00:aa:00:01", h.Claims()[0].Key)
}

// TestNoWayShowsAPassword prints a profile in every way that there is.
func TestNoWayShowsAPassword(t *testing.T) {
	const secret = "s3cr3t-Passw0rd"
	p := &ServerProfile{Meta: named(ServerProfiles, "p"), Deployment: &Deployment{
		Plan: uri(DeploymentPlans, "d"), Values: []Value{NewValue("Root", Password, secret), NewValue("Host", "hostname", "web-1")},
	}}
	v := p.Deployment.Values[0]
	encoded, err := json.Marshal(p)
	require.NoError(t, err)
	var logged strings.Builder
	log := slog.New(slog.NewJSONHandler(&logged, nil))
	log.Info("x", "value", v, "values", p.Deployment.Values, "profile", p)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "value", v, "profile", p)
	for _, shown := range []string{
		string(encoded), logged.String(), v.String(), fmt.Sprint(v), fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v),
		fmt.Sprintf("%v %+v %#v", p.Deployment.Values, *p.Deployment, p.Deployment),
	} {
		require.NotContains(t, shown, secret)
		require.NotContains(t, shown, fmt.Sprintf("%x", secret))
	}
	require.Contains(t, string(encoded), Mask)
	require.Contains(t, string(encoded), "web-1")
	require.Equal(t, secret, *p.Secrets()["value:Root"])
	require.Equal(t, secret, v.Reveal())
	*p.Secrets()["value:Root"] = "other"
	require.Equal(t, "other", p.Values()[0].Reveal(), "the store puts secrets back through it")
}

func TestValuesFromClients(t *testing.T) {
	for in, want := range map[string]string{`"x"`: "x", `true`: "true", `12`: "12", `null`: "", `"tr\u0075e"`: "true", `0.1`: "0.1"} {
		var v Value
		require.NoError(t, json.Unmarshal([]byte(`{"name":"a","constraints":"{}","value":`+in+`}`), &v))
		require.Equal(t, want, v.Reveal())
	}
	var v Value
	require.ErrorIs(t, json.Unmarshal([]byte(`{"name":"a","value":{}}`), &v), ErrInvalid)
	for text, withheld := range map[string]bool{"": true, "****": true, Mask: true, "*a*": false, "x": false, strings.Repeat("*", 100): false} {
		require.Equal(t, withheld, NewValue("p", Password, text).Withheld(), "%q", text)
	}
}

func TestClaims(t *testing.T) {
	hw, vol := uri(ServerHardwares, "s"), uri(OSVolumes, "v")
	a := &ServerProfile{Meta: named(ServerProfiles, "a"), Hardware: hw, Volume: vol}
	b := &ServerProfile{Meta: named(ServerProfiles, "b"), Hardware: hw}
	require.Equal(t, a.Claims()[0], b.Claims()[0], "two profiles of one server collide")
	require.Len(t, a.Claims(), 2)
	require.Empty(t, (&ServerProfile{}).Claims())
}
