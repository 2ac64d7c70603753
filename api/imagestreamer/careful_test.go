package imagestreamer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/api/transcript"
)

// put sends a resource and returns the answer, which must have the status.
func put(t *testing.T, p *transcript.Player, method, path string, status int, o map[string]any) map[string]any {
	t.Helper()
	body, err := json.Marshal(o)
	require.NoError(t, err)
	resp, b := send(t, p, method, path, "application/json", body)
	require.Equal(t, status, resp.StatusCode, "%s", b)
	return object(t, b)
}

type attributes []map[string]any

func buildPlan(t *testing.T, p *transcript.Player, name string, list attributes) any {
	list = append(list, map[string]any{"name": "VolumeSize", "type": "number", "value": "64"})
	return put(t, p, "POST", "/rest/build-plans", 201, map[string]any{"name": name, "oeBuildPlanType": "deploy", "customAttributes": list})["uri"]
}

// TestPasswordsStaySecret points a plan at build plans that have something else of
// the name of its password.
func TestPasswordsStaySecret(t *testing.T) {
	p := player(t)
	secret := buildPlan(t, p, "secret", attributes{{"name": "Root", "type": "password", "value": ""}})
	plan := map[string]any{"name": "web", "oeBuildPlanURI": secret, "customAttributes": attributes{{"name": "Root", "value": "s3cr3t-word", "editable": true}}}
	uri := put(t, p, "POST", "/rest/deployment-plans", 201, plan)["uri"].(string)
	for _, kind := range []string{"string", "number"} {
		plan["oeBuildPlanURI"] = buildPlan(t, p, kind, attributes{{"name": "Root", "type": kind, "value": ""}})
		for _, value := range []string{"********", "s3cr3t-word", "a guess"} {
			plan["customAttributes"] = attributes{{"name": "Root", "value": value, "editable": true}}
			o := put(t, p, "PUT", uri, 400, plan)
			require.Contains(t, o["message"], "is a password", "%s %s", kind, value)
			require.NotContains(t, o["message"], "s3cr3t")
		}
	}
	_, b := send(t, p, "GET", uri, "", nil)
	require.Equal(t, secret, object(t, b)["oeBuildPlanURI"])
	require.Contains(t, string(b), "********")

	plan["oeBuildPlanURI"], plan["customAttributes"] = buildPlan(t, p, "text", attributes{{"name": "Root", "type": "string", "value": ""}}), attributes{}
	put(t, p, "PUT", uri, 200, plan)
	plan["customAttributes"] = attributes{{"name": "Root", "value": "no secret", "editable": true}}
	put(t, p, "PUT", uri, 200, plan)
	_, b = send(t, p, "GET", uri, "", nil)
	require.Contains(t, string(b), "no secret")
}

// TestHiddenStaysHidden sends back what was shown, as a whole and without the field.
func TestHiddenStaysHidden(t *testing.T) {
	p := player(t)
	build := buildPlan(t, p, "build", attributes{{"name": "Host", "type": "string", "value": "a"}})
	uri := put(t, p, "POST", "/rest/deployment-plans", 201, map[string]any{
		"name": "web", "oeBuildPlanURI": build, "customAttributes": attributes{{"name": "Host", "value": "b", "editable": true, "visible": false}},
	})["uri"].(string)
	host := func() map[string]any {
		_, b := send(t, p, "GET", uri, "", nil)
		return object(t, b)["customAttributes"].([]any)[0].(map[string]any)
	}
	hidden := func() string { // as the other API shows it
		_, b := send(t, p, "GET", "/v1/plans/DeploymentPlan/web", "", nil)
		return string(b)
	}
	require.Equal(t, false, host()["visible"])
	require.Contains(t, hidden(), `"hidden":["Host"]`)

	_, b := send(t, p, "GET", uri, "", nil)
	put(t, p, "PUT", uri, 200, object(t, b))
	require.Equal(t, false, host()["visible"])
	require.Contains(t, hidden(), `"hidden":["Host"]`)

	o := host()
	delete(o, "visible")
	plan := object(t, b)
	plan["customAttributes"] = attributes{o}
	delete(plan, "eTag")
	put(t, p, "PUT", uri, 200, plan)
	require.Equal(t, false, host()["visible"])

	o["visible"] = true
	put(t, p, "PUT", uri, 200, plan)
	require.Equal(t, true, host()["visible"])
	require.NotContains(t, hidden(), `"hidden"`)
}

