package fuse

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestSlotRefusesItsOwnProcess: whoever serves a slot may not wait for it; others may
// use it, and the mount can be cloned and unmounted without asking its server.
func TestSlotRefusesItsOwnProcess(t *testing.T) {
	data := make([]byte, 4096)
	copy(data, "text")
	s := slotWith(t, SlotOptions{Open: func(context.Context, string) (WritableDisk, error) { return &memoryDisk{data: data}, nil }})
	require.ErrorIs(t, s.ReadAt(t.Context(), make([]byte, 4), 0), errNothingAttached)
	require.NoError(t, s.Attach(t.Context(), "web", false))

	var st unix.Stat_t
	var fs unix.Statfs_t
	open := func(flags int) error {
		fd, err := unix.Open(s.Path(), flags|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}
	for name, err := range map[string]error{
		"stat": unix.Stat(s.Path(), &st), "stat of the root": unix.Stat(s.Mount(), &st), "statfs": unix.Statfs(s.Mount(), &fs),
		"path": open(unix.O_PATH), "open": open(unix.O_RDONLY),
	} {
		require.ErrorIs(t, err, unix.EDEADLK, name)
	}
	out, err := exec.Command("head", "-c4", s.Path()).Output()
	require.NoError(t, err)
	require.Equal(t, "text", string(out))

	p := make([]byte, 4)
	require.NoError(t, s.ReadAt(t.Context(), p, 0))
	require.Equal(t, "text", string(p))
	require.ErrorIs(t, s.ReadAt(t.Context(), p, 4094), io.ErrUnexpectedEOF)

	tree, err := unix.OpenTree(unix.AT_FDCWD, s.Mount(), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	require.NoError(t, err)
	require.NoError(t, unix.Close(tree))
	link := filepath.Join(t.TempDir(), "link") // a link in front of it is followed without asking, too
	require.NoError(t, os.Symlink(filepath.Dir(s.Mount()), link))
	_, err = Unmount(t.Context(), filepath.Join(link, filepath.Base(s.Mount())))
	require.NoError(t, err)
	require.NoError(t, s.Close(t.Context()))
}

func TestOurs(t *testing.T) {
	const table = "24 1 0:55 / /mnt rw - fuse.goldstream goldstream rw\n25 1 0:56 / /other rw shared:1 - fuse.sshfs x rw\n26 1 8:1 / / rw - ext4 /dev/sda rw\n"
	for device, want := range map[uint64]bool{unix.Mkdev(0, 55): true, unix.Mkdev(0, 56): false, unix.Mkdev(8, 1): false, unix.Mkdev(0, 5): false} {
		require.Equal(t, want, oursIn(table, device), device)
	}
}
