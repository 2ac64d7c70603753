package fuse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"goldstream/blockstore"
)

// slotIn mounts a slot that opens what open says.
func slotIn(t *testing.T, open func(ctx context.Context, volume string) (WritableDisk, error)) *Slot {
	t.Helper()
	return slotWith(t, SlotOptions{Open: open, ownCalls: true})
}

func slotWith(t *testing.T, o SlotOptions) *Slot {
	t.Helper()
	if _, err := os.Stat(device); err != nil {
		t.Skip("this host has no /dev/fuse")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root mounts for others")
	}
	above := t.TempDir()
	require.NoError(t, os.Chmod(above, 0o700))
	dir := filepath.Join(above, "slot")
	require.NoError(t, os.Mkdir(dir, 0o700))
	s, err := MountSlot(t.Context(), dir, o)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(t, s.Close(ctx))
	})
	return s
}

// slotOf opens memory disks.
func slotOf(t *testing.T, volumes shelf) *Slot {
	return slotIn(t, func(_ context.Context, volume string) (WritableDisk, error) {
		d := volumes[volume]
		if d == nil {
			return nil, errors.New("no such volume")
		}
		d.opens.Add(1)
		return d, nil
	})
}

func (s *Slot) openFile(t *testing.T, flags int) int {
	t.Helper()
	fd, err := unix.Open(s.Path(), flags|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	return fd
}

func (s *Slot) size(t *testing.T) int64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Stat(s.Path(), &st))
	return st.Size
}

func TestSlotShowsOneVolumeAtATime(t *testing.T) {
	one := &memoryDisk{data: bytes.Repeat([]byte("one."), 4096)}
	two := &memoryDisk{data: bytes.Repeat([]byte("two."), 8192)}
	s := slotOf(t, shelf{"one": one, "two": two})
	ctx := t.Context()
	require.Zero(t, s.size(t))
	_, err := unix.Open(s.Path(), unix.O_RDONLY, 0)
	require.ErrorIs(t, err, unix.ENXIO)
	require.Error(t, s.Detach(ctx))
	require.Error(t, s.Attach(ctx, "three", false))

	require.NoError(t, s.Attach(ctx, "one", false))
	require.ErrorIs(t, s.Attach(ctx, "two", false), syscall.EBUSY)
	require.EqualValues(t, len(one.data), s.size(t))
	old := s.openFile(t, unix.O_RDWR)
	defer unix.Close(old)
	p := make([]byte, 4)
	_, err = unix.Pread(old, p, 0)
	require.NoError(t, err)
	require.Equal(t, "one.", string(p))
	_, err = unix.Pwrite(old, []byte("ONE."), 0)
	require.NoError(t, err)
	require.NoError(t, s.Detach(ctx))
	require.Equal(t, "ONE.", string(one.data[:4]))
	require.EqualValues(t, 1, one.flushes.Load(), "though nobody asked")
	require.Zero(t, one.opens.Load())
	require.Zero(t, s.size(t))

	for range 2 { // while it is empty, and while the next volume is there
		_, err = unix.Pread(old, p, 0)
		require.ErrorIs(t, err, unix.EIO)
		_, err = unix.Pwrite(old, p, 0)
		require.ErrorIs(t, err, unix.EIO)
		require.ErrorIs(t, unix.Fsync(old), unix.EIO)
		if s.now.Load() == nil {
			require.NoError(t, s.Attach(ctx, "two", true))
		}
	}
	require.EqualValues(t, len(two.data), s.size(t))
	_, err = unix.Open(s.Path(), unix.O_RDWR, 0)
	require.ErrorIs(t, err, unix.EROFS)
	fd := s.openFile(t, unix.O_RDONLY)
	defer unix.Close(fd)
	_, err = unix.Pread(fd, p, 0)
	require.NoError(t, err)
	require.Equal(t, "two.", string(p))
	require.NoError(t, s.Detach(ctx))
	require.Zero(t, two.flushes.Load(), "nothing was written")
}

// TestSlotIsForOthers reads and writes as a user who owns nothing, whom only a
// descriptor brings past the directory above.
func TestSlotIsForOthers(t *testing.T) {
	d := &memoryDisk{data: make([]byte, 1<<20)}
	s := slotOf(t, shelf{"web": d})
	require.NoError(t, s.Attach(t.Context(), "web", false))
	asNobody := func(of string, fd int, command string) error {
		cmd := exec.Command("sh", "-c", command)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		slot := os.NewFile(uintptr(fd), of)
		defer slot.Close()
		cmd.ExtraFiles = []*os.File{slot}
		cmd.Dir = "/"
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	fd, err := unix.Open(s.Path(), unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, asNobody("slot", fd, "printf written | dd of=/proc/self/fd/3 conv=notrunc,fsync 2>&1 && cmp -n 7 /proc/self/fd/3 /dev/stdin <<E\nwritten\nE"))
	d.mu.Lock()
	require.Equal(t, "written", string(d.data[:7]))
	d.mu.Unlock()
	require.Error(t, exec.Command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "cat", s.Path()).Run())
	require.NoError(t, s.Detach(t.Context()))
}

