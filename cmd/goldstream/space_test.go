package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestADaemonOnAFullDisk: with a reserve that no disk has, every first write
// waits, and nothing else; a stop does not wait with it.
func TestADaemonOnAFullDisk(t *testing.T) {
	h := newHouse(t)
	h.must("volume", "create", "v", "--size", "16MiB", "--quota", "1GiB")
	h.must("volume", "create", "old", "--size", "1MiB")
	d := h.serve("--ballast", "none")
	c, err := dialNBD(d.socket, "v")
	require.NoError(t, err)
	require.NoError(t, c.do(nbdWrite, 0, 0, 4096, bytes.Repeat([]byte("a"), 4096)))
	c.close()
	d.stop()

	d = h.serve("--reserve", "1PiB", "--full-stall", "1h", "--ballast", "none", "--watermark", "99")
	c, err = dialNBD(d.socket, "v")
	require.NoError(t, err)
	stalled := make(chan error, 1)
	go func() { stalled <- c.do(nbdWrite, 0, 8192, 4096, make([]byte, 4096)) }()
	h.says("full: first writes of blocks wait (1 writes wait now)")
	p := make([]byte, 1)
	require.NoError(t, c.do(nbdRead, 0, 0, 1, p))
	require.Equal(t, "a", string(p))
	require.NoError(t, c.do(nbdWrite, nbdFlagFUA, 0, 4096, bytes.Repeat([]byte("b"), 4096)), "overwrite")
	require.NoError(t, c.do(nbdTrim, 0, 4096, 4096, nil))
	require.NoError(t, c.do(nbdFlush, 0, 0, 0, nil))
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	rawDisk(t, raw, 1<<20, 1)
	for _, args := range [][]string{{"volume", "create", "w", "--size", "1MiB"}, {"image", "import", "i", raw}} {
		r := h.run(args...)
		require.Equal(t, exitNoSpace, r.code, r.err)
		require.Contains(t, r.err, "delete volumes or images")
	}
	h.must("volume", "delete", "old")
	require.Contains(t, d.log.String(), "space: full")
	d.stop()
	require.ErrorIs(t, <-stalled, errLost, "not answered: the client sends it again")
	c.close()

	d = h.serve("--reserve", "1PiB", "--full-stall", "50ms")
	c, err = dialNBD(d.socket, "v")
	require.NoError(t, err)
	require.ErrorIs(t, c.do(nbdWrite, 0, 8192, 4096, make([]byte, 4096)), syscall.ENOSPC)
	require.NoError(t, c.do(nbdRead, 0, 0, 1, p))
	require.Equal(t, "b", string(p))
	c.close()
	d.stop()
	for _, flags := range [][]string{{"--reserve", "0"}, {"--watermark", "0"}, {"--ballast", "much"}, {"--map-memory", "none"}, {"--map-memory", "64KiB"}, {"--background-rate", "1KiB"}} {
		require.Equal(t, exitUsage, h.run(append([]string{"serve"}, flags...)...).code, flags)
	}
}

// TestQuotaFromTheCommandLine: at the quota a write waits until it is raised.
func TestQuotaFromTheCommandLine(t *testing.T) {
	h := newHouse(t)
	require.Contains(t, h.must("volume", "create", "v", "--size", "16MiB", "--quota", "8KiB"), "8 KiB")
	d := h.serve("--full-stall", "1h")
	c, err := dialNBD(d.socket, "v")
	require.NoError(t, err)
	require.NoError(t, c.do(nbdWrite, 0, 0, 8192, make([]byte, 8192)))
	more := make(chan error, 1)
	go func() { more <- c.do(nbdWrite, 0, 8192, 4096, make([]byte, 4096)) }()
	h.says("1 writes wait")
	require.Contains(t, h.must("volume", "set", "v", "--quota", "none"), "none")
	require.NoError(t, <-more)
	require.Equal(t, exitUsage, h.run("volume", "set", "v").code)
	require.Equal(t, exitUsage, h.run("volume", "set", "v", "--quota", "0").code)
	require.Equal(t, exitNotFound, h.run("volume", "set", "w", "--quota", "1GiB").code)
	c.close()
	d.stop()
}

// loopDisk mounts an ext4 file system of 256 MiB.
func loopDisk(t *testing.T) (mount string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := shortTempDir(t)
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "mount")
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 256<<20))
	require.NoError(t, os.Mkdir(mount, 0o755))
	tool(t, "mkfs.ext4", "-q", "-F", "-m", "0", image)
	tool(t, "mount", "-o", "loop", image, mount)
	t.Cleanup(func() { tool(t, "umount", "-l", mount) }) // detaches the loop device too
	return mount
}

// fill makes a file that takes what the file system has, but for left bytes.
func fill(t *testing.T, path string, left int64) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	var st unix.Statfs_t
	require.NoError(t, unix.Fstatfs(int(f.Fd()), &st))
	if n := int64(st.Bavail)*st.Bsize - left; left > 0 {
		require.NoError(t, unix.Fallocate(int(f.Fd()), 0, 0, n))
		return
	}
	for wrote := true; wrote; require.NoError(t, f.Sync()) { // a sync may find that there is more
		wrote = false
		for p := make([]byte, 1<<20); len(p) > 0; {
			n, err := f.Write(p)
			wrote = wrote || n > 0
			if err != nil && n == 0 {
				p = p[:len(p)/2]
			}
		}
	}
}

