package daemon

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/access"
)

// patience is how long tests wait for what must happen.
const patience = 30 * time.Second

func (f *netFixture) dial(t *testing.T) net.Conn {
	_, address, _ := strings.Cut(f.url, "://")
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	return c
}

// TestSilentClientsAreCut has clients stop in the handshake: each is cut off.
func TestSilentClientsAreCut(t *testing.T) {
	f := newNet(t, "127.0.0.1:0", func(o *Options) { o.headerTime = 2 * time.Second })
	for what, sent := range map[string]string{"nothing": "", "half a handshake": "\x16\x03\x01\x02\x00\x01"} {
		c := f.dial(t)
		_, err := io.WriteString(c, sent)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, c)
		require.NoError(t, err, what)
	}
	old := tls.Client(f.dial(t), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11})
	require.Error(t, old.Handshake(), "old versions are refused")
}

// TestSilentBodiesAreCut announces bodies that never come, to routes that do not
// read them, and to the server itself: each is answered, and its connection ends.
func TestSilentBodiesAreCut(t *testing.T) {
	f := newNet(t, "127.0.0.1:0,tls=off", func(o *Options) { o.restTime = 100 * time.Millisecond; o.headerTime = patience })
	auth := "Authorization: Bearer " + f.roleToken(t, access.ReadOnly, 0) + "\r\n"
	type silent struct {
		net.Conn
		what, status string
	}
	var list []silent
	for what, r := range map[string]struct{ head, status string }{
		"public":          {"GET /healthz HTTP/1.1\r\n", "200"},
		"ready":           {"GET /readyz HTTP/1.1\r\n", "200"},
		"refused":         {"POST /v1/volumes HTTP/1.1\r\n", "401"},
		"another role's":  {"POST /v1/volumes HTTP/1.1\r\n" + auth, "403"},
		"reading":         {"GET /v1/images HTTP/1.1\r\n" + auth, "200"},
		"no route":        {"GET /none HTTP/1.1\r\n" + auth, "40"},
		"redirected":      {"GET /v1//images HTTP/1.1\r\n", "307"},
		"OneView":         {"GET /rest/version HTTP/1.1\r\n", "200"},
		"OneView refused": {"POST /rest/server-profiles HTTP/1.1\r\n", "40"},
		"asks first":      {"GET /healthz HTTP/1.1\r\nExpect: 100-continue\r\n", "200"},
	} {
		for _, length := range []string{"Content-Length: 10\r\n\r\n", "Content-Length: 10\r\n\r\n12345", "Content-Length: 9999999\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\n12"} {
			c := f.dial(t)
			_, err := io.WriteString(c, strings.Replace(r.head, "\r\n", "\r\nHost: x\r\n", 1)+length)
			require.NoError(t, err)
			list = append(list, silent{c, fmt.Sprintf("%s, %q", what, length), r.status})
		}
	}
	for _, c := range list {
		p, err := io.ReadAll(c)
		require.NoError(t, err, "%s: the connection is held", c.what)
		require.Contains(t, string(p), "HTTP/1.1 "+c.status, c.what)
	}
}

// TestUnknownExpectationsAreCut: net/http refuses these before any handler.
func TestUnknownExpectationsAreCut(t *testing.T) {
	f := newNet(t, "127.0.0.1:0,tls=off", func(o *Options) { o.restTime = 100 * time.Millisecond; o.headerTime = 2 * time.Second })
	c := f.dial(t)
	_, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: more\r\nContent-Length: 10\r\n\r\n")
	require.NoError(t, err)
	_, err = io.ReadAll(c)
	require.NoError(t, err, "the connection is held")
}

// TestUnreadBodiesKeepTheConnection: who sends what it announced goes on with the
// same connection.
func TestUnreadBodiesKeepTheConnection(t *testing.T) {
	f := newNet(t, "127.0.0.1:0,tls=off", func(o *Options) { o.restTime = patience })
	c := f.dial(t)
	for range 3 {
		_, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n1234567890")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.False(t, resp.Close)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
	}
}

