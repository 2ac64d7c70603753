package daemon

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/access"
	"goldstream/api/v1"
)

// netFixture is a daemon with the API on a TCP listener with TLS.
type netFixture struct {
	d       *Daemon
	url     string
	oneTime string
	http    *http.Client
	log     *safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newNet(t *testing.T, address string, with ...func(*Options)) *netFixture {
	f := &netFixture{log: &safeBuffer{}}
	log := slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o := Options{Logger: log}
	for _, f := range with {
		f(&o)
	}
	d, err := Open(filepath.Join(t.TempDir(), "data"), o)
	require.NoError(t, err)
	f.d = d
	l, err := ParseAPIListener(address)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- d.Run(ctx, RunConfig{
			API:      []APIListener{l},
			ReadyAPI: func(urls []string, password string) { f.url, f.oneTime = urls[0], password },
			Ready:    func([]string) { close(ready) },
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		require.NoError(t, err)
	}
	tr := &http.Transport{}
	if l.TLS == TLSRequired {
		ca, err := os.ReadFile(filepath.Join(d.dir, "tls", caCertFile))
		require.NoError(t, err)
		pool := x509.NewCertPool()
		require.True(t, pool.AppendCertsFromPEM(ca))
		tr.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	f.http = &http.Client{Transport: tr}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		stop()
		require.NoError(t, <-ended)
		require.NoError(t, d.Close())
	})
	return f
}

// ask makes a request and returns status, code of the error, and body.
func (f *netFixture) ask(t *testing.T, token, method, path, body string) (int, v1.Code, string) {
	req, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		req.Header.Set("Content-Type", v1.TypeJSON)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := f.http.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var e struct{ Error v1.Error }
	_ = json.Unmarshal(p, &e)
	return resp.StatusCode, e.Error.Code, string(p)
}

func (f *netFixture) accounts(t *testing.T) *access.Accounts {
	a, err := f.d.Accounts()
	require.NoError(t, err)
	return a
}

// roleToken is an API token of a role.
func (f *netFixture) roleToken(t *testing.T, role access.Role, lifetime time.Duration) string {
	local := access.Identity{Name: "uid:0", Role: access.Infrastructure, Local: true}
	secret, _, err := f.accounts(t).CreateToken(local, string(role), role, lifetime)
	require.NoError(t, err)
	return secret
}

func TestFirstLoginOverTheNetwork(t *testing.T) {
	f := newNet(t, "127.0.0.1:0")
	require.True(t, strings.HasPrefix(f.url, "https://"))
	require.Len(t, f.oneTime, 20)

	status, code, _ := f.ask(t, "", "GET", "/v1/images", "")
	require.Equal(t, 401, status)
	require.Equal(t, v1.CodeUnauthenticated, code)
	status, code, _ = f.ask(t, "", "POST", "/v1/sessions", `{"user":"administrator","password":"wrong one"}`)
	require.Equal(t, 401, status)
	require.Equal(t, v1.CodeUnauthenticated, code)
	status, code, _ = f.ask(t, "", "POST", "/v1/sessions", `{"user":"administrator","password":"`+f.oneTime+`"}`)
	require.Equal(t, 403, status)
	require.Equal(t, v1.CodePassword, code)

	status, _, body := f.ask(t, "", "POST", "/v1/sessions", `{"user":"administrator","password":"`+f.oneTime+`","newPassword":"a better one"}`)
	require.Equal(t, 200, status, body)
	var login v1.Login
	require.NoError(t, json.Unmarshal([]byte(body), &login))
	require.Equal(t, v1.Whoami{User: "administrator", Role: access.Infrastructure, IdleSeconds: 24 * 60 * 60}, login.Whoami)
	status, _, body = f.ask(t, login.Token, "GET", "/v1/images", "")
	require.Equal(t, 200, status, body)
	status, _, body = f.ask(t, login.Token, "POST", "/v1/users", `{"name":"operator","role":"server","password":"correct horse"}`)
	require.Equal(t, 200, status, body)
	require.NotContains(t, body, "argon")
	status, _, body = f.ask(t, login.Token, "POST", "/v1/api-tokens", `{"name":"ci","role":"read-only","lifetime":3600}`)
	require.Equal(t, 200, status, body)
	var made v1.CreatedAPIToken
	require.NoError(t, json.Unmarshal([]byte(body), &made))
	status, _, body = f.ask(t, made.Token, "GET", "/v1/sessions/own", "")
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"user":"administrator","role":"read-only"}`, body)
	status, _, body = f.ask(t, login.Token, "GET", "/v1/api-tokens", "")
	require.Equal(t, 200, status)
	require.NotContains(t, body, made.Token)

	status, _, _ = f.ask(t, login.Token, "DELETE", "/v1/sessions/own", "")
	require.Equal(t, 204, status)
	status, code, _ = f.ask(t, login.Token, "GET", "/v1/images", "")
	require.Equal(t, 401, status)
	require.Equal(t, v1.CodeUnauthenticated, code)
	status, _, body = f.ask(t, made.Token, "GET", "/v1/events", "")
	require.Equal(t, 200, status)
	before := body
	status, _, body = f.ask(t, login.Token, "POST", "/v1/hardware-types", `{"name":"SY480"}`)
	require.Equal(t, 401, status, "it was ended: %s", body)
	_, _, body = f.ask(t, "", "POST", "/v1/sessions", `{"user":"operator","password":"correct horse"}`)
	require.NoError(t, json.Unmarshal([]byte(body), &login), body)
	status, _, body = f.ask(t, login.Token, "POST", "/v1/hardware-types", `{"name":"SY480"}`)
	require.Equal(t, 200, status, body)
	_, _, body = f.ask(t, made.Token, "GET", "/v1/events", "")
	require.NotContains(t, before, `"who":"operator"`)
	require.Contains(t, body, `"who":"operator"`, "the audit trail knows who it was")
	for _, secret := range []string{f.oneTime, "wrong one", "a better one", "correct horse", login.Token, made.Token} {
		require.NotContains(t, f.log.String(), secret)
	}
}

// TestRights asks each route as each role and as nobody. Whoever may use it gets
// some other answer than 401 and 403: most names do not exist.
//
//	i infrastructure, s server, w software, r read-only, n nobody, - none of them
func TestRights(t *testing.T) {
	f := newNet(t, "127.0.0.1:0,tls=off")
	who := map[string]string{
		"i": f.roleToken(t, access.Infrastructure, 0), "s": f.roleToken(t, access.Server, 0),
		"w": f.roleToken(t, access.Software, 0), "r": f.roleToken(t, access.ReadOnly, 0), "n": "",
	}
	bad := map[string]string{
		"expired":         f.roleToken(t, access.Infrastructure, 1),
		"of another host": "gst_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"revoked":         f.roleToken(t, access.Infrastructure, 0),
		"an export token": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		"too long":        "gst_" + strings.Repeat("a", 4000),
	}
	accounts := f.accounts(t)
	local := access.Identity{Name: "uid:0", Role: access.Infrastructure, Local: true}
	for _, tk := range accounts.Tokens(local) {
		if revoked, _ := accounts.Authenticate(bad["revoked"]); revoked.Token == tk.ID {
			require.NoError(t, accounts.RevokeToken(local, tk.ID))
		}
	}
	want := expectedRights()
	for _, r := range v1.Routes() {
		letters, ok := want[r.Pattern]
		require.True(t, ok, "%s: say in this test who may use it", r.Pattern)
		method, path := "GET", r.Pattern
		if m, p, found := strings.Cut(r.Pattern, " "); found {
			method, path = m, p
		}
		path = strings.NewReplacer("{name}", "no-such", "{snapshot}", "no-such", "{id}", "no-such", "{kind}", "no-such").Replace(path)
		body := "{}"
		if method == "GET" {
			body = ""
		}
		for letter, token := range who {
			status, code, answer := f.ask(t, token, method, path, body)
			refused := status == 401 && code == v1.CodeUnauthenticated || status == 403 && code == v1.CodeRole
			if r.Pattern == "POST /v1/sessions" {
				refused = strings.Contains(answer, "token")
			}
			require.Equal(t, !strings.Contains(letters, letter), refused, "%s as %s: %d %s", r.Pattern, letter, status, answer)
			if letter == "n" && refused {
				require.Equal(t, 401, status, r.Pattern)
			}
		}
		if strings.Contains(letters, "n") {
			continue
		}
		for what, token := range bad {
			status, code, answer := f.ask(t, token, method, path, body)
			require.Equal(t, 401, status, "%s with a token that is %s: %s", r.Pattern, what, answer)
			require.Equal(t, v1.CodeUnauthenticated, code, r.Pattern)
		}
	}
	for p := range want {
		require.True(t, served(p), "%s is not served", p)
	}
	for _, token := range bad {
		require.NotContains(t, f.log.String(), token)
	}
}

func served(pattern string) bool {
	for _, r := range v1.Routes() {
		if r.Pattern == pattern {
			return true
		}
	}
	return false
}

func expectedRights() map[string]string {
	m := map[string]string{}
	for letters, routes := range map[string]string{
		"iswrn": `GET /v1/version
			GET /healthz
			GET /readyz
			GET /openapi.json
			POST /v1/sessions`,
		"iswr": `/
			GET /metrics
			GET /v1/sessions/own
			DELETE /v1/sessions/own
			GET /v1/api-tokens
			POST /v1/api-tokens
			DELETE /v1/api-tokens/{id}
			GET /v1/status
			GET /v1/connections
			GET /v1/usage
			GET /v1/stats
			GET /v1/events
			GET /v1/images
			GET /v1/images/{name}
			GET /v1/volumes
			GET /v1/volumes/{name}
			GET /v1/volumes/{name}/snapshots
			GET /v1/retired
			GET /v1/exports
			GET /v1/boot
			GET /v1/store/checkpoints
			GET /v1/scrub
			GET /v1/tasks
			GET /v1/tasks/{id}
			GET /v1/bundles
			GET /v1/bundles/{name}
			GET /v1/plans
			GET /v1/plans/{kind}/{name}`,
		"isw": `POST /v1/images/{name}/verify
			POST /v1/images/{name}/digest
			POST /v1/tasks/{id}/cancel
			POST /v1/deployments/preview
			POST /v1/captures/preview
			POST /v1/bundles/{name}/preview
			POST /v1/check-profiles`,
		"is": `POST /v1/volumes
			POST /v1/volumes/{name}/grow
			POST /v1/volumes/{name}/quota
			DELETE /v1/volumes/{name}
			POST /v1/volumes/{name}/accept-loss
			POST /v1/volumes/{name}/accept-epoch
			POST /v1/volumes/{name}/rollback
			POST /v1/volumes/{name}/snapshots
			POST /v1/volumes/{name}/snapshots/prune
			GET /v1/volumes/{name}/snapshots/{snapshot}/export
			DELETE /v1/volumes/{name}/snapshots/{snapshot}
			POST /v1/retired/{id}/restore
			DELETE /v1/retired/{id}
			POST /v1/volumes/{name}/exports
			DELETE /v1/exports/{id}
			POST /v1/boot/files
			PUT /v1/volumes/{name}/boot
			POST /v1/volumes/{name}/boot/files
			POST /v1/volumes/{name}/boot/next
			DELETE /v1/volumes/{name}/boot
			POST /v1/deployments
			POST /v1/profiles/{name}/comply
			POST /v1/profiles/{name}/redeploy`,
		"iw": `DELETE /v1/images/{name}
			GET /v1/images/{name}/export
			POST /v1/images/{name}/import
			POST /v1/images/{name}/repair
			POST /v1/images/{name}/capture
			POST /v1/plans
			POST /v1/bundles
			PUT /v1/bundles/{name}
			DELETE /v1/bundles/{name}
			GET /v1/bundles/{name}/file
			POST /v1/bundles/{name}/import
			POST /v1/bundle-requests
			POST /v1/captures
			DELETE /v1/plans/{kind}/{name}`,
		"i": `GET /v1/users
			POST /v1/users
			PUT /v1/users/{name}
			DELETE /v1/users/{name}
			POST /v1/store/checkpoints
			POST /v1/store/check
			GET /v1/store/dump
			POST /v1/scrub
			DELETE /v1/scrub`,
		"-": `POST /v1/mounts`,
	} {
		for line := range strings.Lines(routes) {
			m[strings.TrimSpace(line)] = letters
		}
	}
	for _, c := range v1.Collections() {
		path := "/v1/" + string(c)
		m["GET "+path], m["GET "+path+"/{name}"] = "iswr", "iswr"
		m["POST "+path], m["PUT "+path+"/{name}"], m["DELETE "+path+"/{name}"] = "is", "is", "is"
	}
	return m
}

func TestListenersOfTheNetwork(t *testing.T) {
	for s, want := range map[string]string{
		"10.0.0.1:8443": "", "127.0.0.1:0,tls=off": "", "[::1]:1,tls=off": "", "0.0.0.0:1,tls=required": "", ":8443": "",
		"10.0.0.1": "host:port", "1.2.3.4:x": "no port", "10.0.0.1:1,tls=off": "could be read", ":1,tls=off": "could be read",
		"localhost:1,tls=off": "could be read", "127.0.0.1:1,tls=on": "off and required", "unix:/x": "no port",
	} {
		_, err := ParseAPIListener(s)
		if want == "" {
			require.NoError(t, err, s)
		} else {
			require.ErrorContains(t, err, want, s)
		}
	}
}

func TestHealth(t *testing.T) {
	f := newNet(t, "127.0.0.1:0,tls=off")
	status, _, body := f.ask(t, "", "GET", "/healthz", "")
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"status":"ok"}`, body)
	status, _, body = f.ask(t, "", "GET", "/readyz", "")
	require.Equal(t, 200, status)
	require.JSONEq(t, `{"ready":true,"parts":[{"name":"process","ready":true},{"name":"store","ready":true},{"name":"lifecycle","ready":true}]}`, body)
	reader := f.roleToken(t, access.ReadOnly, 0)
	_, _, text := f.ask(t, reader, "GET", "/metrics", "")
	for _, line := range []string{
		"goldstream_ready 1\n", "goldstream_tasks_halted 0\n", "goldstream_open_volumes 0\n",
		`goldstream_api_requests_total{route="GET /healthz",status="200"} 1`, "goldstream_api_request_seconds_count ",
	} {
		require.Contains(t, text, line)
	}
	require.Contains(t, f.refusedBy(t), `goldstream_api_requests_total{route="GET /v1/images",status="401"} 1`)

	// What is closed under it is not ready; why is for those who may read.
	require.NoError(t, f.d.endTasks())
	status, _, body = f.ask(t, "", "GET", "/readyz", "")
	require.Equal(t, 503, status)
	require.Contains(t, body, `{"name":"lifecycle","ready":false}`)
	status, _, body = f.ask(t, reader, "GET", "/readyz", "")
	require.Equal(t, 503, status)
	require.Contains(t, body, `"why":`)
	status, _, _ = f.ask(t, "", "GET", "/healthz", "")
	require.Equal(t, 200, status)
}

// refusedBy is the text of metrics after a request that was refused.
func (f *netFixture) refusedBy(t *testing.T) string {
	status, _, _ := f.ask(t, "", "GET", "/v1/images", "")
	require.Equal(t, 401, status)
	_, _, text := f.ask(t, f.roleToken(t, access.ReadOnly, 0), "GET", "/metrics", "")
	return text
}
