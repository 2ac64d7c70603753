package imagestreamer_test

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"goldstream/api/transcript"
	"goldstream/daemon"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTranscripts plays what clients send, each against a store of its own.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.http")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			player(t).Play(t, file)
		})
	}
}

func player(t *testing.T) *transcript.Player { return playerIn(t, t.TempDir()) }

func playerIn(t *testing.T, dir string) *transcript.Player {
	d, err := daemon.Open(dir, daemon.Options{})
	require.NoError(t, err)
	e := d.Embed()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Dial(ctx) }}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		require.NoError(t, e.Close())
		require.NoError(t, d.Close())
	})
	return &transcript.Player{Client: &http.Client{Transport: tr}, Base: "http://goldstream"}
}