// TestSlotRemembersErrors: a guest that does not look, or hides it, does not matter.
func TestSlotRemembersErrors(t *testing.T) {
	d := &memoryDisk{data: make([]byte, 1<<20)}
	s := slotOf(t, shelf{"web": d})
	ctx := t.Context()
	p := make([]byte, 4096)
	for name, c := range map[string]struct {
		err                    error
		do                     func(fd int)
		reads, writes, flushes int64
	}{
		"read":  {syscall.EIO, func(fd int) { _, _ = unix.Pread(fd, p, 0) }, 1, 0, 0},
		"write": {syscall.EIO, func(fd int) { _, _ = unix.Pwrite(fd, p, 0); _, _ = unix.Pwrite(fd, p, 0) }, 0, 2, 0},
		"space": {syscall.ENOSPC, func(fd int) { _, _ = unix.Pwrite(fd, p, 0) }, 0, 1, 0},
		"punch": {syscall.EIO, func(fd int) { _ = unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 0, 4096) }, 0, 1, 0},
		"flush": {syscall.EIO, func(fd int) { _ = unix.Fsync(fd) }, 0, 0, 1},
	} {
		require.NoError(t, s.Attach(ctx, "web", false))
		fd := s.openFile(t, unix.O_RDWR)
		require.NoError(t, s.Failed())
		d.setFail(c.err)
		c.do(fd)
		d.setFail(nil)
		_, err := unix.Pwrite(fd, p, 0) // goes on as if nothing had been
		require.NoError(t, err)
		require.NoError(t, unix.Fsync(fd))
		unix.Close(fd)
		require.ErrorIs(t, s.Failed(), c.err, name)
		err = s.Detach(ctx)
		require.ErrorIs(t, err, c.err, name)
		var e *DiskErrors
		require.ErrorAs(t, err, &e)
		require.Equal(t, [3]int64{c.reads, c.writes, c.flushes}, [3]int64{e.Reads, e.Writes, e.Flushes}, name)
		require.Contains(t, err.Error(), `"web"`)
	}
	// The flush at the end alone fails.
	require.NoError(t, s.Attach(ctx, "web", false))
	d.setFail(syscall.EIO)
	require.ErrorIs(t, s.Detach(ctx), syscall.EIO)
	d.setFail(nil)
	// The next one begins anew.
	require.NoError(t, s.Attach(ctx, "web", false))
	require.NoError(t, s.Detach(ctx))
}

// TestSlotReadsBeyondTheEnd: that is the end of a file, no failure of the store.
func TestSlotReadsBeyondTheEnd(t *testing.T) {
	d := &memoryDisk{data: make([]byte, 1<<20)}
	s := slotOf(t, shelf{"web": d})
	require.NoError(t, s.Attach(t.Context(), "web", false))
	fd := s.openFile(t, unix.O_RDONLY)
	defer unix.Close(fd)
	p := make([]byte, 64<<10)
	for off, want := range map[int64]int{1<<20 - 512: 512, 1 << 20: 0, 1<<20 + 1: 0, 2 << 20: 0} {
		n, err := unix.Pread(fd, p, off)
		require.NoError(t, err, off)
		require.Equal(t, want, n, off)
	}
	require.NoError(t, s.Detach(t.Context()))
}

// stormy is a disk each of whose calls waits until its caller got many signals, and
// fails if it was told to give up.
type stormy struct {
	*memoryDisk
	signals *atomic.Int64
	calm    *atomic.Bool // the storm is over
}

func (d stormy) wait(ctx context.Context) error {
	for until := d.signals.Load() + 50; d.signals.Load() < until && ctx.Err() == nil && !d.calm.Load(); {
		runtime.Gosched()
	}
	return ctx.Err()
}

func (d stormy) ReadAt(ctx context.Context, p []byte, off int64) error {
	return errors.Join(d.wait(ctx), d.memoryDisk.ReadAt(ctx, p, off))
}

func (d stormy) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	return errors.Join(d.wait(ctx), d.memoryDisk.WriteAt(ctx, p, off, fua))
}

func (d stormy) Flush(ctx context.Context) error {
	return errors.Join(d.wait(ctx), d.memoryDisk.Flush(ctx))
}

