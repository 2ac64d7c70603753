package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMountWrites makes a file system on a partition of a volume, with the tools
// that people have, and looks what the volume has then.
func TestMountWrites(t *testing.T) {
	needFUSE(t)
	h := newHouse(t)
	h.must("volume", "create", "web", "--size", "64MiB")
	h.must("volume", "create", "other", "--size", "1MiB")
	m := h.mount("--write", "web")
	whole, p2 := m.path("volumes", "web", "disk"), m.path("volumes", "web", "p2")
	sfdisk(t, whole, "label: dos\nstart=2048, size=2048\nstart=4096, size=65536\nstart=69632, size=8192, type=5\nstart=71680, size=2048\n")
	require.Equal(t, []string{"disk", "info.json", "p1", "p2", "p5"}, entries(t, m.path("volumes", "web")))
	require.Equal(t, "33554432 600\n", tool(t, "stat", "-c", "%s %a", p2))

	tool(t, "mkfs.ext4", "-q", "-F", "-L", "root", p2)
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("key\n"), 0o600))
	tool(t, "debugfs", "-w", "-R", "write "+secret+" /key", p2)
	tool(t, "e2fsck", "-fn", p2)
	tool(t, "dd", "if="+secret, "of="+m.path("volumes", "web", "p1"), "conv=notrunc,fsync", "status=none")
	require.Equal(t, "key\n", string(slurp(t, whole)[mib:mib+4]), "seen through the other name at once")
	punches(t, whole)

	_, err := unix.Open(m.path("volumes", "other", "disk"), unix.O_RDWR, 0)
	require.ErrorIs(t, err, unix.EROFS)
	require.Error(t, exec.Command("truncate", "-s", "0", whole).Run())
	require.Error(t, exec.Command("chmod", "666", whole).Run())
	require.NoError(t, exec.Command("touch", "-d", "@5", whole).Run())
	fd, closeIt := openFile(t, whole, unix.O_RDWR)
	n, err := unix.Pwrite(fd, make([]byte, 8192), 64*mib-4096)
	require.NoError(t, err)
	require.Equal(t, 4096, n, "up to the end")
	_, err = unix.Pwrite(fd, make([]byte, 512), 64*mib)
	require.ErrorIs(t, err, unix.ENOSPC)
	closeIt()
	seen := slurp(t, whole)
	m.interrupt()

	m = h.mount()
	require.True(t, bytes.Equal(seen, slurp(t, m.path("volumes", "web", "disk"))))
	require.Equal(t, "key\n", tool(t, "debugfs", "-R", "cat /key", m.path("volumes", "web", "p2")))
	m.interrupt()
}

// punches writes, punches and zeroes behind the partitions.
func punches(t *testing.T, whole string) {
	fd, closeIt := openFile(t, whole, unix.O_RDWR)
	defer closeIt()
	const at = 48 * mib
	block := bytes.Repeat([]byte("x"), 64<<10)
	_, err := unix.Pwrite(fd, block, at)
	require.NoError(t, err)
	require.NoError(t, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at+100, 8192))
	require.NoError(t, unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, at+40000, 100))
	require.ErrorIs(t, unix.Fallocate(fd, 0, at, 4096), unix.EOPNOTSUPP)
	require.ErrorIs(t, unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 64*mib-4096, 8192), unix.ENOSPC)
	clear(block[100:8292])
	clear(block[40000:40100])
	got := make([]byte, len(block))
	_, err = unix.Pread(fd, got, at)
	require.NoError(t, err)
	require.True(t, bytes.Equal(block, got))
	hole, err := unix.Seek(fd, at, unix.SEEK_HOLE)
	require.NoError(t, err)
	require.EqualValues(t, at+4096, hole, "the block that was punched whole")
	data, err := unix.Seek(fd, hole, unix.SEEK_DATA)
	require.NoError(t, err)
	require.EqualValues(t, at+8192, data)
	end, err := unix.Seek(fd, at+32<<10, unix.SEEK_HOLE)
	require.NoError(t, err)
	require.EqualValues(t, at+64<<10, end)
	_, err = unix.Seek(fd, end, unix.SEEK_DATA)
	require.ErrorIs(t, err, unix.ENXIO)
	require.NoError(t, unix.Fsync(fd))
}

// TestMountAndServiceExclude: what is mounted on a volume has one writer.
func TestMountAndServiceExclude(t *testing.T) {
	needFUSE(t)
	h, _ := stocked(t)
	s := h.serve()
	defer s.stop()
	c, err := dialNBD(s.socket, "web")
	require.NoError(t, err)
	r := h.run("mount", shortTempDir(t), "--write", "web")
	require.Equal(t, exitConflict, r.code)
	require.Contains(t, r.err, "in service")
	c.close()

	m := h.mount("--write", "web")
	_, err = dialNBD(s.socket, "web")
	require.ErrorContains(t, err, "cannot be opened now")
	r = h.run("mount", shortTempDir(t), "--write", "web")
	require.Equal(t, exitConflict, r.code)
	require.Contains(t, r.err, "already")
	r = h.run("volume", "delete", "web")
	require.Equal(t, exitConflict, r.code)
	m.interrupt()
	c, err = dialNBD(s.socket, "web")
	require.NoError(t, err)
	c.close()
}

// TestMountShowsOneInstant reads a volume that is in service.
func TestMountShowsOneInstant(t *testing.T) {
	needFUSE(t)
	h, content := stocked(t)
	s := h.serve()
	defer s.stop()
	c, err := dialNBD(s.socket, "web")
	require.NoError(t, err)
	defer c.close()
	m := h.mount()
	path := m.path("volumes", "web", "disk")
	one, closeOne := openFile(t, path, unix.O_RDONLY)
	two, closeTwo := openFile(t, path, unix.O_RDONLY)
	news := bytes.Repeat([]byte("new!"), 1024)
	require.NoError(t, c.do(nbdWrite, nbdFlagFUA, 0, len(news), news))
	for _, fd := range []int{one, two} {
		got, err := readFD(fd)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, got))
	}
	var report struct {
		Disks []struct{ Kind, Name string }
	}
	snapshots := func() (names []string) {
		require.NoError(t, json.Unmarshal([]byte(h.must("space", "--json")), &report))
		for _, d := range report.Disks {
			if d.Kind == "snapshot" {
				names = append(names, d.Name)
			}
		}
		return names
	}
	require.Len(t, snapshots(), 1)
	require.Contains(t, snapshots()[0], "web/mounted-")
	require.Contains(t, h.must("snapshot", "list", "web", "--json"), "goldstream mount")
	closeOne()
	require.Len(t, snapshots(), 1)
	// Deleted by somebody, it stays readable while it is open.
	h.must("snapshot", "delete", "web", snapshots()[0][len("web/"):])
	got, err := readFD(two)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
	closeTwo()

	eventually(t, "the last close is through", func() bool {
		return bytes.HasPrefix(slurp(t, path), news)
	})
	eventually(t, "no snapshot is left", func() bool { return len(snapshots()) == 0 })
	require.NoError(t, c.do(nbdFlush, 0, 0, 0, nil))

	// It grows, and the next one who opens it sees that.
	h.must("volume", "grow", "web", "--size", "16MiB")
	require.Len(t, slurp(t, path), 16*mib)
	m.interrupt()
}
