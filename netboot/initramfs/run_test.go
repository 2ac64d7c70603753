package initramfs

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun attaches with a first failure, tells its stages and leaves no secret.
func TestRun(t *testing.T) {
	var stages []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stages = append(stages, r.Method+" "+r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, Dir), 0o700))
	c := Config{Server: "10.0.0.1:10809", Device: "/dev/nbd0", Stages: srv.URL + "/b/1/stage/"}
	require.NoError(t, os.WriteFile(filepath.Join(root, ConfigFile), c.Append(nil), 0o600))
	token := filepath.Join(root, TokenFile)
	require.NoError(t, os.WriteFile(token, []byte("secret\n"), 0o600))
	tries := 0
	err := runIn(t.Context(), root, io.Discard, func(_ context.Context, self, args []string, _, _ io.Writer) error {
		require.Equal(t, []string{"attach"}, self)
		require.Equal(t, []string{"/dev/nbd0", "--server", "10.0.0.1:10809", "--export-file", token}, args)
		require.FileExists(t, token)
		if tries++; tries == 1 {
			return errors.New("the server is away")
		}
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []string{"POST /b/1/stage/initramfs", "POST /b/1/stage/attached"}, stages)
	require.NoFileExists(t, token)
	require.NoFileExists(t, filepath.Join(root, ConfigFile))
}

func TestConfigText(t *testing.T) {
	_, err := ParseConfig("server=a\ndevice=b\nevil=c\n")
	require.ErrorContains(t, err, "evil")
	_, err = ParseConfig("server=a\n")
	require.Error(t, err)
	require.Error(t, post(t.Context(), "http://nothing", "x"))
}
