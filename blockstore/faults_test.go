package blockstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// hookedFS is the host's file system with hooks that run before an operation
// on a data file: to fail it, or to hold it while a test does something else.
type hookedFS struct {
	osFS
	datasync, read, direct func() error
	write, punch           func()
	wrote                  func(off int64, n int) // before it is
	syncs                  atomic.Int64
	pebble                 vfs.FS
}

func (f *hookedFS) Pebble() vfs.FS {
	if f.pebble != nil {
		return f.pebble
	}
	return f.osFS.Pebble()
}

func (f *hookedFS) Create(path string) (file, error) { return f.hook(f.osFS.Create(path)) }
func (f *hookedFS) Open(path string, write bool) (file, error) {
	return f.hook(f.osFS.Open(path, write))
}

func (f *hookedFS) OpenDirect(path string) (file, error) {
	if f.direct != nil {
		if err := f.direct(); err != nil {
			return nil, err
		}
	}
	return f.osFS.OpenDirect(path)
}

func (f *hookedFS) hook(inner file, err error) (file, error) {
	if err != nil {
		return nil, err
	}
	return hookedFile{inner, f}, nil
}

type hookedFile struct {
	file
	fs *hookedFS
}

func (f hookedFile) Datasync() error {
	f.fs.syncs.Add(1)
	if f.fs.datasync != nil {
		if err := f.fs.datasync(); err != nil {
			return err
		}
	}
	return f.file.Datasync()
}

func (f hookedFile) ReadAt(p []byte, off int64) error {
	if f.fs.read != nil {
		if err := f.fs.read(); err != nil {
			return err
		}
	}
	return f.file.ReadAt(p, off)
}

func (f hookedFile) WriteAt(p []byte, off int64) error {
	if f.fs.write != nil {
		f.fs.write()
	}
	if f.fs.wrote != nil {
		f.fs.wrote(off, len(p))
	}
	return f.file.WriteAt(p, off)
}

func (f hookedFile) Punch(off, length int64) error {
	if f.fs.punch != nil {
		f.fs.punch()
	}
	return f.file.Punch(off, length)
}

// pause holds the next caller of hold until the test lets it go on.
type pause struct {
	armed atomic.Bool
	in    chan struct{}
	out   chan struct{}
}

func newPause() *pause { return &pause{in: make(chan struct{}), out: make(chan struct{})} }

func (p *pause) hold() error {
	if p.armed.Swap(false) {
		p.in <- struct{}{}
		<-p.out
	}
	return nil
}

// once fails the next call with EIO.
type once struct{ armed atomic.Bool }

func (o *once) fail() error {
	if o.armed.Swap(false) {
		return unix.EIO
	}
	return nil
}

// hooked opens a store with a volume "v" of 1 GiB that never commits by itself.
func hooked(t *testing.T, fs *hookedFS) (s *Store, d *Disk, dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := Open(dir, hookedOptions(fs))
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 30})
	require.NoError(t, err)
	return s, openVolume(t, s, "v"), dir
}

func hookedOptions(fs *hookedFS) Options {
	o := testOptions()
	o.fs, o.CommitInterval, o.CommitBytes = fs, time.Hour, 1<<40
	return o
}

func block(b byte) []byte { return bytes.Repeat([]byte{b}, BlockSize) }

func firstByte(t *testing.T, d *Disk, off int64) byte {
	t.Helper()
	b := make([]byte, 1)
	require.NoError(t, d.ReadAt(ctx, b, off))
	return b[0]
}

func finish(t *testing.T, s *Store, disks ...*Disk) {
	t.Helper()
	for _, d := range disks {
		require.NoError(t, d.Close())
	}
	require.NoError(t, s.Close())
}

// finishFailed is finish for a store of which a volume or the metadata failed.
func finishFailed(t *testing.T, s *Store, disks ...*Disk) {
	t.Helper()
	for _, d := range disks {
		require.ErrorIs(t, d.Close(), ErrFailed)
	}
	_ = s.Close() // it may say so again
}

