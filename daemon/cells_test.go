package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/fuse"
	"goldstream/jail"
)

// plainDisk is a disk in memory.
type plainDisk struct {
	fuse.WritableDisk
	data []byte
}

func (d plainDisk) Size() int64                 { return int64(len(d.data)) }
func (d plainDisk) Flush(context.Context) error { return nil }
func (d plainDisk) Close() error                { return nil }
func (d plainDisk) ReadAt(_ context.Context, p []byte, off int64) error {
	copy(p, d.data[off:])
	return nil
}

// TestJailWithASlot binds a slot into a jail while it is empty, without a call of this
// process on it: the slot refuses and logs them.
func TestJailWithASlot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts for others")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("this host has no /dev/fuse")
	}
	head, err := exec.LookPath("head")
	require.NoError(t, err)
	head, err = filepath.EvalSymlinks(head)
	require.NoError(t, err)
	binds, err := jail.Executables(head)
	require.NoError(t, err)
	above := t.TempDir()
	require.NoError(t, os.Chmod(above, 0o700))
	dir := filepath.Join(above, "0")
	require.NoError(t, os.Mkdir(dir, 0o700))
	disk := plainDisk{data: append([]byte("text"), make([]byte, 4092)...)}
	var log bytes.Buffer
	slot, err := fuse.MountSlot(t.Context(), dir, fuse.SlotOptions{
		Open:   func(context.Context, string) (fuse.WritableDisk, error) { return disk, nil },
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	defer func() { require.NoError(t, slot.Close(ctx)) }()

	for _, volume := range []string{"", "web"} {
		if volume != "" {
			require.NoError(t, slot.Attach(ctx, volume, false))
		}
		var out bytes.Buffer
		process, err := jail.Start(ctx, jail.Spec{
			Path: head, Args: []string{"-c4", "/disk"}, Stdout: &out, Profile: jail.Script(),
			Binds: append(binds[:len(binds):len(binds)], jail.Bind{Host: slot.Path(), Mount: slot.Mount(), Target: "/disk", Writable: true, AsOwner: true}),
		})
		require.NoError(t, err)
		if err := process.Wait(); volume == "" {
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "an empty slot cannot be opened")
		} else {
			require.NoError(t, err)
			require.Equal(t, "text", out.String())
		}
	}
	require.NoError(t, slot.Detach(ctx))
	require.NotContains(t, log.String(), "this process")
}
