package daemon

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// atStop calls a function when a stop has begun.
type atStop struct {
	slog.Handler
	do func()
}

func (h atStop) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "stopping" {
		h.do()
	}
	return h.Handler.Handle(ctx, r)
}

// TestNotReadyOnceAStopBegins: before any connection is drained, so that others send
// nothing more here.
func TestNotReadyOnceAStopBegins(t *testing.T) {
	var f *netFixture
	var status int
	var body string
	t.Cleanup(func() { // after that of newNet
		require.Equal(t, 503, status)
		require.Contains(t, body, `{"name":"process","ready":false}`)
		require.Contains(t, body, `{"name":"lifecycle","ready":true}`)
	})
	f = newNet(t, "127.0.0.1:0,tls=off", func(o *Options) {
		o.Logger = slog.New(atStop{o.Logger.Handler(), func() { status, _, body = f.ask(t, "", "GET", "/readyz", "") }})
	})
}

// TestReadinessOpensNothing: it neither waits for whoever opens or closes the
// lifecycle, nor opens it.
func TestReadinessOpensNothing(t *testing.T) {
	f := newNet(t, "127.0.0.1:0,tls=off")
	f.d.lifecycle.mu.Lock()
	status, _, body := f.ask(t, "", "GET", "/readyz", "")
	f.d.lifecycle.mu.Unlock()
	require.Equal(t, 200, status, body)

	d, err := Open(filepath.Join(t.TempDir(), "data"), Options{})
	require.NoError(t, err)
	defer d.Close()
	b := &backend{Store: d.store, d: d, stopping: context.Background()}
	ready := func() bool { return b.Ready(context.Background())[2].Ready }
	require.False(t, ready(), "it is not open yet")
	require.NoDirExists(t, d.lifecycleDir())
	require.NoError(t, os.WriteFile(d.lifecycleDir(), nil, 0o600), "something else is in its place")
	_, _, err = d.life(context.Background())
	require.Error(t, err)
	require.NoError(t, os.Remove(d.lifecycleDir()))
	require.False(t, ready())
	require.NoDirExists(t, d.lifecycleDir(), "asking does not open it again")
	_, _, err = d.life(context.Background())
	require.NoError(t, err)
	require.True(t, ready())
}
