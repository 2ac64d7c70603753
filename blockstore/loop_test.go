package blockstore

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The tests of this file fill real file systems, in images of 400 MiB (XFS
// takes no less) that are mounted for a test.

const loopSize = 400 << 20

func onLoopDisks(t *testing.T, test func(t *testing.T, dir string)) {
	for name, mkfs := range map[string][]string{
		"ext4": {"mkfs.ext4", "-q", "-F", "-m", "0"}, // root may not take more than others
		"xfs":  {"mkfs.xfs", "-q", "-f"},
	} {
		t.Run(name, func(t *testing.T) { test(t, loopDisk(t, mkfs)) })
	}
}

func loopDisk(t *testing.T, mkfs []string) string {
	t.Helper()
	_, dir := loopDiskImage(t, mkfs)
	return dir
}

func loopDiskImage(t *testing.T, mkfs []string) (image, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	image, dir = filepath.Join(t.TempDir(), "image"), t.TempDir()
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, loopSize))
	command(t, mkfs[0], append(mkfs[1:], image)...)
	command(t, "mount", "-o", "loop", image, dir)
	// Detaches the loop device too; lazily, for a test that failed may have left files open.
	t.Cleanup(func() { command(t, "umount", "-l", dir) })
	return image, dir
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %q: %s", name, args, out)
}

// hog is another program that fills a disk.
type hog struct {
	t *testing.T
	f *os.File
	n int64
}

func newHog(t *testing.T, dir string) *hog {
	f, err := os.Create(filepath.Join(dir, "other program's"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return &hog{t: t, f: f}
}

// fill takes what there is.
func (h *hog) fill() {
	h.t.Helper()
	for step := int64(64 << 20); step >= BlockSize; {
		if err := unix.Fallocate(int(h.f.Fd()), 0, h.n, step); err == nil {
			h.n += step
			continue
		} else if !errors.Is(err, unix.EINTR) {
			require.ErrorIs(h.t, err, unix.ENOSPC)
			step /= 2
		}
	}
	require.NoError(h.t, h.f.Sync())
}

// give gives everything back.
func (h *hog) give() {
	h.t.Helper()
	require.NoError(h.t, h.f.Truncate(0))
	require.NoError(h.t, h.f.Sync())
	h.n = 0
}

func loopOptions() Options {
	o := testOptions()
	o.Reserve, o.Ballast, o.FullStall = 0, 0, time.Hour
	o.CommitInterval = 50 * time.Millisecond
	return o
}

// loopStore has an image, a volume "v" made from it that is open, with 1 MiB
// written, and a volume "w" with 40 MiB written.
func loopStore(t *testing.T, dir string, o Options) (s *Store, d *Disk, golden []byte) {
	t.Helper()
	s, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	golden = randomBytes(8 << 20)
	importBytes(t, s, "golden", golden)
	for _, name := range []string{"v", "w"} {
		_, err := s.CreateVolume(ctx, CloneRequest{Name: name, Image: "golden", Size: 1 << 30})
		require.NoError(t, err)
	}
	w := openVolume(t, s, "w")
	require.NoError(t, w.WriteAt(ctx, randomBytes(40<<20), 0, true))
	require.NoError(t, w.Close())
	d = openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, bytes.Repeat(block(1), 256), 0, true))
	return s, d, golden
}

// goesOn requires what goes on while the disk is full.
func goesOn(t *testing.T, s *Store, d *Disk, golden []byte, stamp byte) {
	t.Helper()
	require.NoError(t, d.WriteAt(ctx, block(stamp), 0, true), "overwrite, durable")
	require.EqualValues(t, stamp, firstByte(t, d, 0))
	img, err := s.OpenImage(ctx, "golden")
	require.NoError(t, err)
	require.True(t, bytes.Equal(golden, readAll(t, img)))
	require.NoError(t, img.Close())
	require.NoError(t, d.Trim(ctx, 4<<20+int64(stamp)*BlockSize, BlockSize, true))
}

// metadata commits n MiB of it.
func metadata(s *Store, n int) error {
	noise := randomBytes(1 << 20)
	for i := range n {
		b := s.db.NewBatch()
		if err := b.Set([]byte{'z', byte(i)}, noise, nil); err != nil {
			return err
		}
		if err := s.commit(b); err != nil {
			return err
		}
	}
	return nil
}

func freeOf(t *testing.T, dir string) int64 {
	t.Helper()
	free, _, err := osFS{}.Free(dir)
	require.NoError(t, err)
	return free
}

// TestDataFillsTheDisk: first writes stop at the reserve and go on when a
// volume is deleted.
func TestDataFillsTheDisk(t *testing.T) {
	onLoopDisks(t, func(t *testing.T, mount string) {
		dir := filepath.Join(mount, "blocks")
		s, d, golden := loopStore(t, dir, loopOptions())
		require.NotZero(t, s.space.ballastNow())
		const piece = 3 << 20
		data := randomBytes(piece)
		var written atomic.Int64
		var enough atomic.Bool
		writer := async(func() error {
			for off := int64(64 << 20); !enough.Load(); off += piece {
				if err := d.WriteAt(ctx, data, off, false); err != nil {
					return err
				}
				written.Store(off + piece)
			}
			return nil
		})
		stalls(t, s, 1)
		l := s.space.limits(loopSize)
		require.Greater(t, freeOf(t, mount), l.reserve/2, "metadata of the file system may take some")
		goesOn(t, s, d, golden, 2)
		_, err := s.CreateVolume(ctx, CloneRequest{Name: "x", Image: "golden"})
		require.ErrorIs(t, err, ErrNoSpace)
		_, err = s.ImportImage(ctx, &memorySource{data: golden}, ImportRequest{Name: "x"})
		require.ErrorIs(t, err, ErrNoSpace)
		require.NoError(t, metadata(s, 3), "the reserve is for it")

		enough.Store(true) // after the one that stalls
		require.NoError(t, s.DeleteVolume(ctx, "w", ""))
		require.NoError(t, <-writer)
		require.NoError(t, d.Flush(ctx))
		checkAndReopen(t, s, d, dir, func(d *Disk) {
			got := make([]byte, piece)
			for off := int64(64 << 20); off < written.Load(); off += piece {
				require.NoError(t, d.ReadAt(ctx, got, off))
				require.True(t, bytes.Equal(data, got), "at %d", off)
			}
			require.EqualValues(t, 2, firstByte(t, d, 0))
		})
	})
}

