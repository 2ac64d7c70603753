package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"goldstream/api/v1"
	"goldstream/blockstore"
)

// api is a store with the API over it, as raw HTTP and as a client.
type api struct {
	*Embedded
	d    *Daemon
	http *http.Client
	dir  string
}

func newAPI(t *testing.T) *api {
	dir := t.TempDir()
	d, err := Open(filepath.Join(dir, "data"), Options{})
	require.NoError(t, err)
	pair := v1.NewPair()
	e := &Embedded{Client: v1.NewClientDial(pair.Dial), api: d.serveAPI(pair, &backend{Store: d.store, d: d})}
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return pair.Dial(ctx) }}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		require.NoError(t, e.Close())
		require.NoError(t, d.Close())
	})
	return &api{Embedded: e, d: d, http: &http.Client{Transport: tr}, dir: dir}
}

// disk makes a disk with data, a hole and data, and its file.
func (a *api) disk(t *testing.T) (path string, content []byte) {
	p := make([]byte, 3<<20)
	for i := range 1 << 20 {
		p[i], p[2<<20+i] = byte(rand.Uint32()), byte(i)|1
	}
	path = filepath.Join(a.dir, "disk.raw")
	require.NoError(t, os.WriteFile(path, p, 0o600))
	return path, p
}

// send makes a request and returns status and body.
func (a *api) send(t *testing.T, method, path, contentType, body string) (int, string) {
	req, err := http.NewRequest(method, "http://x"+path, strings.NewReader(body))
	require.NoError(t, err)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := a.http.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(p)
}

func TestRequestsAreStrict(t *testing.T) {
	a := newAPI(t)
	for name, r := range map[string]struct {
		method, path, contentType, body string
		status                          int
		code                            v1.Code
	}{
		"unknown field":     {"POST", "/v1/volumes", v1.TypeJSON, `{"name":"x","siez":1}`, 400, v1.CodeInvalid},
		"no JSON":           {"POST", "/v1/volumes", v1.TypeJSON, `name=x`, 400, v1.CodeInvalid},
		"two documents":     {"POST", "/v1/volumes", v1.TypeJSON, `{"name":"x","size":512} {}`, 400, v1.CodeInvalid},
		"wrong type":        {"POST", "/v1/volumes", "text/plain", `{"name":"x","size":512}`, 400, v1.CodeInvalid},
		"empty":             {"POST", "/v1/volumes", v1.TypeJSON, ``, 400, v1.CodeInvalid},
		"large":             {"POST", "/v1/volumes", v1.TypeJSON, `{"name":"` + strings.Repeat("x", 2<<20) + `"}`, 400, v1.CodeInvalid},
		"unknown query":     {"GET", "/v1/images?nmae=x", "", "", 400, v1.CodeInvalid},
		"no route":          {"GET", "/v1/pictures", "", "", 404, v1.CodeNotFound},
		"no method":         {"PUT", "/v1/volumes", "", "", 404, v1.CodeNotFound},
		"no volume":         {"GET", "/v1/volumes/x", "", "", 404, v1.CodeNotFound},
		"no image":          {"POST", "/v1/images/x/verify", "", "", 404, v1.CodeNotFound},
		"bad name":          {"POST", "/v1/volumes", v1.TypeJSON, `{"name":"a/b","size":512}`, 400, v1.CodeInvalid},
		"relative path":     {"POST", "/v1/images/x/import", v1.TypeJSON, `{"path":"disk.raw"}`, 400, v1.CodeInvalid},
		"missing file":      {"POST", "/v1/images/x/import", v1.TypeJSON, `{"path":"/nonexistent/disk.raw"}`, 404, v1.CodeNotFound},
		"directory":         {"POST", "/v1/images/x/import", v1.TypeJSON, `{"path":"/"}`, 400, v1.CodeInvalid},
		"device, no disk":   {"POST", "/v1/images/x/import", v1.TypeJSON, `{"path":"/dev/zero"}`, 400, v1.CodeInvalid},
		"export, no image":  {"GET", "/v1/images/x/export", "", "", 404, v1.CodeNotFound},
		"export, no format": {"GET", "/v1/images/x/export?format=vmdk", "", "", 400, v1.CodeInvalid},
	} {
		status, body := a.send(t, r.method, r.path, r.contentType, r.body)
		var e struct{ Error v1.Error }
		require.NoError(t, json.Unmarshal([]byte(body), &e), "%s: %s", name, body)
		require.Equal(t, r.status, status, "%s: %s", name, body)
		require.Equal(t, r.code, e.Error.Code, name)
		require.NotEmpty(t, e.Error.Message, name)
	}
	volumes, err := a.Volumes(t.Context())
	require.NoError(t, err)
	require.Empty(t, volumes)
}

