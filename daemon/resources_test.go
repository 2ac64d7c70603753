package daemon

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
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