func async(fn func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	return done
}

func TestNoMapBeforeData(t *testing.T) {
	var disk once
	s, d, _ := hooked(t, &hookedFS{datasync: disk.fail})
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	disk.armed.Store(true)
	require.ErrorIs(t, d.Flush(ctx), ErrFailed)
	seq, err := s.flushedSeq(d.v.entry.lineage.id)
	require.NoError(t, err)
	require.Zero(t, seq)
	require.ErrorIs(t, d.Close(), ErrFailed)
	finish(t, s)
}

func TestFlushCoversOtherHandles(t *testing.T) {
	fs := &hookedFS{}
	s, d, _ := hooked(t, fs)
	other := openVolume(t, s, "v")
	before := fs.syncs.Load()
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	require.NoError(t, other.Flush(ctx))
	require.False(t, d.v.ring.pending())
	require.EqualValues(t, 1, fs.syncs.Load()-before)
	finish(t, s, d, other)
}

func TestARunningCommitHidesNothing(t *testing.T) {
	p := newPause()
	s, d, _ := hooked(t, &hookedFS{datasync: p.hold})
	require.NoError(t, d.WriteAt(ctx, block(7), 512<<20, false))
	p.armed.Store(true)
	flush := async(func() error { return d.Flush(ctx) })
	<-p.in
	allocated, err := allocatedOf(ctx, d)
	require.NoError(t, err)
	require.EqualValues(t, BlockSize, allocated)
	require.NoError(t, d.WriteZeroes(ctx, 0, 1<<30, false, false))
	p.out <- struct{}{}
	require.NoError(t, <-flush)
	require.Zero(t, firstByte(t, d, 512<<20))
	finish(t, s, d)
}

// TestChangesDuringACommitStayUncommitted: a block that is trimmed while its
// data is being committed needs an intent for its next write.
func TestChangesDuringACommitStayUncommitted(t *testing.T) {
	p := newPause()
	s, d, dir := hooked(t, &hookedFS{datasync: p.hold})
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	p.armed.Store(true)
	flush := async(func() error { return d.Flush(ctx) })
	<-p.in
	require.NoError(t, d.Trim(ctx, 0, BlockSize, false))
	p.out <- struct{}{}
	require.NoError(t, <-flush)
	require.NoError(t, d.WriteAt(ctx, block(2), 0, false))
	require.NoError(t, d.Flush(ctx))
	require.NoError(t, d.WriteAt(ctx, block(3), 0, false))
	s.kill()
	s = openStore(t, dir)
	d = openVolume(t, s, "v")
	require.EqualValues(t, 3, firstByte(t, d, 0))
	finish(t, s, d)
}

func TestAGrowIsAFlushToo(t *testing.T) {
	p := newPause()
	s, d, _ := hooked(t, &hookedFS{datasync: p.hold})
	require.NoError(t, d.WriteAt(ctx, block(7), 0, false))
	p.armed.Store(true)
	first := async(func() error { return d.Flush(ctx) })
	<-p.in
	require.NoError(t, d.WriteAt(ctx, block(9), 64<<20, false))
	grow := async(func() error { _, err := s.GrowVolume(ctx, "v", 2<<30); return err })
	time.Sleep(20 * time.Millisecond) // the grow is to queue first
	second := async(func() error { return d.Flush(ctx) })
	time.Sleep(20 * time.Millisecond)
	p.out <- struct{}{}
	require.NoError(t, errors.Join(<-first, <-grow, <-second))
	require.False(t, d.v.ring.pending())
	require.False(t, d.v.top.Load().layer.known()[0].unsynced.Load())
	finish(t, s, d)
}

