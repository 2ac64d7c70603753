package nbd

import (
	"context"
	"io/fs"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// grantMap gives by name; names that begin with "far" are for other addresses.
type grantMap struct {
	mu sync.Mutex
	m  map[string]Grant
}

func (g *grantMap) Resolve(_ context.Context, name string, _ net.Addr) (Grant, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if grant, ok := g.m[name]; ok && !strings.HasPrefix(name, "far") {
		return grant, nil
	}
	return Grant{}, fs.ErrNotExist
}

func (g *grantMap) drop(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.m, name)
}

func serveGrants(t *testing.T) (*Server, *grantMap, string) {
	g := &grantMap{m: map[string]Grant{
		"secret-rw": {ID: "1", Export: "disk"}, "secret-ro": {ID: "2", Export: "disk", ReadOnly: true},
		"far-secret": {ID: "3", Export: "disk"},
	}}
	s := NewServer(exportMap{"disk": newMemDevice(1 << 20)}, Options{})
	return s, g, serveListener(t, s, ListenerOptions{Grants: g})
}

func TestGrantsHideNames(t *testing.T) {
	t.Parallel()
	_, _, addr := serveGrants(t)
	w := greetedTCP(t, addr, 3)
	w.option(optList, nil)
	w.expect(optList, repAck)
	w.option(optList, []byte("x"))
	w.expect(optList, repErrInvalid)
	var texts []string
	for _, name := range []string{"disk", "far-secret", "no-secret-"} {
		w.option(optInfo, goData(name))
		texts = append(texts, strings.ReplaceAll(string(w.expect(optInfo, repErrUnknown)), name, "NAME"))
	}
	require.Equal(t, texts[0], texts[1])
	require.Equal(t, texts[0], texts[2])
	old := greetedTCP(t, addr, 3)
	old.option(optExportName, []byte("disk"))
	old.closed()
	w.option(optGo, goData("/secret-rw", infoName))
	w.expect(optGo, repInfo)
	require.Equal(t, "\x00\x01secret-rw", string(w.expect(optGo, repInfo)))
	w.expect(optGo, repAck)
}

func TestGrantReadOnly(t *testing.T) {
	t.Parallel()
	_, _, addr := serveGrants(t)
	w := greetedTCP(t, addr, 3)
	w.option(optGo, goData("secret-ro"))
	flags := be.Uint16(w.expect(optGo, repInfo)[10:])
	w.expect(optGo, repAck)
	require.Equal(t, uint16(flagReadOnly), flags&(flagReadOnly|flagTrim|flagWriteZeroes|flagFastZero))
	w.send(requestBytes(cmdWrite, 0, 1, 0, 4), []byte("data"), requestBytes(cmdTrim, 0, 2, 0, 4096))
	require.EqualValues(t, errnoPerm, w.simple(1))
	require.EqualValues(t, errnoPerm, w.simple(2))
}

func TestDisconnectGrant(t *testing.T) {
	t.Parallel()
	s, g, addr := serveGrants(t)
	open := func(name string) *wire {
		w := greetedTCP(t, addr, 3)
		w.option(optGo, goData(name))
		w.expect(optGo, repInfo, repAck)
		return w
	}
	gone, also, stays := open("secret-rw"), open("secret-rw"), open("secret-ro")
	require.Equal(t, 3, s.InUse("disk"))
	g.drop("secret-rw")
	require.NoError(t, s.Disconnect(context.Background(), "1"))
	gone.closed()
	also.closed()
	require.Equal(t, 1, s.InUse("disk"))
	stays.send(requestBytes(cmdFlush, 0, 1, 0, 0))
	require.Zero(t, stays.simple(1))
	require.NoError(t, s.Disconnect(context.Background(), ""))
	stays.send(requestBytes(cmdFlush, 0, 2, 0, 0))
	require.Zero(t, stays.simple(2))
}

// A grant that is taken back while its export opens must not get through:
// Disconnect may have looked before.
func TestGrantTakenBackWhileOpening(t *testing.T) {
	t.Parallel()
	g := &grantMap{m: map[string]Grant{"secret": {ID: "1", Export: "disk"}}}
	opening := openHook{exportMap{"disk": newMemDevice(1 << 20)}, func() { g.drop("secret") }}
	s := NewServer(opening, Options{})
	w := greetedTCP(t, serveListener(t, s, ListenerOptions{Grants: g}), 3)
	w.option(optGo, goData("secret"))
	w.expect(optGo, repErrUnknown)
	require.Zero(t, s.InUse("disk"))
	require.Empty(t, s.holders("1"))
}

type openHook struct {
	exportMap
	hook func()
}

func (o openHook) Open(ctx context.Context, name string) (Device, error) {
	o.hook()
	return o.exportMap.Open(ctx, name)
}