// TestUnknownQueryIsRefused asks every route with a parameter that none has.
func TestUnknownQueryIsRefused(t *testing.T) {
	a := newAPI(t)
	for _, route := range []string{
		"GET /v1/version", "GET /v1/status", "GET /v1/images", "GET /v1/images/x", "DELETE /v1/images/x",
		"GET /v1/images/x/export", "POST /v1/images/x/import", "POST /v1/images/x/verify", "POST /v1/images/x/capture",
		"GET /v1/volumes", "POST /v1/volumes", "GET /v1/volumes/x", "POST /v1/volumes/x/grow", "DELETE /v1/volumes/x",
		"POST /v1/store/check", "GET /v1/store/dump",
	} {
		method, path, _ := strings.Cut(route, " ")
		status, body := a.send(t, method, path+"?nmae=x", v1.TypeJSON, `{}`)
		require.Equal(t, 400, status, route)
		require.Contains(t, body, "nmae", route)
	}
	status, body := a.send(t, "POST", "/v1/images/x/import?owner=me", v1.TypeJSON, `{"path":"/x"}`)
	require.Equal(t, 400, status, body)
	status, _ = a.send(t, "GET", "/v1/pictures?nmae=x", "", "")
	require.Equal(t, 404, status)
}

func TestExportFormats(t *testing.T) {
	a := newAPI(t)
	path, content := a.disk(t)
	_, err := a.ImportFile(t.Context(), "one", v1.ImportRequest{HostFile: v1.HostFile{Path: path}}, nil)
	require.NoError(t, err)

	status, body := a.send(t, "GET", "/v1/images/one/export", "", "")
	require.Equal(t, 200, status)
	require.True(t, body == string(content))

	status, body = a.send(t, "GET", "/v1/images/one/export?format=zstd", "", "")
	require.Equal(t, 200, status)
	info, err := a.ImportStream(t.Context(), "two", strings.NewReader(body), int64(len(body)), "me", nil)
	require.NoError(t, err)
	one, err := a.Image(t.Context(), "one")
	require.NoError(t, err)
	require.Equal(t, one.ContentID, info.ContentID)
	require.Equal(t, "me", info.Owner)

	var out bytes.Buffer
	size, err := a.ExportImage(t.Context(), "one", func(size int64) (v1.Sink, error) {
		require.EqualValues(t, len(content), size)
		return v1.NewFlatSink(&out), nil
	})
	require.NoError(t, err)
	require.EqualValues(t, len(content), size)
	require.True(t, bytes.Equal(content, out.Bytes()))
}

func TestIdempotency(t *testing.T) {
	a := newAPI(t)
	req, id := v1.CreateRequest{Name: "v", Size: 1 << 20}, v1.WithRequestID("abc")
	first, err := a.CreateVolume(t.Context(), req, id)
	require.NoError(t, err)
	again, err := a.CreateVolume(t.Context(), req, id)
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = a.CreateVolume(t.Context(), req)
	require.ErrorIs(t, err, blockstore.ErrExists)
}

