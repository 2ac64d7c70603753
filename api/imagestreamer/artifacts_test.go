package imagestreamer_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/transcript"
)

// part is a field of an upload; a file if it has a name.
type part struct{ field, filename, text string }

func multi(t *testing.T, parts ...part) (contentType string, body []byte) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		if p.filename == "" {
			require.NoError(t, w.WriteField(p.field, p.text))
			continue
		}
		f, err := w.CreateFormFile(p.field, p.filename)
		require.NoError(t, err)
		_, err = io.WriteString(f, p.text)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return w.FormDataContentType(), b.Bytes()
}

func zipped(t *testing.T, name, content string) string {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.Create(name)
	require.NoError(t, err)
	_, err = io.WriteString(f, content)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.String()
}

func send(t *testing.T, p *transcript.Player, method, path, contentType string, body []byte, header ...string) (*http.Response, []byte) {
	req, err := http.NewRequestWithContext(t.Context(), method, p.Base+path, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", contentType)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.Client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, b
}

func disk(size int) string {
	b := make([]byte, size)
	for i := range size / 2 { // the rest is a hole
		b[i] = byte(rand.Uint32())
	}
	return string(b)
}

func object(t *testing.T, b []byte) map[string]any {
	var o map[string]any
	require.NoError(t, json.Unmarshal(b, &o), "%s", b)
	return o
}

// upload sends an image and returns the URI that its task is about.
func upload(t *testing.T, p *transcript.Player, path string, parts []part, header ...string) string {
	contentType, body := multi(t, parts...)
	resp, b := send(t, p, "POST", path, contentType, body, header...)
	require.Equal(t, 202, resp.StatusCode, "%s", b)
	o := object(t, b)
	require.Equal(t, o["uri"], resp.Header.Get("Location"))
	require.Equal(t, "Completed", o["taskState"])
	return o["associatedResource"].(map[string]any)["resourceUri"].(string)
}

// TestImagesGoRound uploads in each of the ways that clients have, downloads, and
// uploads what came.
func TestImagesGoRound(t *testing.T) {
	p, raw := player(t), disk(1<<20)
	file := part{"file", "some.zip", zipped(t, "disk.img", raw)}
	uris := []string{
		upload(t, p, "/rest/golden-images?name=by+query&description=of+Python", []part{file}, "uploadfilename", "q.zip"),
		upload(t, p, "/rest/golden-images", []part{{"name", "", "by fields"}, file, {"description", "", "of Ruby"}}),
		upload(t, p, "/rest/golden-images", []part{file, {"name", "", "fields behind"}, {"description", "", "of Java"}}),
		upload(t, p, "/rest/golden-images", []part{file}, "uploadfilename", `C:\images\by file.zip`),
	}
	for i, want := range []struct{ name, description string }{{"by query", "of Python"}, {"by fields", "of Ruby"}, {"fields behind", "of Java"}, {"by file", ""}} {
		_, b := send(t, p, "GET", uris[i], "", nil)
		o := object(t, b)
		require.Equal(t, want.name, o["name"])
		require.Equal(t, want.description, o["description"])
		require.EqualValues(t, len(raw), o["size"])
		require.Equal(t, "OK", o["status"])
	}
	resp, b := send(t, p, "GET", strings.Replace(uris[0], "golden-images/", "golden-images/download/", 1), "", nil, "Accept", "application/octet-stream;q=0.8, application/json")
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "application/octet-stream", resp.Header.Get("Content-Type"))
	require.Equal(t, `attachment; filename="by query.zip"`, resp.Header.Get("Content-Disposition"))
	require.EqualValues(t, len(b), resp.ContentLength)
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	require.Len(t, z.File, 1)
	f, err := z.File[0].Open()
	require.NoError(t, err)
	content, err := io.ReadAll(f)
	require.NoError(t, err)
	require.True(t, raw == string(content))
	again := upload(t, p, "/rest/golden-images?name=again", []part{{"file", "x.zip", string(b)}})
	_, b = send(t, p, "GET", again, "", nil)
	require.EqualValues(t, len(raw), object(t, b)["size"])
	resp, b = send(t, p, "DELETE", again, "application/json", []byte("{}"))
	require.Equal(t, 202, resp.StatusCode, "%s", b)
	resp, _ = send(t, p, "GET", again, "", nil)
	require.Equal(t, 404, resp.StatusCode)
}

// TestBadUploadsChangeNothing sends what no honest client does.
func TestBadUploadsChangeNothing(t *testing.T) {
	p, raw := player(t), disk(4096)
	good := part{"file", "x.zip", zipped(t, "disk.img", raw)}
	many := []part{}
	for i := range 40 {
		many = append(many, part{fmt.Sprint("f", i), "", "x"})
	}
	for name, row := range map[string]struct {
		path   string
		parts  []part
		status int
	}{
		"no file":            {"/rest/golden-images?name=x", []part{{"name", "", "x"}}, 400},
		"no disk":            {"/rest/golden-images?name=x", []part{{"file", "x.zip", zipped(t, "disk.img", "")}}, 400},
		"no archive":         {"/rest/golden-images?name=x", []part{{"file", "x.zip", "PK\x03\x04 and no more"}}, 422},
		"odd size":           {"/rest/golden-images?name=x", []part{{"file", "x.zip", zipped(t, "d", "abc")}}, 400},
		"path as name":       {"/rest/golden-images?name=..%2F..%2Fetc", []part{good}, 400},
		"long name":          {"/rest/golden-images?name=" + strings.Repeat("x", 200), []part{good}, 400},
		"two files":          {"/rest/golden-images?name=x", []part{good, good}, 400},
		"many fields":        {"/rest/golden-images?name=x", append(many, good), 400},
		"large field":        {"/rest/golden-images?name=x", []part{{"description", "", strings.Repeat("x", 100<<10)}, good}, 400},
		"long description":   {"/rest/golden-images?name=x", []part{{"description", "", strings.Repeat("x", 10<<10)}, good}, 400},
		"bundle of nothing":  {"/rest/artifact-bundles", []part{good}, 400},
		"bundle, no archive": {"/rest/artifact-bundles", []part{{"file", "x.zip", "x"}}, 400},
		"bundle, traversal":  {"/rest/artifact-bundles", []part{{"file", "x.zip", zipped(t, "../../etc/passwd_planscript.json", "{}")}}, 400},
		"bundle, bomb":       {"/rest/artifact-bundles", []part{{"file", "x.zip", zipped(t, "1_planscript.json", strings.Repeat(" ", 64<<20))}}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			contentType, body := multi(t, row.parts...)
			resp, b := send(t, p, "POST", row.path, contentType, body)
			require.Contains(t, []int{row.status, 422}, resp.StatusCode, "%s", b)
			o := object(t, b)
			require.NotEmpty(t, o["errorCode"])
			require.NotEmpty(t, o["message"])
		})
	}
	contentType, body := multi(t, good)
	resp, b := send(t, p, "POST", "/rest/golden-images?name=cut", contentType, body[:len(body)/2])
	require.GreaterOrEqual(t, resp.StatusCode, 400, "%s", b)
	resp, b = send(t, p, "POST", "/rest/plan-scripts", "application/json", []byte(`{"name":"x","content":"`+strings.Repeat("x", 9<<20)+`"}`))
	require.Equal(t, 413, resp.StatusCode, "%s", b)
	for _, path := range []string{"/rest/golden-images", "/rest/artifact-bundles", "/rest/plan-scripts"} {
		_, b := send(t, p, "GET", path, "", nil)
		require.EqualValues(t, 0, object(t, b)["total"], "%s: %s", path, b)
	}
}
