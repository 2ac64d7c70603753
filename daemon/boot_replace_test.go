package daemon

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
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