func TestProgressAndResult(t *testing.T) {
	a := newAPI(t)
	path, _ := a.disk(t)
	var stages []string
	info, err := a.ImportFile(t.Context(), "one", v1.ImportRequest{HostFile: v1.HostFile{Path: path}}, func(p blockstore.Progress) {
		stages = append(stages, p.Stage)
	})
	require.NoError(t, err)
	require.Equal(t, "one", info.Name)
	require.NotEmpty(t, stages)
	rep, err := a.VerifyImage(t.Context(), "one", nil)
	require.NoError(t, err)
	require.Empty(t, rep.Bad)
	d, err := a.DigestImage(t.Context(), "one", true, nil)
	require.NoError(t, err)
	require.Equal(t, blockstore.ImageDigests{Image: "one", ContentID: info.ContentID, SHA256: info.SHA256}, d)
}

func TestScrub(t *testing.T) {
	a := newAPI(t)
	a.snapped(t)
	r, err := a.Scrub(t.Context())
	require.NoError(t, err)
	require.Equal(t, blockstore.ScrubNone, r.State)
	_, err = a.CancelScrub(t.Context())
	require.ErrorIs(t, err, blockstore.ErrNotFound)
	r, err = a.StartScrub(t.Context())
	require.NoError(t, err)
	ended := func() bool {
		r, err = a.Scrub(t.Context())
		return err == nil && r.State != blockstore.ScrubRunning
	}
	require.Eventually(t, ended, time.Minute, time.Millisecond)
	require.Equal(t, blockstore.ScrubDone, r.State)
	require.NotZero(t, r.Compared)
	require.Empty(t, r.Findings)
	status, body := a.send(t, "GET", "/v1/scrub", "", "")
	require.Equal(t, 200, status)
	require.Contains(t, body, `"findings":[]`)
}

// TestRepairFromAStream has the daemon stop reading in the middle of it.
func TestRepairFromAStream(t *testing.T) {
	a := newAPI(t)
	path, disk := a.disk(t)
	_, err := a.ImportFile(t.Context(), "i", v1.ImportRequest{HostFile: v1.HostFile{Path: path}}, nil)
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(a.d.dir, "blocks", "layers", "*", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	f, err := os.OpenFile(files[0], os.O_RDWR, 0)
	require.NoError(t, err)
	at := int64(bytes.IndexFunc(disk, func(r rune) bool { return r != 0 }))
	_, err = f.WriteAt([]byte{^disk[at]}, at)
	require.NoError(t, errors.Join(err, f.Close()))
	rep, err := a.RepairStream(t.Context(), "i", bytes.NewReader(disk), int64(len(disk)), nil)
	require.NoError(t, err)
	require.Len(t, rep.Repaired, 1)
	require.Empty(t, rep.Unrepaired)
	ver, err := a.VerifyImage(t.Context(), "i", nil)
	require.NoError(t, err)
	require.Empty(t, ver.Bad)
	_, err = a.RepairFile(t.Context(), "i", v1.RepairRequest{HostFile: v1.HostFile{Path: "not/absolute"}}, nil)
	require.ErrorContains(t, err, "not absolute")
	_, err = a.RepairStream(t.Context(), "none", bytes.NewReader(disk), int64(len(disk)), nil)
	require.ErrorIs(t, err, blockstore.ErrNotFound)
}

func TestDigestOfACapture(t *testing.T) {
	a := newAPI(t)
	a.snapped(t)
	_, err := a.CaptureImage(t.Context(), "c", v1.CaptureRequest{Volume: "v"}, nil)
	require.NoError(t, err)
	var raw bytes.Buffer
	_, err = a.ExportImage(t.Context(), "c", func(int64) (v1.Sink, error) { return v1.NewFlatSink(&raw), nil })
	require.NoError(t, err)
	d, err := a.DigestImage(t.Context(), "c", true, nil)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(raw.Bytes())), d.SHA256)
	info, err := a.Image(t.Context(), "c")
	require.NoError(t, err)
	require.Equal(t, info.ContentID, d.ContentID)
	status, body := a.send(t, "POST", "/v1/images/c/digest?sha256=perhaps", "", "")
	require.Equal(t, 400, status)
	require.Contains(t, body, "true or false")
}

