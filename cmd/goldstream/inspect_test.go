package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/api/v1"
	"goldstream/personalize/inspect"
)

// TestInspect looks at a volume and at its image, without a daemon and with one.
func TestInspect(t *testing.T) {
	h := newHouse(t)
	guest := buildGuest(t)
	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "etc"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "etc/os-release"), []byte("ID=debian\nVERSION_ID=12\nPRETTY_NAME=Debian\n"), 0o644))
	raw := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "truncate", "-s", "16M", raw)
	tool(t, "mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", tree, raw)
	h.must("image", "import", "debian", raw)
	h.must("volume", "create", "web-1", "--image", "debian")
	r := h.run("inspect", "web-1", "--guest", guest)
	require.Equal(t, exitNotFound, r.code, "the sandbox is not prepared")
	h.must("sandbox", "prepare", "--guest", guest)

	check := func(name string) {
		var report inspect.Report
		require.NoError(t, json.Unmarshal([]byte(h.must("inspect", name, "--guest", guest, "--json")), &report))
		require.Len(t, report.Filesystems, 1)
		require.Equal(t, "root", report.Filesystems[0].Label)
		require.Len(t, report.Systems, 1)
		require.Equal(t, "Debian", report.Systems[0].Name)
		require.Equal(t, []string{"there is no /boot/vmlinuz-VERSION"}, report.Systems[0].WhyNot)
	}
	check("web-1")
	require.Equal(t, exitNotFound, h.run("inspect", "nothing", "--guest", guest).code)
	h.serve("--guest", guest)
	check("debian")
	require.Contains(t, h.must("inspect", "web-1", "--guest", guest), "cannot boot from the network")
	checkBootFiles(t, h, guest, tree)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), "goldstream-inspect-")
}

// checkBootFiles takes the boot files of a disk that has some, and of one that has not.
func checkBootFiles(t *testing.T, h *house, guest, tree string) {
	dest := filepath.Join(t.TempDir(), "boot")
	r := h.run("boot", "files", "web-1", dest, "--guest", guest)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "there is no /boot/vmlinuz-VERSION")
	left, err := os.ReadDir(filepath.Dir(dest))
	require.NoError(t, err)
	require.Empty(t, left)

	for name, text := range map[string]string{
		"boot/vmlinuz-6.1": "kernel", "boot/initrd.img-6.1": "initrd", "lib/modules/6.1/kernel/drivers/block/nbd.ko": "\x7fELF",
		"boot/loader/entries/6.1.conf": "linux /boot/vmlinuz-6.1\noptions root=LABEL=root quiet\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(tree, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(tree, name), []byte(text), 0o644))
	}
	raw := filepath.Join(t.TempDir(), "disk.raw")
	tool(t, "truncate", "-s", "16M", raw)
	tool(t, "mke2fs", "-q", "-t", "ext4", "-d", tree, raw)
	h.must("image", "import", "bootable", raw)
	require.Contains(t, h.must("boot", "files", "bootable", dest, "--guest", guest), "root=LABEL=root quiet")
	text, err := os.ReadFile(filepath.Join(dest, bootManifest))
	require.NoError(t, err)
	var boot inspect.Boot
	require.NoError(t, json.Unmarshal(text, &boot))
	kernel, err := os.ReadFile(filepath.Join(dest, boot.Kernel.Name))
	require.NoError(t, err)
	require.Equal(t, "kernel", string(kernel))
	r = h.run("boot", "files", "bootable", dest, "--guest", guest)
	require.Contains(t, r.err, "is there already")
	checkAssign(t, h, boot)
}

// checkAssign has the daemon read the boot files, also while a client has the volume open.
func checkAssign(t *testing.T, h *house, boot inspect.Boot) {
	h.must("volume", "create", "server", "--image", "bootable")
	r := h.run("boot", "assign", "web-1", "--mac", "52:54:00:00:00:01")
	require.Equal(t, exitUsage, r.code, r.err)
	require.Contains(t, r.err, "there is no /boot/vmlinuz-VERSION")
	require.Contains(t, h.must("boot", "assign", "server", "--mac", "52:54:00:00:00:01"), "6.1")
	r = h.run("boot", "assign", "web-1", "--mac", "52:54:00:00:00:01")
	require.Contains(t, r.err, "boot unassign")
	h.must("boot", "refresh", "server")
	list, err := filepath.Glob(filepath.Join(h.data, "boot", "files", "*"))
	require.NoError(t, err)
	require.Len(t, list, 1, "the same again, and nothing half made")
	var kept inspect.Boot
	text, err := os.ReadFile(filepath.Join(list[0], bootManifest))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &kept))
	require.Equal(t, boot, kept)
	kernel, err := os.ReadFile(filepath.Join(list[0], kept.Kernel.Name))
	require.NoError(t, err)
	require.Equal(t, "kernel", string(kernel))
	require.NotContains(t, h.must("snapshot", "list", "server"), "mounted-")
}

// mounter is a daemon that makes mounts, and no more.
type mounter struct {
	v1.Backend
	serve func(ctx context.Context) error
}

func (m mounter) Mount(context.Context, v1.MountRequest) (v1.Mount, error) { return m, nil }

func (m mounter) Serve(ctx context.Context, _ []byte, _ func()) error { return m.serve(ctx) }

func (m mounter) Close() error { return nil }

// TestMountThatIsNeverReady leaves no mount and no directory.
func TestMountThatIsNeverReady(t *testing.T) {
	needFUSE(t)
	ending, cancel := context.WithCancel(t.Context())
	defer cancel()
	for want, serve := range map[string]func(context.Context) error{
		"no more mounts": func(context.Context) error { return &v1.Error{Code: v1.CodeInternal, Message: "no more mounts"} },
		"context canceled": func(serving context.Context) error {
			cancel()
			<-serving.Done()
			return context.Cause(serving)
		},
	} {
		ctx := t.Context()
		if want == "context canceled" {
			ctx = ending
		}
		tmp := t.TempDir()
		t.Setenv("TMPDIR", tmp)
		pair := v1.NewPair()
		srv := v1.NewServer(mounter{serve: serve}, "test", slog.New(slog.DiscardHandler))
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(pair) }()
		client := v1.NewClientDial(pair.Dial)
		err := withMount(ctx, client, func(string) error { panic("there is no mount") })
		require.ErrorContains(t, err, want)
		client.Close()
		require.NoError(t, srv.Close())
		require.ErrorIs(t, <-ended, http.ErrServerClosed)
		left, err := os.ReadDir(tmp)
		require.NoError(t, err)
		require.Empty(t, left)
	}
}

func buildGuest(t *testing.T) string {
	t.Helper()
	guest := filepath.Join(t.TempDir(), "goldstream-guest")
	build := exec.Command("go", "build", "-o", guest, "../goldstream-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return guest
}
