package blockstore

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// diskFS is the host's file system with as much free space as a test says,
// less what the store has written to it since.
type diskFS struct {
	hookedFS
	free, total atomic.Int64
	least       atomic.Int64 // that free ever was
	mu          sync.Mutex
	held        map[string]map[int64]bool // blocks of each file
}

func newDiskFS(free, total int64) *diskFS {
	fs := &diskFS{held: map[string]map[int64]bool{}}
	fs.free.Store(free)
	fs.total.Store(total)
	fs.least.Store(math.MaxInt64)
	return fs
}

func (f *diskFS) Free(string) (free, total int64, err error) {
	return f.free.Load(), f.total.Load(), nil
}

func (f *diskFS) Create(path string) (file, error) { return f.count(path)(f.hookedFS.Create(path)) }
func (f *diskFS) Open(path string, write bool) (file, error) {
	return f.count(path)(f.hookedFS.Open(path, write))
}

func (f *diskFS) count(path string) func(file, error) (file, error) {
	return func(inner file, err error) (file, error) {
		if err != nil {
			return nil, err
		}
		return diskFile{inner, f, path}, nil
	}
}

type diskFile struct {
	file
	fs   *diskFS
	path string
}

// book notes that the blocks of a range are held, or no longer. The host's own
// books are not exact: a file takes some blocks for itself.
func (f diskFile) book(off, n int64, hold bool) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	held := f.fs.held[f.path]
	if held == nil {
		held = map[int64]bool{}
		f.fs.held[f.path] = held
	}
	for block := off >> blockShift; block<<blockShift < off+n; block++ {
		if held[block] == hold {
			continue
		}
		if hold {
			held[block] = true
			f.fs.least.Store(min(f.fs.least.Load(), f.fs.free.Add(-BlockSize)))
		} else {
			delete(held, block)
			f.fs.free.Add(BlockSize)
		}
	}
}

func (f diskFile) WriteAt(p []byte, off int64) error {
	f.book(off, int64(len(p)), true)
	return f.file.WriteAt(p, off)
}

func (f diskFile) Punch(off, n int64) error {
	err := f.file.Punch(off, n)
	if err == nil {
		f.book(off, n, false)
	}
	return err
}

// fullDisk opens a store with a volume "v" of 1 GiB on a disk where blocks
// blocks may be written before the reserve is reached.
func fullDisk(t *testing.T, blocks int64, stall time.Duration) (*Store, *Disk, *diskFS) {
	t.Helper()
	const reserve = 64 << 20
	fs := newDiskFS(reserve+blocks*BlockSize, 1<<30)
	o := hookedOptions(nil)
	o.fs, o.Reserve, o.FullStall = fs, reserve, stall
	s, err := Open(t.TempDir(), o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	fs.free.Add(1 << 30) // a new volume wants more
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 30})
	require.NoError(t, err)
	fs.free.Store(reserve + blocks*BlockSize) // what the store's own files took is not the test's
	s.space.look()
	return s, openVolume(t, s, "v"), fs
}

// stalls waits until n writes wait for room.
func stalls(t *testing.T, s *Store, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return int(s.space.waiters.Load()) == n }, waitLong, waitTick)
}

// TestAFirstWriteStallsAndGoesOn: it waits at the reserve, and nothing but
// first writes does; when space comes back it is written.
func TestAFirstWriteStallsAndGoesOn(t *testing.T) {
	s, d, fs := fullDisk(t, 8, time.Hour)
	for i := range int64(8) {
		require.NoError(t, d.WriteAt(ctx, block(1), i*BlockSize, false))
	}
	first := async(func() error { return d.WriteAt(ctx, block(2), 100<<20, true) })
	stalls(t, s, 1)

	require.NoError(t, d.WriteAt(ctx, block(3), 0, false), "overwrite of what no commit has taken")
	require.NoError(t, d.Flush(ctx))
	require.NoError(t, d.WriteAt(ctx, block(4), 0, true), "overwrite of what is committed")
	require.EqualValues(t, 4, firstByte(t, d, 0))
	require.Zero(t, firstByte(t, d, 100<<20))
	_, err := s.CaptureImage(ctx, "v", ImportRequest{Name: "c"})
	require.NoError(t, err, "a seal does not wait for the stalled write")
	_, err = s.GrowVolume(ctx, "v", 2<<30)
	require.NoError(t, err)
	require.NoError(t, d.Trim(ctx, 7*BlockSize, BlockSize, true))
	require.EqualValues(t, 1, s.space.waiters.Load(), "a block of a sealed layer is not freed")
	select {
	case err := <-first:
		require.Fail(t, "written without space", "%v", err)
	default:
	}

	fs.free.Add(BlockSize)
	require.NoError(t, <-first)
	require.EqualValues(t, 2, firstByte(t, d, 100<<20))
	finish(t, s, d)
}