func TestGrowUnderReadersAndWriters(t *testing.T) {
	s, d, _ := hooked(t, &hookedFS{})
	var stop atomic.Bool
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if i == 0 {
					_ = d.WriteAt(ctx, block(1), int64(n%60)<<24, false)
				} else {
					_, _ = allocatedOf(ctx, d)
				}
			}
		})
	}
	for i := range 30 {
		_, err := s.GrowVolume(ctx, "v", 1<<30+int64(i)<<20)
		require.NoError(t, err)
	}
	stop.Store(true)
	wg.Wait()
	finish(t, s, d)
}

func TestAPunchNeverMeetsAWrite(t *testing.T) {
	p := newPause()
	s, d, _ := hooked(t, &hookedFS{punch: func() { _ = p.hold() }})
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	p.armed.Store(true)
	trim := async(func() error { return d.Trim(ctx, 0, BlockSize, false) })
	<-p.in
	write := async(func() error { return d.WriteAt(ctx, block(2), 0, false) })
	time.Sleep(20 * time.Millisecond)
	p.out <- struct{}{}
	require.NoError(t, errors.Join(<-trim, <-write))
	require.EqualValues(t, 2, firstByte(t, d, 0))
	finish(t, s, d)
}

func TestASealWaitsForWrites(t *testing.T) {
	p := newPause()
	s, d, _ := hooked(t, &hookedFS{write: func() { _ = p.hold() }})
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	p.armed.Store(true)
	write := async(func() error { return d.WriteAt(ctx, block(2), 0, false) })
	<-p.in
	seal := async(func() error { _, err := s.CaptureImage(ctx, "v", ImportRequest{Name: "c"}); return err })
	select {
	case <-seal:
		require.Fail(t, "sealed under a write")
	case <-time.After(100 * time.Millisecond):
	}
	p.out <- struct{}{}
	require.NoError(t, errors.Join(<-write, <-seal))
	finish(t, s, d)
}

// TestAFullRingLosesNothing writes twice what the ring holds and kills.
func TestAFullRingLosesNothing(t *testing.T) {
	s, d, dir := hooked(t, &hookedFS{})
	const blocks = 4000
	for i := range blocks {
		require.NoError(t, d.WriteAt(ctx, block(byte(1+i%250)), int64(i)<<blockShift, false))
	}
	s.kill()
	s = openStore(t, dir)
	d = openVolume(t, s, "v")
	for i := range blocks {
		require.EqualValues(t, 1+i%250, firstByte(t, d, int64(i)<<blockShift), "block %d", i)
	}
	finish(t, s, d)
}

// TestRecoveryDoesNotTakeAnErrorForANo: an acknowledged write that cannot be
// read now is not dropped; the volume opens when it can be read again.
func TestRecoveryDoesNotTakeAnErrorForANo(t *testing.T) {
	var disk once
	fs := &hookedFS{read: disk.fail}
	s, d, dir := hooked(t, fs)
	require.NoError(t, d.WriteAt(ctx, block(7), 0, false))
	s.kill()
	s, err := Open(dir, hookedOptions(fs))
	require.NoError(t, err)
	disk.armed.Store(true)
	_, err = s.OpenVolume(ctx, "v")
	require.ErrorIs(t, err, unix.EIO)
	d = openVolume(t, s, "v")
	require.EqualValues(t, 7, firstByte(t, d, 0))
	finish(t, s, d)
}

// TestEvictionSparesUnsyncedFiles: an unsynced file stays open, whatever the
// limit says, until its sync has seen every error.
func TestEvictionSparesUnsyncedFiles(t *testing.T) {
	s, d, _ := hooked(t, &hookedFS{})
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	seg := d.v.top.Load().layer.known()[0]
	require.False(t, seg.closeIdle())
	require.NotNil(t, seg.tryAcquire(), "the handle works after the attempt")
	seg.handle.Load().release()
	require.NoError(t, d.Flush(ctx))
	require.True(t, seg.closeIdle())
	require.EqualValues(t, 1, firstByte(t, d, 0))
	finish(t, s, d)
}

