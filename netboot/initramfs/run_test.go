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
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"goldstream/attach"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRun attaches with a first failure, tells its stages and leaves no secret; nothing is
// left at all once the root file system is mounted.
func TestRun(t *testing.T) {
	var told []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		told = append(told, r.Method+" "+r.URL.Path)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, Dir), 0o700))
	c := Config{Server: "10.0.0.1:10809", Device: "/dev/nbd0", NIC: "52:54:00:00:00:01", Stages: srv.URL + "/b/1/stage/"}
	require.NoError(t, os.WriteFile(filepath.Join(root, ConfigFile), c.Append(nil), 0o600))
	token := filepath.Join(root, TokenFile)
	require.NoError(t, os.WriteFile(token, []byte("secret\n"), 0o600))
	tries, connected := 0, false
	s := &steps{root: root, stderr: io.Discard}
	s.network = func(_ context.Context, in, mac string, _ func(string, ...any)) error {
		require.Empty(t, told, "nobody can be told before there is a network")
		require.Equal(t, []string{root, "52:54:00:00:00:01"}, []string{in, mac})
		connected = true
		return nil
	}
	s.attach = func(_ context.Context, self, args []string, _, _ io.Writer) error {
		require.True(t, connected)
		require.Equal(t, []string{"attach"}, self)
		require.Equal(t, []string{"/dev/nbd0", "--server", "10.0.0.1:10809", "--export-file", token}, args)
		require.FileExists(t, token)
		if tries++; tries == 1 {
			return errors.New("the server is away")
		}
		return nil
	}
	require.NoError(t, s.run(t.Context()))
	require.Equal(t, []string{"POST /b/1/stage/initramfs", "POST /b/1/stage/attached"}, told)
	require.NoFileExists(t, token)
	require.NoError(t, mountedIn(t.Context(), root, io.Discard))
	require.Equal(t, "POST /b/1/stage/mounted", told[2])
	require.NoFileExists(t, filepath.Join(root, ConfigFile))
}

func TestConfigText(t *testing.T) {
	_, err := ParseConfig("server=a\ndevice=b\nevil=c\n")
	require.ErrorContains(t, err, "evil")
	_, err = ParseConfig("server=a\n")
	require.Error(t, err)
	require.Error(t, post(t.Context(), "http://nothing", "x"))
}

// TestLeaseArguments: what the keeper is started with, it reads.
func TestLeaseArguments(t *testing.T) {
	t.Parallel()
	n, err := parseNIC([]string{"2", "52:54:00:00:00:01", "10.1.2.3/24", "10.1.2.1", "3600"})
	require.NoError(t, err)
	require.Equal(t, 2, n.Index)
	require.Equal(t, "10.1.2.3/24", n.Lease.Address.String())
	require.Equal(t, time.Hour, n.Lease.Time)
	for _, args := range [][]string{{}, {"2", "52:54:00:00:00:01", "10.1.2.3", "10.1.2.1", "3600"}, {"2", "52:54:00:00:00:01", "10.1.2.3/24", "10.1.2.1", "0"}} {
		require.ErrorIs(t, KeepLease(t.Context(), args), attach.ErrUsage)
	}
}