// TestSlotIsNotInterrupted reads and writes under a storm of signals, in which
// kernels in a cell live by their timers.
func TestSlotIsNotInterrupted(t *testing.T) {
	d := stormy{&memoryDisk{data: make([]byte, 1<<20)}, new(atomic.Int64), new(atomic.Bool)}
	s := slotIn(t, func(context.Context, string) (WritableDisk, error) { return d, nil })
	require.NoError(t, s.Attach(t.Context(), "web", false))
	fd := s.openFile(t, unix.O_RDWR)
	defer unix.Close(fd)
	thread, done := make(chan int), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		done <- readAndWrite(fd)
	}()
	// The runtime takes SIGURG at any time, and restarts system calls.
	for tid := <-thread; ; d.signals.Add(1) {
		select {
		case err := <-done:
			d.calm.Store(true)
			require.NoError(t, err)
			require.NoError(t, s.Detach(t.Context()))
			return
		default:
			_ = unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // the thread may have ended
		}
	}
}

func readAndWrite(fd int) error {
	for i := range int64(20) {
		want, got := bytes.Repeat([]byte{byte(i + 1)}, 4096), make([]byte, 4096)
		n, err := unix.Pwrite(fd, want, i<<12)
		m, e := unix.Pread(fd, got, i<<12)
		if err = errors.Join(err, e, unix.Fsync(fd)); err != nil {
			return err
		}
		if n != len(want) || m != len(got) || !bytes.Equal(want, got) {
			return fmt.Errorf("round %d: %d bytes written and %d read, which differ", i, n, m)
		}
	}
	return nil
}

// TestSlotDetachesUnderLoad detaches while many read and write: no call reaches the
// volume after it was closed.
func TestSlotDetachesUnderLoad(t *testing.T) {
	d := &memoryDisk{data: make([]byte, 1<<20)}
	late := make(chan string, 1)
	d.reading = func(context.Context) {
		if d.opens.Load() < 1 {
			select {
			case late <- "read after close":
			default:
			}
		}
	}
	s := slotOf(t, shelf{"web": d})
	for range 10 {
		require.NoError(t, s.Attach(t.Context(), "web", false))
		var wg sync.WaitGroup
		started := make(chan struct{}, 8)
		for i := range 8 {
			fd := s.openFile(t, unix.O_RDWR)
			wg.Add(1)
			go func() {
				defer wg.Done()
				defer unix.Close(fd)
				p := make([]byte, 4096)
				for n := 0; ; n++ {
					_, err := unix.Pread(fd, p, int64(i)<<12)
					if err == nil {
						_, err = unix.Pwrite(fd, p, int64(i)<<12)
					}
					if err != nil {
						return
					}
					if n == 3 {
						started <- struct{}{}
					}
				}
			}()
		}
		for range 8 {
			<-started
		}
		require.NoError(t, s.Detach(t.Context()))
		wg.Wait()
	}
	require.Empty(t, late)
}

// TestSlotCutsCallsShort: what waits for the store does not keep a volume attached.
func TestSlotCutsCallsShort(t *testing.T) {
	entered := make(chan struct{}, 1)
	d := &stallingDisk{memoryDisk{data: make([]byte, 1<<20)}, entered}
	s := slotIn(t, func(context.Context, string) (WritableDisk, error) { return d, nil })
	require.NoError(t, s.Attach(t.Context(), "web", false))
	fd := s.openFile(t, unix.O_RDWR)
	defer unix.Close(fd)
	written := make(chan error, 1)
	go func() {
		_, err := unix.Pwrite(fd, make([]byte, 512), 0)
		written <- err
	}()
	<-entered
	now, cancel := context.WithCancel(t.Context())
	cancel()
	var e *DiskErrors
	require.ErrorAs(t, s.Detach(now), &e)
	require.EqualValues(t, 1, e.Writes)
	require.ErrorIs(t, <-written, unix.EIO)
	require.NoError(t, s.Attach(t.Context(), "web", false), "the slot is as good as new")
	require.NoError(t, s.Detach(t.Context()))
}

// stallingDisk has writes wait for the end of their context.
type stallingDisk struct {
	memoryDisk
	entered chan struct{}
}

