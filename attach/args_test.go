package attach

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, k := range []struct {
		args []string
		want Config
	}{
		// What Debian's initramfs runs, with nbd-client's name left out.
		{[]string{"192.0.2.1", "-N", "web-1", "10809", "/dev/nbd0", "-swap", "-persist", "-systemd-mark"},
			Config{Device: "/dev/nbd0", Network: "tcp", Address: "192.0.2.1:10809", Export: "web-1"}},
		{[]string{"2001:db8::1", "-N", "/web-1", "/dev/nbd2", "-swap"},
			Config{Device: "/dev/nbd2", Index: 2, Network: "tcp", Address: "[2001:db8::1]:10809", Export: "/web-1"}},
		// dracut's.
		{[]string{"-p", "-systemd-mark", "boot.example", "-name", "root", "/dev/nbd0"},
			Config{Device: "/dev/nbd0", Network: "tcp", Address: "boot.example:10809", Export: "root"}},
		{[]string{"-C", "2", "-b", "512", "-t", "30", "192.0.2.1", "99", "-N", "a", "/dev/nbd1"},
			Config{Device: "/dev/nbd1", Index: 1, Network: "tcp", Address: "192.0.2.1:99", Export: "a", Connections: 2, Timeout: 30 * time.Second}},
		// Ours.
		{[]string{"/dev/nbd12", "--server", "[2001:db8::1]:99", "--export=web", "--dead", "5m", "--read-ahead=64", "--max-request", "512", "--foreground"},
			Config{Device: "/dev/nbd12", Index: 12, Network: "tcp", Address: "[2001:db8::1]:99", Export: "web", Dead: 5 * time.Minute, ReadAheadKB: 64, MaxKB: 512, Foreground: true}},
		{[]string{"--server", "unix:/run/nbd.sock", "--export", "web", "/dev/nbd0"},
			Config{Device: "/dev/nbd0", Network: "unix", Address: "/run/nbd.sock", Export: "web"}},
	} {
		p, err := parse(k.args)
		require.NoError(t, err, "%v", k.args)
		for _, d := range []struct{ got, want *int }{{&p.Connections, &k.want.Connections}, {&p.ReadAheadKB, &k.want.ReadAheadKB}, {&p.MaxKB, &k.want.MaxKB}} {
			if *d.want == 0 {
				*d.want = *d.got
			}
		}
		if k.want.Timeout == 0 {
			k.want.Timeout = 10 * time.Second
		}
		if k.want.Dead == 0 {
			k.want.Dead = 24 * time.Hour
		}
		require.Equal(t, k.want, p.Config, "%v", k.args)
		require.Equal(t, "attach", p.action)
	}
	for flag, action := range map[string]string{"-d": "detach", "-c": "check"} {
		p, err := parse([]string{flag, "/dev/nbd3"})
		require.NoError(t, err)
		require.Equal(t, action, p.action)
		require.Equal(t, 3, p.Index)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"which server":        {"/dev/nbd0"},
		"which device":        {"--server", "a", "--export", "b"},
		"which export":        {"/dev/nbd0", "--server", "a"},
		"no NBD device":       {"/dev/sda", "--server", "a", "--export", "b"},
		"no HOST:PORT":        {"/dev/nbd0", "--server", "a:http", "--export", "b"},
		"has no TLS":          {"-x", "a", "-N", "b", "/dev/nbd0"},
		"there is no flag":    {"/dev/nbd0", "--what"},
		"needs a value":       {"/dev/nbd0", "--server"},
		"no number from 1":    {"/dev/nbd0", "--server", "a", "--export", "b", "--connections", "0"},
		"no time":             {"/dev/nbd0", "--server", "a", "--export", "b", "--dead", "-3"},
		"say which device, o": {"a", "1", "/dev/nbd0", "/dev/nbd1", "-N", "x"},
	} {
		_, err := parse(args)
		require.ErrorContains(t, err, want, "%v", args)
	}
}

// TestExportFile keeps a secret name out of the arguments.
func TestExportFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("secret\n"), 0o600))
	p, err := parse([]string{"/dev/nbd0", "--server", "h", "--export-file", file})
	require.NoError(t, err)
	require.Equal(t, "secret", p.Export)
	for _, text := range []string{"", "\n", strings.Repeat("x", 4097)} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err = parse([]string{"/dev/nbd0", "--server", "h", "--export-file", file})
		require.ErrorContains(t, err, "has no export name")
	}
}

// TestHolderAfterSysMoved: what is read through an open directory is there after its
// path is not.
func TestHolderAfterSysMoved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nbd0")
	require.NoError(t, os.Mkdir(path, 0o700))
	dir, err := os.Open(path)
	require.NoError(t, err)
	defer dir.Close()
	require.Empty(t, holderIn(dir))
	require.NoError(t, os.WriteFile(filepath.Join(path, "pid"), []byte("17\n"), 0o600))
	require.NoError(t, os.Rename(path, path+"-moved"))
	require.Equal(t, "17", holderIn(dir))
}