// TestATrimLetsAStalledWriteGoOn: also one of the blocks that the write is to.
func TestATrimLetsAStalledWriteGoOn(t *testing.T) {
	s, d, _ := fullDisk(t, 2, time.Hour)
	require.NoError(t, d.WriteAt(ctx, randomBytes(2*BlockSize), 0, false))
	want := randomBytes(3 * BlockSize)
	first := async(func() error { return d.WriteAt(ctx, want, BlockSize, false) }) // has one, wants two
	stalls(t, s, 1)
	require.NoError(t, d.Trim(ctx, 0, BlockSize, false))
	stalls(t, s, 1)
	require.NoError(t, d.WriteAt(ctx, block(9), BlockSize, false), "the stalled write holds no lock on its blocks")
	require.NoError(t, d.WriteZeroes(ctx, BlockSize, BlockSize, false, false))
	stalls(t, s, 1) // now it wants three and there are two
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "w", Size: 1 << 20})
	require.ErrorIs(t, err, ErrNoSpace)
	s.space.fs.(*diskFS).free.Add(BlockSize)
	require.NoError(t, <-first)
	got := make([]byte, len(want))
	require.NoError(t, d.ReadAt(ctx, got, BlockSize))
	require.Equal(t, want, got)
	finish(t, s, d)
}

func TestAStallEnds(t *testing.T) {
	s, d, _ := fullDisk(t, 0, 20*time.Millisecond)
	err := d.WriteAt(ctx, block(1), 0, false)
	require.ErrorIs(t, err, ErrNoSpace)
	require.ErrorIs(t, err, unix.ENOSPC)
	require.Zero(t, s.space.outstanding.Load())
	require.Zero(t, firstByte(t, d, 0))

	s.o.FullStall = time.Hour
	for _, noHole := range []bool{false, true} {
		c, cancel := context.WithCancelCause(ctx)
		gone := errors.New("the client has gone")
		first := async(func() error {
			if noHole {
				return d.WriteZeroes(c, 1, BlockSize, true, false)
			}
			return d.WriteAt(c, block(1), 0, false)
		})
		stalls(t, s, 1)
		cancel(gone)
		require.ErrorIs(t, <-first, gone)
		require.Zero(t, s.space.outstanding.Load())
	}
	finish(t, s, d)
}

// TestCloseEndsStalls: a store that closes does not wait for space.
func TestCloseEndsStalls(t *testing.T) {
	s, d, _ := fullDisk(t, 0, time.Hour)
	first := async(func() error { return d.WriteAt(ctx, block(1), 0, false) })
	stalls(t, s, 1)
	require.ErrorIs(t, s.Close(), ErrInUse)
	require.ErrorIs(t, <-first, ErrClosed)
	require.NoError(t, s.closeParts())
}

// TestOnStall: who asked is told of a stall, and can end it.
func TestOnStall(t *testing.T) {
	s, d, fs := fullDisk(t, 0, time.Hour)
	var begun, over atomic.Int64
	enough := errors.New("enough")
	wait, end := context.WithCancelCause(ctx)
	c := OnStall(ctx, func() (context.Context, func()) {
		begun.Add(1)
		return wait, func() { over.Add(1) }
	})
	first := async(func() error { return d.WriteAt(c, block(1), 0, false) })
	stalls(t, s, 1)
	require.EqualValues(t, 1, begun.Load())
	require.Zero(t, over.Load())
	fs.free.Add(BlockSize)
	require.NoError(t, <-first)
	require.EqualValues(t, 1, over.Load())

	second := async(func() error { return d.WriteAt(c, block(1), BlockSize, false) })
	stalls(t, s, 1)
	end(enough)
	require.ErrorIs(t, <-second, enough)
	require.EqualValues(t, 2, over.Load())
	finish(t, s, d)
}

// TestManyStallAndAllGoOn: nobody takes what another one was given, nobody is
// forgotten, and the reserve is never touched.
func TestManyStallAndAllGoOn(t *testing.T) {
	const writers = 64
	s, d, fs := fullDisk(t, 3, time.Hour)
	results := make(chan error, writers)
	for i := range int64(writers) {
		go func() {
			results <- d.WriteAt(ctx, randomBytes(int(1+i%3)*BlockSize), i*RegionSize+100, false)
		}()
	}
	for done := 0; done < writers; {
		select {
		case err := <-results:
			require.NoError(t, err)
			done++
		case <-time.After(time.Millisecond):
			fs.free.Add(BlockSize)
			s.space.wake()
		}
	}
	require.GreaterOrEqual(t, fs.least.Load(), int64(64<<20), "the reserve")
	require.Zero(t, s.space.outstanding.Load())
	require.Zero(t, s.space.waiters.Load())
	finish(t, s, d)
}