// TestNoDryRun asks to try what cannot be tried.
func TestNoDryRun(t *testing.T) {
	p := player(t)
	contentType, body := multi(t, part{"file", "x.zip", zipped(t, "disk.img", disk(4096))})
	for _, row := range []struct{ method, path, contentType, body string }{
		{"POST", "/rest/golden-images?name=x&dryRun=true", contentType, string(body)},
		{"POST", "/rest/golden-images?dryRun=true", "application/json", `{"name":"x","imageCapture":true,"osVolumeURI":"/rest/os-volumes/1"}`},
		{"POST", "/rest/artifact-bundles?dryRun=true", contentType, string(body)},
		{"POST", "/rest/artifact-bundles?dryRun=true", "application/json", `{"name":"x"}`},
		{"PUT", "/rest/artifact-bundles/1?extract=true&dryRun=true", "application/json", `{}`},
		{"PUT", "/rest/artifact-bundles/1/stopArtifactCreate?dryRun=true", "application/json", `{}`},
	} {
		resp, b := send(t, p, row.method, row.path, row.contentType, []byte(row.body))
		require.Equal(t, 400, resp.StatusCode, "%s", b)
		require.Contains(t, object(t, b)["message"], "no dry run")
	}
	for _, path := range []string{"/rest/golden-images", "/rest/artifact-bundles"} {
		_, b := send(t, p, "GET", path, "", nil)
		require.EqualValues(t, 0, object(t, b)["total"])
	}
}

// TestBundleWithoutFile deletes a bundle whose file is gone.
func TestBundleWithoutFile(t *testing.T) {
	dir := t.TempDir()
	p := playerIn(t, dir)
	text, err := os.ReadFile("../../personalize/bundle/testdata/site-linux.zip")
	require.NoError(t, err)
	uri := upload(t, p, "/rest/artifact-bundles", []part{{"file", "x.zip", string(text)}})
	id := uri[strings.LastIndex(uri, "/")+1:]
	files, err := filepath.Glob(filepath.Join(dir, "*", "*"+id+"*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, os.Remove(files[0]))
	resp, b := send(t, p, "DELETE", uri, "", nil)
	require.Equal(t, 202, resp.StatusCode, "%s", b)
	resp, _ = send(t, p, "GET", uri, "", nil)
	require.Equal(t, 404, resp.StatusCode)
}

// TestRepeats sends requests again with their IDs, as after an answer that was lost.
func TestRepeats(t *testing.T) {
	p := player(t)
	again := func(id, method, path, body string, status int) (first, second map[string]any) {
		t.Helper()
		var list []map[string]any
		for range 2 {
			resp, b := send(t, p, method, path, "application/json", []byte(body), "Idempotency-Key", id)
			require.Equal(t, status, resp.StatusCode, "%s", b)
			list = append(list, object(t, b))
		}
		require.Eventually(t, func() bool { // the next is of the same resource
			_, b := send(t, p, "GET", "/rest/tasks", "", nil)
			for _, m := range object(t, b)["members"].([]any) {
				if m.(map[string]any)["taskState"] != "Completed" {
					return false
				}
			}
			return true
		}, time.Minute, 10*time.Millisecond)
		return list[0], list[1]
	}
	first, second := again("make", "POST", "/rest/plan-scripts", `{"name":"a","planType":"deploy","content":"write /etc/motd hello\n"}`, 201)
	uri := first["uri"].(string)
	require.Equal(t, uri, second["uri"])
	first, second = again("change", "PUT", uri, `{"name":"a","planType":"deploy","content":"write /etc/motd bye\n"}`, 202)
	require.Equal(t, first["uri"], second["uri"])
	first, second = again("bundle", "POST", "/rest/artifact-bundles", `{"name":"b","planScripts":[{"resourceUri":"`+uri+`"}]}`, 202)
	require.Equal(t, first["uri"], second["uri"])
	first, second = again("delete", "DELETE", uri, "", 202)
	require.Equal(t, first["uri"], second["uri"])
	resp, b := send(t, p, "POST", "/rest/plan-scripts", "application/json", []byte(`{"name":"other","planType":"deploy"}`), "Idempotency-Key", "make")
	require.GreaterOrEqual(t, resp.StatusCode, 400)
	require.Contains(t, string(b), "was used for")
}

// TestSameRules tries what the other API refuses.
func TestSameRules(t *testing.T) {
	p := player(t)
	for _, kind := range []string{"enclosures", "enclosure-groups", "server-hardware-types"} {
		_, b := send(t, p, "GET", "/rest/"+kind, "", nil)
		one := object(t, b)["members"].([]any)[0].(map[string]any)
		one["name"] = "another"
		require.Contains(t, put(t, p, "PUT", one["uri"].(string), 400, one)["message"], "keeps its name")
	}
	build := buildPlan(t, p, "build", attributes{{"name": "Count", "type": "number", "value": "1"}})
	plan := put(t, p, "POST", "/rest/deployment-plans", 201, map[string]any{"name": "web", "oeBuildPlanURI": build, "customAttributes": attributes{{"name": "Count", "value": "1", "editable": true}}})
	o := put(t, p, "POST", "/rest/server-profile-templates", 400, map[string]any{"name": "t", "osDeploymentSettings": map[string]any{
		"osDeploymentPlanUri": plan["uri"], "osCustomAttributes": attributes{{"name": "Count", "value": "many"}},
	}})
	require.Contains(t, o["message"], "does not take")
}
