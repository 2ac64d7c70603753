package v1

import (
	"bufio"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestARefusedRequestIsReadToItsEnd: a client that sends all of a long body
// before it looks at the answer finds why it was refused. The request is sent
// by hand, for Go's client looks at the answer while it sends.
func TestARefusedRequestIsReadToItsEnd(t *testing.T) {
	const size = 8 << 20 // more than the server reads by itself, and than a socket holds
	for name, c := range map[string]struct{ target, kind, code string }{
		"no route":          {"/v1/nothing", TypeRaw, string(CodeNotFound)},
		"stream, bad query": {"/v1/images/i/import?bogus=1", TypeRaw, string(CodeInvalid)},
		"stream, bad type":  {"/v1/images/i/import", "text/plain", string(CodeInvalid)},
		"long JSON":         {"/v1/volumes", TypeJSON, string(CodeInvalid)},
		"bad query":         {"/v1/volumes?bogus=1", TypeJSON, string(CodeInvalid)},
	} {
		t.Run(name, func(t *testing.T) {
			conn := dialServer(t)
			_, err := io.WriteString(conn, "POST "+c.target+" HTTP/1.1\r\nHost: x\r\nContent-Type: "+c.kind+
				"\r\nContent-Length: "+strconv.Itoa(size)+"\r\n\r\n")
			require.NoError(t, err)
			_, err = io.WriteString(conn, strings.Repeat(" ", size))
			require.NoError(t, err, "the body was not taken")
			requireError(t, conn, c.code)
		})
	}
}

// TestAClientThatAsksFirstSendsNothing: it has the error at once.
func TestAClientThatAsksFirstSendsNothing(t *testing.T) {
	conn := dialServer(t)
	_, err := io.WriteString(conn, "POST /v1/nothing HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n")
	require.NoError(t, err)
	requireError(t, conn, string(CodeNotFound))
}

// dialServer returns a connection to a server whose backend is never reached.
func dialServer(t *testing.T) net.Conn {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	s := NewServer(nil, "test", slog.New(slog.DiscardHandler))
	served, ended := make(chan error, 1), make(chan struct{})
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed { // a while after Close, where an answer was the last
			close(ended)
		}
	}
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
		<-ended
	})
	conn, err := net.Dial("unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return conn
}

func requireError(t *testing.T, conn net.Conn, code string) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	var body errorBody
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&body))
	require.Equal(t, code, string(body.Error.Code))
}