// says waits until the status says something.
func (h *house) says(word string) {
	h.tb.Helper()
	require.Eventually(h.tb, func() bool { return strings.Contains(h.run("status").out, word) }, time.Minute, 20*time.Millisecond)
}

// TestADaemonWhoseMetadataFindsNoSpace: flushes wait, reads go on, the daemon
// lives; it goes on when there is space, and stops when there is none.
func TestADaemonWhoseMetadataFindsNoSpace(t *testing.T) {
	mount := loopDisk(t)
	h := newHouse(t)
	h.data = filepath.Join(mount, "data")
	raw := filepath.Join(mount, "raw")
	require.NoError(t, os.WriteFile(raw, bytes.Repeat([]byte("a"), 4<<20), 0o600))
	h.must("image", "import", "img", raw)
	h.must("volume", "create", "v", "--image", "img")
	d := h.serve("--ballast", "none")
	c, err := dialNBD(d.socket, "v")
	require.NoError(t, err)
	require.NoError(t, c.do(nbdWrite, nbdFlagFUA, 0, 4096, make([]byte, 4096)))
	c.close()
	d.stop()
	// Less than the reserve is left: nothing is allocated ahead. The log of the
	// time before, which was, goes at the next start.
	fill(t, filepath.Join(mount, "first"), 8<<20)
	h.serve("--ballast", "none").stop()
	fill(t, filepath.Join(mount, "second"), 8<<20)
	d = h.serve("--ballast", "none", "--drain-timeout", "1s")
	c, err = dialNBD(d.socket, "v")
	require.NoError(t, err)
	waits := func(n int64) chan error {
		require.NoError(t, c.do(nbdWrite, 0, 0, 4096, bytes.Repeat([]byte{byte(n)}, 4096)))
		fill(t, filepath.Join(mount, "rest"), 0)
		flushed := make(chan error, 1)
		go func() { // trims of the image's blocks change the map, and free nothing
			var err error
			for i := int64(1); i <= 300 && err == nil; i++ {
				if err = c.do(nbdTrim, 0, 4096*(300*n+i), 4096, nil); err == nil {
					err = c.do(nbdFlush, 0, 0, 0, nil)
				}
			}
			flushed <- err
		}()
		h.says("flushes and deletes too")
		p := make([]byte, 1)
		require.NoError(t, c.do(nbdRead, 0, 0, 1, p))
		require.EqualValues(t, n, p[0])
		require.NoError(t, c.do(nbdWrite, 0, 0, 4096, bytes.Repeat([]byte{byte(n + 10)}, 4096)))
		return flushed
	}
	flushed := waits(1)
	require.NoError(t, os.Remove(filepath.Join(mount, "rest")))
	require.NoError(t, <-flushed)

	flushed = waits(2)
	start := time.Now()
	_ = d.end(syscall.SIGTERM) // says that the store failed
	t.Logf("stopped after %v", time.Since(start))
	require.ErrorIs(t, <-flushed, errLost)
	c.close()
	require.NoError(t, os.Remove(filepath.Join(mount, "rest")))
	require.NoError(t, os.Remove(filepath.Join(mount, "first")))
	require.NoError(t, os.Remove(filepath.Join(mount, "second")))
	d = h.serve()
	c, err = dialNBD(d.socket, "v")
	require.NoError(t, err)
	p := make([]byte, 1)
	require.NoError(t, c.do(nbdRead, 0, 0, 1, p))
	require.EqualValues(t, 12, p[0], "acknowledged before the stop")
	c.close()
	d.stop()
}

// TestAWriterGoesOnWhenAVolumeIsDeleted fills a real file system over NBD.
func TestAWriterGoesOnWhenAVolumeIsDeleted(t *testing.T) {
	mount := loopDisk(t)
	h := newHouse(t)
	h.data = filepath.Join(mount, "data")
	for _, name := range []string{"v", "old"} {
		h.must("volume", "create", name, "--size", "1GiB")
	}
	d := h.serve("--full-stall", "1h")
	const piece = 1 << 20
	write := func(name string, from, to int64) (c *nbdConn, err error) {
		if c, err = dialNBD(d.socket, name); err != nil {
			return nil, err
		}
		for off := from; off < to && err == nil; off += piece {
			err = c.do(nbdWrite, 0, off, piece, bytes.Repeat([]byte{byte(off / piece)}, piece))
		}
		return c, err
	}
	c, err := write("old", 0, 60*piece)
	require.NoError(t, err)
	c.close()
	written := make(chan error, 1)
	go func() {
		c, err := write("v", 0, 180*piece) // fits when the other one is gone
		if err == nil {
			err = c.do(nbdFlush, 0, 0, 0, nil)
		}
		for off := int64(0); off < 180*piece && err == nil; off += piece {
			p := make([]byte, piece)
			if err = c.do(nbdRead, 0, off, piece, p); err == nil && (p[0] != byte(off/piece) || p[piece-1] != p[0]) {
				err = os.ErrInvalid
			}
		}
		if c != nil {
			c.close()
		}
		written <- err
	}()
	h.says("writes wait now")
	// The daemon closes a connection in its own time.
	require.Eventually(t, func() bool { return h.run("volume", "delete", "old").code == 0 }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, <-written)
	d.stop()
}