// TestOneHostOfIPv6 counts the network that a host of IPv6 has.
func TestOneHostOfIPv6(t *testing.T) {
	same := func(l *fairListener, a, b string) bool {
		return l.host(netip.MustParseAddr(a)) == l.host(netip.MustParseAddr(b))
	}
	api, boot := &fairListener{ipv6: 64}, &fairListener{}
	require.True(t, same(api, "2001:db8::1", "2001:db8::ffff:2"))
	require.True(t, same(api, "fe80::1%a", "fe80::2%b"))
	require.False(t, same(api, "2001:db8::1", "2001:db8:0:1::1"))
	require.False(t, same(api, "10.0.0.1", "10.0.0.2"))
	require.False(t, same(api, "::ffff:10.0.0.1", "::ffff:10.0.0.2"))
	require.True(t, same(api, "::ffff:10.0.0.1", "10.0.0.1"))
	require.False(t, same(boot, "2001:db8::1", "2001:db8::2"))
}

func TestEndlessHeaderIsCut(t *testing.T) {
	f := newNet(t, "127.0.0.1:0,tls=off", func(o *Options) { o.headerTime = 2 * time.Second })
	c := f.dial(t)
	_, err := io.WriteString(c, "GET /v1/images HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	require.NoError(t, err)
	p, err := io.ReadAll(c)
	require.NoError(t, err, "a header that never ends")
	require.NotContains(t, string(p), "200 OK")
}

func TestHostileRequests(t *testing.T) {
	f := newNet(t, "127.0.0.1:0,tls=off", func(o *Options) { o.headerTime = patience }) // on a busy machine too
	token := f.roleToken(t, access.Infrastructure, 0)
	auth := "Authorization: Bearer " + token + "\r\n"
	for what, r := range map[string]struct{ raw, status string }{
		"header too long":  {"GET /v1/images HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 2*netHeader) + "\r\n\r\n", "431"},
		"two lengths":      {"POST /v1/volumes HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "400"},
		"no HTTP":          {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"},
		"HTTP/2":           {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "4"},
		"no host":          {"GET /v1/images HTTP/1.1\r\n" + auth + "\r\n", "400"},
		"body too long":    {fmt.Sprintf("POST /v1/volumes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{\"name\":\"%s\"}", auth, 2<<20+11, strings.Repeat("a", 2<<20)), "400"},
		"outside":          {"GET /v1/images/..%2f..%2fmeta HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + auth + "\r\n", "4"},
		"NUL":              {"GET /v1/volumes/a%00b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + auth + "\r\n", "4"},
		"a file by path":   {"POST /v1/images/x/import HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + auth + "Content-Type: application/json\r\nContent-Length: 22\r\n\r\n{\"path\":\"/etc/shadow\"}", "403"},
		"a mount":          {"POST /v1/mounts HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: goldstream-mount\r\n" + auth + "\r\n", "403"},
		"an export by TLS": {"GET /v1/images/none/export HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + auth + "\r\n", "404"},
	} {
		c := f.dial(t)
		_, _ = io.WriteString(c, r.raw) // it may be refused before all is sent
		answer := make([]byte, 64)
		n, _ := io.ReadFull(c, answer)
		require.Contains(t, string(answer[:n]), " "+r.status, what)
	}
	status, _, _ := f.ask(t, token, "GET", "/v1/images", "")
	require.Equal(t, 200, status, "others are served")
}

// TestOneAddressDoesNotTakeAllConnections: more than its share are closed at once.
func TestOneAddressDoesNotTakeAllConnections(t *testing.T) {
	f := newNet(t, "127.0.0.1:0,tls=off")
	var held []net.Conn
	for range netOwn {
		held = append(held, f.dial(t))
	}
	one := f.dial(t)
	_, err := io.Copy(io.Discard, one)
	if err != nil {
		require.ErrorContains(t, err, "reset")
	}
	held[0].Close()
	require.Eventually(t, func() bool {
		resp, err := f.http.Get(f.url + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	}, patience, 10*time.Millisecond, "there is room again")
}
