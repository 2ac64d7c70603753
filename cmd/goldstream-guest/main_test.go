package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/attach"
)

// It goes into every initramfs, so it stays small: nothing of the daemon, no
// TLS, no HTTP.
func TestStaysSmall(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	for _, dep := range strings.Fields(string(out)) {
		for _, heavy := range []string{"crypto/tls", "net/http", "log/slog", "encoding/json", "goldstream/nbd", "goldstream/blockstore", "github.com/urfave/cli/v2"} {
			require.NotEqual(t, heavy, dep)
		}
	}
	file := filepath.Join(t.TempDir(), "guest")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", file, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err = build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(4<<20))
}

func TestRun(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), []string{"--help"}, &out, &out))
	require.Contains(t, out.String(), "--server")
	for _, args := range [][]string{{"detach"}, {"attach"}, {"192.0.2.1", "/dev/nbd0"}, {"192.0.2.1", "-N", "x", "-what", "/dev/nbd0"}} {
		require.ErrorIs(t, run(context.Background(), args, &out, &out), attach.ErrUsage, "%v", args)
	}
}
