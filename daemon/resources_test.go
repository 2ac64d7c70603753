package daemon

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/lifecycle/model"
)

func TestResourceRequestsAreStrict(t *testing.T) {
	a := newAPI(t)
	for _, r := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/hardware", `{"name":"x","tpye":"y"}`, 400},
		{"POST", "/v1/hardware", `{"type":"default"}`, 400},
		{"POST", "/v1/hardware", `{"name":"x"}`, 200},
		{"POST", "/v1/hardware", `{"name":"x"}`, 409},
		{"POST", "/v1/hardware?dryRun=maybe", `{"name":"y"}`, 400},
		{"POST", "/v1/hardware?confirm=yes", `{"name":"y"}`, 400},
		{"POST", "/v1/hardware?dryRun=true", `{"name":"y"}`, 200},
		{"GET", "/v1/hardware/y", "", 404},
		{"GET", "/v1/hardware?name=x", "", 400},
		{"PUT", "/v1/hardware/y", `{"name":"y"}`, 404},
		{"PUT", "/v1/hardware/x", `{"name":"x","eTag":"1/1"}`, 412},
		{"PUT", "/v1/hardware/x", `{"name":"z","bay":-1}`, 400},
		{"PUT", "/v1/hardware/x", `{"name":"z","serial":"1"}`, 200},
		{"DELETE", "/v1/enclosures/default", "", 400},
		{"DELETE", "/v1/hardware/x", "", 404},
		{"DELETE", "/v1/hardware/z", "", 200},
		{"POST", "/v1/servers", `{"name":"x"}`, 404},
	} {
		status, body := a.send(t, r.method, r.path, v1.TypeJSON, r.body)
		require.Equal(t, r.status, status, "%s %s: %s", r.method, r.path, body)
		if status < 300 {
			continue
		}
		var e struct{ Error v1.Error }
		require.NoError(t, json.Unmarshal([]byte(body), &e), body)
		require.NotEmpty(t, e.Error.Message)
	}
	status, body := a.send(t, "GET", "/v1/hardware", "", "")
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"members":[]}`, body)
}

// TestReferencesByURI: what refers by name may refer by URI.
func TestReferencesByURI(t *testing.T) {
	a := newAPI(t)
	typ := v1.HardwareType{ResourceHead: v1.ResourceHead{Name: "t"}}
	_, err := a.CreateResource(t.Context(), &typ, v1.Change{})
	require.NoError(t, err)
	require.NotEmpty(t, typ.URI)
	hw := v1.Hardware{ResourceHead: v1.ResourceHead{Name: "s"}, Type: typ.URI}
	_, err = a.CreateResource(t.Context(), &hw, v1.Change{})
	require.NoError(t, err)
	require.Equal(t, "t", hw.Type)
	require.Equal(t, "default", hw.LogicalEnclosure)
}

// TestSameServer has what makes a record that of another server, and what does not.
func TestSameServer(t *testing.T) {
	const m1, m2, m3 = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:0c"
	hw := func(uuid string, macs ...string) *model.ServerHardware {
		return &model.ServerHardware{UUID: uuid, MACs: macs}
	}
	for _, c := range []struct {
		what      string
		old, next *model.ServerHardware
		same      bool
	}{
		{"nothing known", hw(""), hw(""), true},
		{"case of the UUID", hw("4c4c-aa", m1), hw("4C4C-AA", m1), true},
		{"order of cards", hw("", m1, m2), hw("", m2, m1), true},
		{"another form", hw("", m1), hw("", "52-54-00-00-00-0A"), true},
		{"a card more", hw("", m1), hw("", m3, m1), true},
		{"cards of a known server", hw("4c"), hw("4c", m1), true},
		{"another UUID", hw("4c", m1), hw("4d", m1), false},
		{"UUID gone", hw("4c", m1), hw("", m1), false},
		{"a card less", hw("4c", m1, m2), hw("4c", m1), false},
		{"another card", hw("4c", m1), hw("4c", m2), false},
		{"first cards of an unknown server", hw(""), hw("", m1), false},
		{"no address at all", hw("", m1), hw("", "52:54"), false},
	} {
		require.Equal(t, c.same, sameServer(c.old, c.next), c.what)
	}
}

// TestSameServerKeepsItsToken writes the record of one server anew, in other
// words, and then that of another.
func TestSameServerKeepsItsToken(t *testing.T) {
	w := newWard(t)
	var h v1.Hardware
	w.settled(w.edit(&h, "a1", func() {
		h.UUID, h.MACs = "4c4c4544-00aa", []string{"52:54:00:00:00:0a", "52:54:00:00:00:0b"}
	}))
	token, volume := w.onlyToken(), w.profile().Volume
	out := w.settled(w.edit(&h, "a1", func() {
		h.UUID = strings.ToUpper(h.UUID)
		h.MACs = append(h.MACs, "52:54:00:00:00:0c")
		slices.Reverse(h.MACs)
	}))
	require.Empty(t, out.Effects)
	require.Equal(t, token, w.onlyToken())
	w.settled(w.edit(&h, "a1", func() { h.UUID = "4c4c4544-00bb" }))
	require.NotEqual(t, token, w.onlyToken())
	require.Equal(t, volume, w.profile().Volume)
}
