package blockstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// badDisk is an ext4 in an image that lies in a tmpfs. Parts of the image can
// be made such that writes to them fail, as on a disk with bad sectors: there
// they are holes, and the tmpfs is full.
type badDisk struct {
	t     *testing.T
	dir   string
	image *os.File
	hog   *hog
}

func newBadDisk(t *testing.T) *badDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	const size = 96 << 20
	below, dir := t.TempDir(), t.TempDir()
	command(t, "mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", below)
	t.Cleanup(func() { command(t, "umount", "-l", below) })
	image, err := os.Create(filepath.Join(below, "image"))
	require.NoError(t, err)
	t.Cleanup(func() { image.Close() })
	require.NoError(t, image.Truncate(size))
	command(t, "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E", "nodiscard,lazy_itable_init=0", image.Name())
	require.NoError(t, unix.Fallocate(int(image.Fd()), 0, 0, size))
	command(t, "mount", "-o", "loop,nodiscard", image.Name(), dir)
	t.Cleanup(func() { command(t, "umount", "-l", dir) })
	return &badDisk{t: t, dir: dir, image: image, hog: newHog(t, below)}
}

// spoil makes writes fail to blocks of a file that hold zeros.
func (b *badDisk) spoil(path string, from, to int64) {
	b.t.Helper()
	f, err := os.Open(path)
	require.NoError(b.t, err)
	defer f.Close()
	for off := from; off < to; off += BlockSize {
		at := uint32(off / BlockSize)
		const fibmap = 1 // linux/fs.h
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fibmap, uintptr(unsafe.Pointer(&at)))
		require.Zero(b.t, errno)
		require.NotZero(b.t, at)
		require.NoError(b.t, unix.Fallocate(int(b.image.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(at)*BlockSize, BlockSize))
	}
	b.hog.fill()
}

// mend replaces the disk by a good one with the same content.
func (b *badDisk) mend() { b.hog.give() }

// badWriter writes blocks that no other one does, and knows what it was told.
type badWriter struct {
	d     *Disk
	rng   *rand.Rand
	id    int64
	stamp uint64
	acked map[int64]uint64 // stamp by block; what was flushed is in it too
	clean map[int64]bool   // the acknowledged stamp was flushed
	last  int64            // block of the write that was refused; it may stand all the same
}

const (
	badWriters = 4
	badBlocks  = 4096 // the upper half of which is on bad sectors
)

// run writes and flushes until the volume fails. It returns what is wrong.
func (w *badWriter) run() error {
	for n := 0; ; n++ {
		limit := int64(badBlocks / 2)
		if n > 200 {
			limit = 2 * badBlocks // behind them are blocks that are not held yet
		}
		at := w.rng.Int64N(limit)/badWriters*badWriters + w.id
		w.stamp++
		w.last = at
		if err := w.d.WriteAt(ctx, w.block(at, w.stamp), at*BlockSize, false); err != nil {
			return w.only(err)
		}
		w.acked[at], w.clean[at], w.last = w.stamp, false, -1
		if n%16 == 0 {
			if err := w.d.Flush(ctx); err != nil {
				return w.only(err)
			}
			for at := range w.acked {
				w.clean[at] = true
			}
		}
	}
}

// holds tells that b is what was acknowledged of a block, or refused at the end.
func (w *badWriter) holds(at int64, b []byte) bool {
	return bytes.Equal(w.block(at, w.acked[at]), b) || at == w.last && bytes.Equal(w.block(at, w.stamp), b)
}

func (w *badWriter) only(err error) error {
	if errors.Is(err, ErrFailed) {
		return nil
	}
	return err
}

func (w *badWriter) block(at int64, stamp uint64) []byte {
	b := make([]byte, 16)
	binary.LittleEndian.PutUint64(b, uint64(at))
	binary.LittleEndian.PutUint64(b[8:], stamp)
	return bytes.Repeat(b, BlockSize/16)
}

// TestADiskThatFailsUnderLoad is about a real file system on a disk that takes
// no writes for some of its sectors: nobody is told that lost data is safe,
// what may be lost is not read, and it is named.
func TestADiskThatFailsUnderLoad(t *testing.T) {
	disk := newBadDisk(t)
	o := testOptions()
	o.Reserve, o.Ballast, o.CommitInterval = 1, -1, 20*time.Millisecond
	s, err := Open(filepath.Join(disk.dir, "store"), o)
	require.NoError(t, err)
	defer s.Close()
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 30})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	require.NoError(t, d.WriteZeroes(ctx, 0, badBlocks*BlockSize, true, true))
	command(t, "sync", "-f", disk.dir)
	disk.spoil(dataFile(t, d), badBlocks/2*BlockSize, badBlocks*BlockSize)

	var writers []*badWriter
	var wg sync.WaitGroup
	wrong := make([]error, badWriters)
	for i := range badWriters {
		w := &badWriter{d: d, rng: rand.New(rand.NewPCG(uint64(i), 7)), id: int64(i), acked: map[int64]uint64{}, clean: map[int64]bool{}}
		writers = append(writers, w)
		wg.Go(func() { wrong[i] = w.run() })
	}
	wg.Wait()
	require.NoError(t, errors.Join(wrong...))

	before, err := s.Volume(ctx, "v")
	require.NoError(t, err)
	require.NotEmpty(t, before.Failure.Ranges)
	unread := 0
	for _, w := range writers {
		for at := range w.acked {
			b := make([]byte, BlockSize)
			err := d.ReadAt(ctx, b, at*BlockSize)
			if errors.Is(err, ErrFailed) {
				unread++
				require.True(t, before.Failure.names(at*BlockSize))
				continue
			}
			require.NoError(t, err)
			require.True(t, w.holds(at, b), "block %d", at)
		}
	}
	require.NotZero(t, unread)
	require.ErrorIs(t, d.Close(), ErrFailed)

	disk.mend()
	after, err := s.AcceptLoss(ctx, "v", "")
	require.NoError(t, err)
	require.LessOrEqual(t, after.Failure.Bytes, before.Failure.Bytes)
	d = openVolume(t, s, "v")
	lost := 0
	for _, w := range writers {
		for at := range w.acked {
			b := make([]byte, BlockSize)
			require.NoError(t, d.ReadAt(ctx, b, at*BlockSize))
			if w.holds(at, b) {
				continue
			}
			lost++
			require.False(t, w.clean[at], "block %d was flushed, and is lost", at)
			require.True(t, after.Failure.names(at*BlockSize), "block %d is lost and not named", at)
		}
	}
	require.NotZero(t, lost, "the disk was bad")
	require.NoError(t, d.WriteAt(ctx, block(1), (badBlocks-1)*BlockSize, true), "it goes on")
	finish(t, s, d)
}
