package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/netboot"
)

// interrupted is a host where something happens before boot files are found.
type interrupted struct {
	*bootHost
	during func()
}

func (h *interrupted) BootFiles(ctx context.Context, id string) (netboot.Files, error) {
	if f := h.during; f != nil {
		h.during = nil
		f()
	}
	return h.bootHost.BootFiles(ctx, id)
}

// TestFormerServer asks for its boot while its volume is given to another server, of
// which it gets nothing then.
func TestFormerServer(t *testing.T) {
	for _, at := range []string{"script", "kernel", "initrd"} {
		t.Run(at, func(t *testing.T) { formerServer(t, at) })
	}
}

func formerServer(t *testing.T, at string) {
	d, err := Open(t.TempDir(), Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	key := bootVolume(t, d, "52:54:00:00:00:01")
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	defer ln.Close()
	host := &interrupted{bootHost: &bootHost{d: d, listeners: []net.Listener{ln}}}
	h := netboot.NewHandler(netboot.Options{Host: host, Helper: func() ([]byte, error) { return []byte("g"), nil }, Log: d.log})
	d.booting.Store(h)
	srv := httptest.NewServer(h)
	defer srv.Close()
	get := func(path string) (string, int) {
		resp, err := srv.Client().Get(srv.URL + netboot.Prefix + path)
		require.NoError(t, err)
		defer resp.Body.Close()
		p, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return string(p), resp.StatusCode
	}
	reassign := func() {
		c := d.Embed()
		defer c.Close()
		_, err := c.AssignBoot(t.Context(), "v", v1.BootRequest{MACs: []string{"52:54:00:00:00:02"}, Files: key})
		require.NoError(t, err)
	}
	if at == "script" {
		host.during = reassign
		script, _ := get("script?mac=52:54:00:00:00:01")
		require.NotContains(t, script, "kernel b/")
		return
	}
	script, _ := get("script?mac=52:54:00:00:00:01")
	_, rest, ok := strings.Cut(script, "kernel b/")
	require.True(t, ok, script)
	id, _, _ := strings.Cut(rest, "/")
	host.during = reassign
	text, code := get("b/" + id + "/" + at)
	require.Equal(t, http.StatusNotFound, code)
	require.NotContains(t, text, d.boots.list()[0].Secret)
	_, code = get("b/" + id + "/initrd")
	require.Equal(t, http.StatusNotFound, code)
}

// TestBootTokens: each boot record has one export, and there is no other, whether
// servers are assigned at once or a kill comes between an export and its record.
func TestBootTokens(t *testing.T) {
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	d, err := Open(dir, Options{Logger: quiet})
	require.NoError(t, err)
	key := bootVolume(t, d, "52:54:00:00:00:01")
	c := d.Embed()
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() {
			_, errs[i] = c.AssignBoot(t.Context(), "v", v1.BootRequest{MACs: []string{fmt.Sprintf("52:54:00:00:01:%02x", i)}, Files: key})
		})
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Len(t, d.boots.list(), 1)
	require.Len(t, d.tokens.list(), 1)
	r := d.boots.list()[0]
	require.Equal(t, r.TokenID, d.tokens.list()[0].ID)

	// Refused: the server that has the volume keeps it.
	_, err = d.store.CreateVolume(t.Context(), blockstore.CloneRequest{Name: "w", Size: 1 << 20})
	require.NoError(t, err)
	_, err = c.AssignBoot(t.Context(), "w", v1.BootRequest{MACs: []string{"52:54:00:00:00:09"}, Files: key})
	require.NoError(t, err)
	_, err = c.AssignBoot(t.Context(), "w", v1.BootRequest{MACs: r.MACs, Files: key})
	require.ErrorContains(t, err, `belongs to the server of volume "v"`)
	require.Len(t, d.tokens.list(), 2)
	require.NoError(t, c.UnassignBoot(t.Context(), "w"))
	require.Len(t, d.tokens.list(), 1)

	_, own, err := d.tokens.create(token{Volume: "v", VolumeID: r.VolumeID})
	require.NoError(t, err)
	_, _, err = d.tokens.create(token{Volume: "v", VolumeID: r.VolumeID, Boot: true})
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, d.Close())
	d, err = Open(dir, Options{Logger: quiet})
	require.NoError(t, err)
	require.Len(t, d.tokens.list(), 2)
	require.True(t, d.tokens.has(own.ID) && d.tokens.has(r.TokenID))
	require.NoError(t, d.Close())
	require.NoError(t, os.WriteFile(d.boots.path(r.VolumeID), []byte("{"), 0o600))
	d, err = Open(dir, Options{Logger: quiet})
	require.NoError(t, err)
	require.True(t, d.tokens.has(r.TokenID), "its record may be repaired")
	require.NoError(t, d.Close())
}

// TestBootReadOnly: a data directory that is only read is as before when servers boot
// from it, also in a mode that is for once.
func TestBootReadOnly(t *testing.T) {
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	d, err := Open(dir, Options{Logger: quiet})
	require.NoError(t, err)
	bootVolume(t, d, "52:54:00:00:00:01")
	c := d.Embed()
	_, err = c.NextBoot(t.Context(), "v", "rescue")
	require.NoError(t, err)
	require.NoError(t, c.Close())
	path := d.boots.path(d.boots.list()[0].VolumeID)
	require.NoError(t, d.Close())
	require.NoError(t, os.WriteFile(path+newSuffix, []byte("{"), 0o600))
	tokenLeft := filepath.Join(dir, "exports", "0123456789ab.json.new")
	require.NoError(t, os.WriteFile(tokenLeft, []byte("{"), 0o600))
	before, err := os.ReadFile(path)
	require.NoError(t, err)

	d, err = Open(dir, Options{Logger: quiet, ReadOnly: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	host := &bootHost{d: d}
	rec, err := host.Server(t.Context(), netboot.Identity{MAC: "52:54:00:00:00:01"})
	require.NoError(t, err)
	require.Equal(t, netboot.ModeRescue, rec.Mode)
	host.Began(t.Context(), rec.ID)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	require.FileExists(t, path+newSuffix)
	require.FileExists(t, tokenLeft)
}

// TestTokenOfBefore: a boot's token that was made before there was the mark gets it, and
// works on.
func TestTokenOfBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d, err := Open(dir, Options{})
	require.NoError(t, err)
	bootVolume(t, d, "52:54:00:00:00:01")
	secret := d.boots.list()[0].Secret
	old, ok := d.tokens.find(secret)
	require.True(t, ok)
	old.Boot = false
	require.NoError(t, d.tokens.replace(old))
	require.NoError(t, d.Close())
	for range 2 { // it is durable, too
		d, err = Open(dir, Options{})
		require.NoError(t, err)
		marked, ok := d.tokens.find(secret)
		require.True(t, ok)
		require.True(t, marked.Boot)
		kept, err := readToken(d.tokens.path(old.ID))
		require.NoError(t, err)
		require.Equal(t, marked, kept)
		require.NoError(t, d.Close())
	}
}
