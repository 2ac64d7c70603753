package main

import (
	"bytes"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// openFile opens a file of a mount until the test ends.
func openFile(t *testing.T, path string, flags int) (fd int, closeIt func()) {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	require.NoError(t, err, path)
	open := true
	closeIt = func() {
		if open {
			open = false
			unix.Close(fd)
		}
	}
	t.Cleanup(closeIt)
	return fd, closeIt
}

// stocked is a house with the image golden and the volume web, and what both read
// as.
func stocked(t *testing.T) (*house, []byte) {
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	content := rawDisk(t, raw, 8*mib, 3)
	h.must("image", "import", "golden", raw)
	h.must("volume", "create", "web", "--image", "golden")
	return h, content
}

func TestMountEndsWhileFilesAreOpen(t *testing.T) {
	needFUSE(t)
	for _, served := range []bool{true, false} {
		h, content := stocked(t)
		if served {
			defer h.serve().stop()
		}
		m := h.mount()
		fd, closeIt := openFile(t, m.path("volumes", "web", "disk"), unix.O_RDONLY)
		require.NoError(t, m.cmd.Process.Signal(syscall.SIGINT))
		eventually(t, "the mount is gone from the tree", func() bool { return !m.there() })
		got, err := readFD(fd)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, got))
		closeIt()
		require.NoError(t, m.wait(), "the log: %s", m.log)
		require.Contains(t, m.log.String(), "still open")
		require.Contains(t, h.must("snapshot", "list", "web", "--json"), "[]")
	}
}

func TestMountIsUnmountedByOthers(t *testing.T) {
	needFUSE(t)
	h, _ := stocked(t)
	m := h.mount()
	tool(t, "umount", m.dir)
	require.NoError(t, m.wait(), "the log: %s", m.log)
	m = h.mount()
	h.must("unmount", m.dir)
	require.NoError(t, m.wait(), "the log: %s", m.log)
	require.False(t, m.there())
}

// TestMountOfDaemonThatIsKilled has the kernel end the mount: nothing hangs, and
// the mount is cleared by the command that held it.
func TestMountOfDaemonThatIsKilled(t *testing.T) {
	needFUSE(t)
	h, content := stocked(t)
	s := h.serve()
	m := h.mount()
	fd, closeIt := openFile(t, m.path("volumes", "web", "disk"), unix.O_RDONLY)
	_, err := unix.Pread(fd, make([]byte, 512), 0)
	require.NoError(t, err)
	s.kill()
	require.Error(t, m.wait())
	require.Contains(t, m.log.String(), "daemon broke")
	require.False(t, m.there())
	_, err = unix.Pread(fd, make([]byte, 512), 4*mib)
	require.ErrorIs(t, err, unix.ENOTCONN)
	closeIt()
	s = h.serve() // which forgets the snapshot of the mount
	require.Contains(t, h.must("snapshot", "list", "web", "--json"), "[]")
	m = h.mount()
	require.True(t, bytes.Equal(content, slurp(t, m.path("volumes", "web", "disk"))))
	m.interrupt()
	s.stop()
}

// TestMountThatIsKilled clears what it left with the documented command.
func TestMountThatIsKilled(t *testing.T) {
	needFUSE(t)
	for _, served := range []bool{true, false} {
		h, _ := stocked(t)
		if served {
			defer h.serve().stop()
		}
		m := h.mount("--write", "web")
		fd, closeIt := openFile(t, m.path("volumes", "web", "disk"), unix.O_RDWR)
		_, err := unix.Pwrite(fd, []byte("written"), 4096)
		require.NoError(t, err)
		m.kill()
		require.True(t, m.there())
		eventually(t, "the mount fails", func() bool {
			_, err := unix.Pread(fd, make([]byte, 512), 0)
			return err != nil
		})
		_, err = readAll(m.path("images", "golden", "disk"))
		require.Error(t, err)
		h.must("unmount", m.dir)
		require.False(t, m.there())
		closeIt()
		// What was acknowledged is there, and the volume free for others.
		m = h.mount("--write", "web")
		require.Equal(t, "written", string(slurp(t, m.path("volumes", "web", "disk"))[4096:][:7]))
		m.interrupt()
	}
}

func TestDaemonStopsUnderMount(t *testing.T) {
	needFUSE(t)
	h, _ := stocked(t)
	s := h.serve()
	m := h.mount("--write", "web")
	fd, _ := openFile(t, m.path("volumes", "web", "disk"), unix.O_RDWR)
	_, err := unix.Pwrite(fd, []byte("written"), 0)
	require.NoError(t, err)
	s.stop()
	require.Error(t, m.wait())
	require.Contains(t, m.log.String(), "the daemon was stopped")
	require.False(t, m.there())
	m = h.mount()
	require.Equal(t, "written", string(slurp(t, m.path("volumes", "web", "disk"))[:7]))
	m.interrupt()
}