func (d *stallingDisk) WriteAt(ctx context.Context, _ []byte, _ int64, _ bool) error {
	d.entered <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

// TestSlotAgain attaches volumes of a real store hundreds of times, and runs one of
// them out of its quota.
func TestSlotAgain(t *testing.T) {
	store, err := blockstore.Open(filepath.Join(t.TempDir(), "blocks"), blockstore.Options{FullStall: -1, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	ctx := t.Context()
	for _, name := range []string{"one", "two"} {
		_, err := store.CreateVolume(ctx, blockstore.CloneRequest{Name: name, Size: 1 << 20})
		require.NoError(t, err)
	}
	s := slotIn(t, func(ctx context.Context, volume string) (WritableDisk, error) {
		d, err := store.OpenVolume(ctx, volume)
		if err != nil {
			return nil, err
		}
		return d, nil
	})
	cycle := func(i int) {
		volume := []string{"one", "two"}[i%2]
		require.NoError(t, s.Attach(ctx, volume, false))
		fd := s.openFile(t, unix.O_RDWR)
		_, err := unix.Pwrite(fd, fmt.Appendf(nil, "%04d %s", i, volume), 0)
		require.NoError(t, err)
		if i%3 > 0 { // else it is closed after the detach
			unix.Close(fd)
		}
		require.NoError(t, s.Detach(ctx))
		if i%3 == 0 {
			unix.Close(fd)
		}
	}
	cycle(0)
	cycle(1)
	before := descriptorsOpen(t)
	for i := range 300 {
		cycle(i)
	}
	require.Eventually(t, func() bool { return descriptorsOpen(t) <= before }, time.Minute, 10*time.Millisecond)
	for i, name := range []string{"one", "two"} {
		v, err := store.Volume(ctx, name)
		require.NoError(t, err)
		require.Zero(t, v.Open)
		d, err := store.OpenVolume(ctx, name)
		require.NoError(t, err)
		p := make([]byte, 8)
		require.NoError(t, d.ReadAt(ctx, p, 0))
		require.NoError(t, d.Close())
		require.Equal(t, fmt.Sprintf("%04d %s", 298+i, name), string(p))
	}

	_, err = store.SetQuota(ctx, "one", 64<<10)
	require.NoError(t, err)
	require.NoError(t, s.Attach(ctx, "one", false))
	fd := s.openFile(t, unix.O_RDWR)
	_, err = unix.Pwrite(fd, bytes.Repeat([]byte("x"), 512<<10), 0)
	require.ErrorIs(t, err, unix.ENOSPC)
	unix.Close(fd)
	require.ErrorIs(t, s.Detach(ctx), syscall.ENOSPC)
}

func descriptorsOpen(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}

func TestSlotMounts(t *testing.T) {
	s := slotOf(t, shelf{"web": {data: make([]byte, 4096)}})
	// A directory that others may enter.
	open := t.TempDir()
	require.NoError(t, os.Chmod(open, 0o711))
	require.NoError(t, os.Mkdir(filepath.Join(open, "slot"), 0o700))
	_, err := MountSlot(t.Context(), filepath.Join(open, "slot"), SlotOptions{})
	require.ErrorContains(t, err, "0700")

	// What a process left that was killed.
	require.NoError(t, os.Chmod(open, 0o700))
	dev, err := Mount(t.Context(), filepath.Join(open, "slot"), MountOptions{AllowOther: true})
	require.NoError(t, err)
	dev.Close()
	again, err := MountSlot(t.Context(), filepath.Join(open, "slot"), SlotOptions{ownCalls: true})
	require.NoError(t, err)
	require.Zero(t, again.size(t))
	require.NoError(t, again.Close(t.Context()))

	// Somebody still has the file open.
	require.NoError(t, s.Attach(t.Context(), "web", false))
	fd := s.openFile(t, unix.O_RDONLY)
	late, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, s.Close(late), "still")
	_, err = unix.Pread(fd, make([]byte, 512), 0)
	require.ErrorIs(t, err, unix.EIO)
	unix.Close(fd)
	require.NoError(t, s.Close(t.Context()))
	require.Error(t, s.Attach(t.Context(), "web", false))
}

// TestSlotThatIsStuck tells so, in a way that a pool understands.
func TestSlotThatIsStuck(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	d := &memoryDisk{data: make([]byte, 1<<20), reading: func(context.Context) { close(entered); <-leave }}
	s := slotOf(t, shelf{"web": d})
	require.NoError(t, s.Attach(t.Context(), "web", false))
	fd := s.openFile(t, unix.O_RDONLY)
	defer unix.Close(fd)
	read := make(chan error, 1)
	go func() {
		_, err := unix.Pread(fd, make([]byte, 512), 0)
		read <- err
	}()
	<-entered
	now, cancel := context.WithCancel(t.Context())
	cancel()
	var e interface{ Stuck() bool }
	require.ErrorAs(t, s.Detach(now), &e)
	require.True(t, e.Stuck())
	require.ErrorIs(t, s.Attach(t.Context(), "web", false), syscall.EBUSY)
	require.EqualValues(t, 1, d.opens.Load(), "the call still runs")
	close(leave)
	require.NoError(t, <-read)
}