func TestCloseWithAnOpenVolume(t *testing.T) {
	s, d, dir := hooked(t, &hookedFS{})
	require.NoError(t, d.WriteAt(ctx, block(7), 0, false))
	require.ErrorIs(t, s.Close(), ErrInUse)
	require.ErrorIs(t, d.WriteAt(ctx, block(8), 0, false), ErrClosed)
	require.EqualValues(t, 7, firstByte(t, d, 0), "reads go on")
	_, err := s.OpenVolume(ctx, "v")
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, s.closeParts()) // as the end of the process does
	s = openStore(t, dir)
	d = openVolume(t, s, "v")
	require.EqualValues(t, 7, firstByte(t, d, 0))
	finish(t, s, d)
}

// heldSource waits before each piece.
type heldSource struct {
	memorySource
	next chan struct{}
}

func (h *heldSource) Next(c context.Context, p []byte) (int, bool, error) {
	<-h.next
	return h.memorySource.Next(c, p)
}

func TestCloseWaitsForAnImport(t *testing.T) {
	s := openStore(t, t.TempDir())
	src := &heldSource{memorySource{data: pattern(1, 8<<20)}, make(chan struct{})}
	done := async(func() error { _, err := s.ImportImage(ctx, src, ImportRequest{Name: "x"}); return err })
	src.next <- struct{}{}
	closed := async(s.Close)
	select {
	case <-closed:
		require.Fail(t, "closed under an import")
	case <-time.After(50 * time.Millisecond):
	}
	close(src.next)
	require.NoError(t, errors.Join(<-done, <-closed))
}

// wrongSource breaks the contract of a Source.
type wrongSource struct {
	memorySource
	n    int
	size int64
}

func (w *wrongSource) Size() int64 { return w.size }
func (w *wrongSource) Next(context.Context, []byte) (int, bool, error) {
	if w.at++; w.at > 1 {
		return 0, false, io.EOF
	}
	return w.n, false, nil
}

func TestSourcesThatLie(t *testing.T) {
	s := openStore(t, t.TempDir())
	for _, src := range []*wrongSource{{n: 32 << 20, size: -1}, {n: -512, size: -1}, {n: 0, size: -1}, {n: 512, size: 1 << 30}} {
		_, err := s.ImportImage(ctx, src, ImportRequest{Name: "x"})
		require.Error(t, err, "%d of %d", src.n, src.size)
	}
	images, err := s.Images(ctx)
	require.NoError(t, err)
	require.Empty(t, images)
}

func TestVerifyLearnsNothingFromADamagedRead(t *testing.T) {
	var disk once
	s, d, _ := hooked(t, &hookedFS{direct: disk.fail})
	s.keeper.stop()
	require.NoError(t, d.WriteAt(ctx, block(7), 0, false))
	_, err := s.CaptureImage(ctx, "v", ImportRequest{Name: "c"})
	require.NoError(t, err)
	disk.armed.Store(true)
	report, err := s.VerifyImage(ctx, "c", nil)
	require.NoError(t, err)
	require.Len(t, report.Bad, 1)
	require.Zero(t, report.Learnt)
	for _, learnt := range []int64{RegionSize, 0} {
		report, err = s.VerifyImage(ctx, "c", nil)
		require.NoError(t, err)
		require.Empty(t, report.Bad)
		require.Equal(t, learnt, report.Learnt)
	}
	finish(t, s, d)
}

// brokenLogs fails what Pebble does with its write-ahead logs once armed: the
// sync, after the bytes are down, or the creation of the next one.
type brokenLogs struct {
	vfs.FS
	sync, create *atomic.Bool
}

func (b brokenLogs) Create(path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(path, ".log") && b.create.Load() {
		return nil, unix.EIO
	}
	f, err := b.FS.Create(path, c)
	return b.wrap(path, f, err)
}

func (b brokenLogs) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasSuffix(to, ".log") && b.create.Load() {
		return nil, unix.EIO
	}
	f, err := b.FS.ReuseForWrite(from, to, c)
	return b.wrap(to, f, err)
}