// TestAnotherProgramFillsTheDisk: metadata takes the ballast, and when that is
// eaten too, waits; nothing fails, and everything goes on when there is space.
func TestAnotherProgramFillsTheDisk(t *testing.T) {
	onLoopDisks(t, func(t *testing.T, mount string) {
		dir := filepath.Join(mount, "blocks")
		s, d, golden := loopStore(t, dir, loopOptions())
		other := newHog(t, mount)
		other.fill()
		s.space.look() // there was an allowance
		first := async(func() error { return d.WriteAt(ctx, block(7), 512<<20, true) })
		stalls(t, s, 1)
		goesOn(t, s, d, golden, 2)
		require.NotZero(t, s.space.ballastNow())
		require.NoError(t, metadata(s, 3))
		require.NoError(t, s.db.Flush(), "makes a log and a table: the ballast is needed")
		require.Zero(t, s.space.ballastNow())
		goesOn(t, s, d, golden, 3)

		other.fill()
		waiting := async(func() error { return errors.Join(metadata(s, 30), d.Flush(ctx)) })
		require.Eventually(t, func() bool { return s.space.metaWaits.Load() > 0 }, waitLong, waitTick)
		require.EqualValues(t, 3, firstByte(t, d, 0), "reads go on")
		require.NoError(t, d.WriteAt(ctx, block(4), 0, false), "and overwrites")
		img, err := s.OpenImage(ctx, "golden")
		require.NoError(t, err)
		require.True(t, bytes.Equal(golden, readAll(t, img)))
		require.NoError(t, img.Close())
		require.NoError(t, s.usable())

		other.give()
		require.NoError(t, <-waiting)
		require.NoError(t, <-first)
		goesOn(t, s, d, golden, 5)
		require.Eventually(t, func() bool { return s.space.ballastNow() > 0 }, waitLong, waitTick)
		checkAndReopen(t, s, d, dir, func(d *Disk) {
			require.EqualValues(t, 7, firstByte(t, d, 512<<20))
			require.EqualValues(t, 5, firstByte(t, d, 0))
		})
	})
}

// TestAStoreOpensOnAFullDisk: with the ballast that it left.
func TestAStoreOpensOnAFullDisk(t *testing.T) {
	onLoopDisks(t, func(t *testing.T, mount string) {
		dir := filepath.Join(mount, "blocks")
		s, d, golden := loopStore(t, dir, loopOptions())
		finish(t, s, d)
		other := newHog(t, mount)
		other.fill()
		s, err := Open(dir, loopOptions())
		require.NoError(t, err)
		d = openVolume(t, s, "v")
		goesOn(t, s, d, golden, 9)
		finish(t, s, d)
	})
}

// TestCloseWhileMetadataWaits: it does not wait, and loses nothing that was
// acknowledged. In a process of its own, for Pebble's goroutines never end.
func TestCloseWhileMetadataWaits(t *testing.T) {
	if mount := os.Getenv("GOLDSTREAM_TEST_FULL"); mount != "" {
		s, d, _ := loopStore(t, filepath.Join(mount, "blocks"), noBallast())
		other := newHog(t, mount)
		other.fill()
		require.NoError(t, d.WriteAt(ctx, block(8), 0, false))
		require.NoError(t, d.Trim(ctx, BlockSize, BlockSize, false))
		go func() { _ = metadata(s, 30) }()
		require.Eventually(t, func() bool { return s.space.metaWaits.Load() > 0 }, waitLong, waitTick)
		require.ErrorIs(t, s.Close(), ErrFailed)
		require.EqualValues(t, 8, firstByte(t, d, 0), "reads go on to the end")
		other.give()
		os.Exit(0) // the leak is meant
	}
	onLoopDisks(t, func(t *testing.T, mount string) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCloseWhileMetadataWaits$")
		cmd.Env = append(os.Environ(), "GOLDSTREAM_TEST_FULL="+mount)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		s, err := Open(filepath.Join(mount, "blocks"), noBallast())
		require.NoError(t, err)
		d := openVolume(t, s, "v")
		require.EqualValues(t, 8, firstByte(t, d, 0))
		require.Zero(t, firstByte(t, d, BlockSize))
		require.EqualValues(t, 1, firstByte(t, d, 2*BlockSize))
		finish(t, s, d)
	})
}

func noBallast() Options {
	o := loopOptions()
	o.Ballast = -1
	return o
}

func checkAndReopen(t *testing.T, s *Store, d *Disk, dir string, check func(*Disk)) {
	t.Helper()
	check(d)
	finish(t, s, d)
	s, err := Open(dir, loopOptions())
	require.NoError(t, err)
	d = openVolume(t, s, "v")
	check(d)
	finish(t, s, d)
}
