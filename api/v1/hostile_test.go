package v1

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/access"
)

// onlyAccounts is a Backend of which nothing but what is public may be asked: the rest
// is nil.
type onlyAccounts struct {
	Backend
	accounts *access.Accounts
}

func (o onlyAccounts) Accounts(context.Context) (*access.Accounts, error) { return o.accounts, nil }
func (onlyAccounts) Ready(context.Context) []Part                         { return nil }

func strangers(tb testing.TB) http.Handler {
	accounts, err := access.Open(tb.TempDir(), access.Options{})
	require.NoError(tb, err)
	return NewHandler(onlyAccounts{accounts: accounts}, TokenGate{accounts}, "test", slog.New(slog.DiscardHandler))
}

// public are the routes that answer with 200 to whoever asks.
func public(pattern string) bool {
	return pattern == "GET /v1/version" || pattern == "GET /healthz" || pattern == "GET /openapi.json" || pattern == "GET /readyz"
}

// FuzzRequests sends bytes that nobody has the right for: what gets through to the
// backend panics.
func FuzzRequests(f *testing.F) {
	for _, s := range []string{
		"GET /v1/images HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET //v1//images/../volumes HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /v1/images/%2e%2e%2f%2e%2e/export HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET http://other/v1/version HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT /v1/images HTTP/1.1\r\nHost: x\r\n\r\n",
		"HEAD /v1/images HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \r\n\r\n",
		"POST /v1/mounts HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: goldstream-mount\r\n\r\n",
		"GET /v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer gst_a\r\nAuthorization: Bearer gst_b\r\n\r\n",
		"GET /v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YWRtaW46YWRtaW4=\r\n\r\n",
		"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
		"POST /v1/store/check HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	h := strangers(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		r.RemoteAddr = "192.0.2.1:1"
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code/100 == 2 {
			require.True(t, public(r.Pattern), "%s answered %d", r.Pattern, w.Code)
		}
		require.NotEqual(t, http.StatusInternalServerError, w.Code, r.Pattern)
	})
}

func TestNobodyIsRefusedBeforeTheBody(t *testing.T) {
	h := strangers(t)
	for _, authorization := range [][]string{nil, {""}, {"Bearer"}, {"Bearer "}, {"bearer gst_x"}, {"Basic eDp5"}, {"Bearer a", "Bearer b"}, {"Bearer " + strings.Repeat("a", maxSecret+1)}} {
		r := httptest.NewRequest("POST", "/v1/images/x/import", unreadable{t})
		r.Header["Authorization"] = authorization
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, http.StatusUnauthorized, w.Code)
		require.Contains(t, w.Header().Get("WWW-Authenticate"), "Bearer")
		require.Equal(t, "close", w.Header().Get("Connection"))
	}
}

type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body of a request without a token is read")
	return 0, io.EOF
}

func TestLoginsAreThrottled(t *testing.T) {
	h := strangers(t)
	last := httptest.NewRecorder()
	for range 6 {
		r := httptest.NewRequest("POST", "/v1/sessions", strings.NewReader(`{"user":"administrator","password":"guess it"}`))
		r.Header.Set("Content-Type", TypeJSON)
		last = httptest.NewRecorder()
		h.ServeHTTP(last, r)
	}
	require.Equal(t, http.StatusTooManyRequests, last.Code, last.Body)
	require.NotEmpty(t, last.Header().Get("Retry-After"))
	r := httptest.NewRequest("POST", "/v1/sessions", strings.NewReader(`{"user":"`+strings.Repeat("a", maxJSON)+`"}`))
	r.Header.Set("Content-Type", TypeJSON)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.Equal(t, http.StatusBadRequest, w.Code, "too large")
}

// TestSilentUploadsEnd has a client of the network send a part of a body and then
// nothing. One of the socket may take its time.
func TestSilentUploadsEnd(t *testing.T) {
	got := make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, unstalled(http.NewResponseController(w), r, 50*time.Millisecond))
		got <- err
	}))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\npart")
	require.NoError(t, err)
	var e *Error
	require.True(t, errors.As(<-got, &e))
	require.Equal(t, CodeCancelled, e.Code)

	r := httptest.NewRequest("POST", "/", strings.NewReader("x"))
	local := r.WithContext(access.With(r.Context(), access.Identity{Local: true, Role: access.Infrastructure}))
	_, bounded := unstalled(nil, r, time.Second).(*patientReader)
	require.True(t, bounded)
	_, bounded = unstalled(nil, local, time.Second).(*patientReader)
	require.False(t, bounded)
}