func (b brokenLogs) wrap(path string, f vfs.File, err error) (vfs.File, error) {
	if err == nil && strings.HasSuffix(path, ".log") {
		f = brokenLog{f, b.sync}
	}
	return f, err
}

type brokenLog struct {
	vfs.File
	broken *atomic.Bool
}

func (l brokenLog) fault() error {
	if l.broken.Load() {
		return unix.EIO
	}
	return nil
}

func (l brokenLog) Sync() error     { return errors.Join(l.File.Sync(), l.fault()) }
func (l brokenLog) SyncData() error { return errors.Join(l.File.SyncData(), l.fault()) }
func (l brokenLog) SyncTo(n int64) (bool, error) {
	full, err := l.File.SyncTo(n)
	return full, errors.Join(err, l.fault())
}

// TestAFailedCommitKeepsTheData: a commit that failed may be durable all the
// same, so what it names must not be reclaimed.
func TestAFailedCommitKeepsTheData(t *testing.T) {
	var sync, create atomic.Bool
	fs := &hookedFS{pebble: brokenLogs{vfs.Default, &sync, &create}}
	s, d, dir := hooked(t, fs)
	data := pattern(1, 8<<20)
	src := &heldSource{memorySource{data: data}, make(chan struct{})}
	done := async(func() error { _, err := s.ImportImage(ctx, src, ImportRequest{Name: "x"}); return err })
	src.next <- struct{}{}
	sync.Store(true)
	close(src.next)
	require.ErrorIs(t, <-done, ErrFailed)
	require.ErrorIs(t, s.DeleteVolume(ctx, "v", ""), ErrInUse)
	require.Zero(t, firstByte(t, d, 0), "reads go on")
	require.ErrorIs(t, d.WriteAt(ctx, block(1), 0, false), ErrFailed)
	require.NoError(t, d.Close())
	_ = s.Close()
	sync.Store(false)
	s = openStore(t, dir)
	if img, err := s.OpenImage(ctx, "x"); err == nil {
		require.True(t, bytes.Equal(data, readAll(t, img)))
		require.NoError(t, img.Close())
	} else {
		require.ErrorIs(t, err, ErrNotFound)
	}
	finish(t, s)
}

// TestAnotherDirectoryIsNotTaken: a store is made only where nothing stands.
func TestAnotherDirectoryIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/thesis.tex", []byte("years"), 0o600))
	_, err := Open(dir, testOptions())
	require.ErrorIs(t, err, ErrInvalid)
	require.True(t, strings.Contains(err.Error(), "thesis.tex"))
}

// TestTheNextLogCannotBeMade: Pebble would end the process. Run in a process
// of its own, for the goroutine that stands still never ends.
func TestTheNextLogCannotBeMade(t *testing.T) {
	if os.Getenv("GOLDSTREAM_TEST_HALT") == "" {
		runSelf(t, "GOLDSTREAM_TEST_HALT=1")
		return
	}
	var sync, create atomic.Bool
	s, d, _ := hooked(t, &hookedFS{pebble: brokenLogs{vfs.Default, &sync, &create}})
	require.NoError(t, d.WriteAt(ctx, block(5), 0, true))
	create.Store(true)
	go func() { _ = s.db.Flush() }() // rotates the log; stands still
	require.Eventually(t, func() bool { return s.usable() != nil }, waitLong, waitTick)
	require.ErrorIs(t, d.WriteAt(ctx, block(6), 0, true), ErrFailed)
	require.EqualValues(t, 5, firstByte(t, d, 0), "reads go on")
	os.Exit(0) // the leak is meant
}

// runSelf runs the calling test again in a process with more environment.
func runSelf(t *testing.T, env string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	// It ends without cleaning up: its directories are below one of the caller's.
	cmd.Env = append(os.Environ(), env, "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