// TestEarlyErrorWhileSending has an import refused while the client still has
// plenty to send.
func TestEarlyErrorWhileSending(t *testing.T) {
	a := newAPI(t)
	path, _ := a.disk(t)
	_, err := a.ImportFile(t.Context(), "one", v1.ImportRequest{HostFile: v1.HostFile{Path: path}}, nil)
	require.NoError(t, err)
	start := time.Now()
	_, err = a.ImportStream(t.Context(), "one", endless{}, -1, "", nil)
	require.ErrorIs(t, err, blockstore.ErrExists)
	require.Less(t, time.Since(start), 4*time.Second)
}

// endless is a disk without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestBrokenUploadLeavesNothing breaks a stream off in its middle.
func TestBrokenUploadLeavesNothing(t *testing.T) {
	a := newAPI(t)
	_, content := a.disk(t)
	broken := errors.New("the wire was cut")
	for _, size := range []int64{-1, int64(len(content))} {
		r := io.MultiReader(bytes.NewReader(content[:2<<20]), failing{broken})
		_, err := a.ImportStream(t.Context(), "cut", r, size, "", nil)
		require.Error(t, err)
	}
	images, err := a.Images(t.Context())
	require.NoError(t, err)
	require.Empty(t, images)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestClientGoesAway cancels an import from the client's side.
func TestClientGoesAway(t *testing.T) {
	a := newAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := a.ImportStream(ctx, "gone", endless{}, -1, "", func(blockstore.Progress) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
	images, err := a.Images(t.Context())
	require.NoError(t, err)
	require.Empty(t, images)
}

// TestImportByPathIsForFriends asks without the peer's credentials.
func TestImportByPathIsForFriends(t *testing.T) {
	a := newAPI(t)
	path, _ := a.disk(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // tells no credentials
	require.NoError(t, err)
	remote := a.d.serveAPI(l, &backend{Store: a.d.store, d: a.d})
	c := v1.NewClientDial(func(context.Context) (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) })
	_, err = c.ImportFile(t.Context(), "one", v1.ImportRequest{HostFile: v1.HostFile{Path: path}}, nil)
	require.ErrorIs(t, err, fs.ErrPermission)
	c.Close()
	require.NoError(t, remote.drain(t.Context()))
}

// TestImportOfAnotherFile names a path at which the daemon sees another file
// than the client, or none.
func TestImportOfAnotherFile(t *testing.T) {
	a := newAPI(t)
	path, _ := a.disk(t)
	var st unix.Stat_t
	require.NoError(t, unix.Stat(path, &st))
	for name, file := range map[string]v1.HostFile{
		"another inode":  {Path: path, Device: st.Dev, Inode: st.Ino + 1},
		"another device": {Path: path, Device: st.Dev + 1, Inode: st.Ino},
		"missing":        {Path: path + ".gone", Device: st.Dev, Inode: st.Ino},
		"our own":        {Path: "/proc/self/exe", Device: st.Dev, Inode: st.Ino},
	} {
		_, err := a.ImportFile(t.Context(), "one", v1.ImportRequest{HostFile: file}, nil)
		require.ErrorIs(t, err, fs.ErrPermission, name)
	}
	same := v1.HostFile{Path: path, Device: st.Dev, Inode: st.Ino}
	_, err := a.ImportFile(t.Context(), "one", v1.ImportRequest{HostFile: same}, nil)
	require.NoError(t, err)
}

// TestSocketWithLongPath serves and dials where a socket's address has no room.
func TestSocketWithLongPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), strings.Repeat("long/", 30), v1.SocketName)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	for range 2 { // the second replaces the first
		l, err := v1.Listen(path)
		require.NoError(t, err)
		defer l.Close()
	}
	fi, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o660, fi.Mode())
	c, err := v1.Dial(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

// TestSocketIsNotForced leaves a file alone that stands in the socket's place.
func TestSocketIsNotForced(t *testing.T) {
	path := filepath.Join(t.TempDir(), v1.SocketName)
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o600))
	_, err := v1.Listen(path)
	require.ErrorContains(t, err, "no socket")
	require.FileExists(t, path)
}
