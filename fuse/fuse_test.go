package fuse

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryDisk is a disk that does what a test wants.
type memoryDisk struct {
	mu      sync.Mutex
	data    []byte
	fail    error                 // of every call, if not nil
	reading func(context.Context) // called by ReadAt; may be nil
	opens   atomic.Int32          // minus closes
	flushes atomic.Int32
}

func (d *memoryDisk) Size() int64 { return int64(len(d.data)) }

func (d *memoryDisk) failing() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fail
}

func (d *memoryDisk) setFail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = err
}

func (d *memoryDisk) ReadAt(ctx context.Context, p []byte, off int64) error {
	if d.reading != nil {
		d.reading(ctx)
	}
	if err := d.failing(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if off > int64(len(d.data)) {
		return errors.New("beyond the end")
	}
	copy(p, d.data[off:])
	return nil
}

func (d *memoryDisk) WriteAt(_ context.Context, p []byte, off int64, _ bool) error {
	if err := d.failing(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	copy(d.data[off:], p)
	return nil
}

func (d *memoryDisk) WriteZeroes(_ context.Context, off, length int64, _, _ bool) error {
	if err := d.failing(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.data[off:][:length])
	return nil
}

func (d *memoryDisk) Flush(context.Context) error {
	d.flushes.Add(1)
	return d.failing()
}

func (d *memoryDisk) Extents(_ context.Context, _, length int64, yield func(int64, bool, bool) bool) error {
	yield(length, false, true)
	return d.failing()
}

func (d *memoryDisk) Close() error {
	d.opens.Add(-1)
	return nil
}

// shelf is a collection of memory disks.
type shelf map[string]*memoryDisk

func (s shelf) Sealed() bool { return false }

func (s shelf) List(context.Context) (list []Entry, err error) {
	for name := range s {
		e, _ := s.Entry(context.Background(), name)
		list = append(list, e)
	}
	return list, nil
}

func (s shelf) Entry(_ context.Context, name string) (Entry, error) {
	d := s[name]
	if d == nil {
		return Entry{}, fs.ErrNotExist
	}
	return Entry{Name: name, ID: name, Size: d.Size(), Created: time.Unix(1, 0), Info: map[string]string{"name": name}}, nil
}

func (s shelf) Open(_ context.Context, name string) (Disk, error) {
	s[name].opens.Add(1)
	return s[name], nil
}

func (s shelf) Peek(ctx context.Context, name string) (Disk, error) { return s.Open(ctx, name) }

// served is a mount of volumes, with what was logged.
type served struct {
	*Server
	dir string
	log *lockedLog
}

func serve(t *testing.T, volumes shelf, write ...string) *served {
	t.Helper()
	if _, err := os.Stat(device); err != nil {
		t.Skip("this host has no /dev/fuse")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root mounts without fusermount3 being set up")
	}
	m := &served{dir: t.TempDir(), log: new(lockedLog)}
	o := Options{Images: shelf{}, Volumes: volumes, Writable: map[string]WritableDisk{}, Logger: slog.New(slog.NewTextHandler(m.log, nil))}
	for _, name := range write {
		o.Writable[name] = volumes[name]
	}
	dev, err := Mount(t.Context(), m.dir, MountOptions{ReadOnly: len(write) == 0})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = unix.Unmount(m.dir, unix.MNT_DETACH)
		if m.Server != nil {
			m.ends(t)
		}
	})
	m.Server, err = Serve(dev, o)
	require.NoError(t, err)
	return m
}

// ends waits for the end of the mount.
func (m *served) ends(t *testing.T) {
	t.Helper()
	select {
	case <-m.Done():
	case <-time.After(time.Minute):
		t.Fatal("the mount does not end")
	}
}

// openFile opens a file by plain system calls, see the package's hazards.
func (m *served) openFile(t *testing.T, path string, flags int) int {
	t.Helper()
	fd, err := unix.Open(m.dir+"/"+path, flags|unix.O_CLOEXEC, 0)
	require.NoError(t, err, path)
	return fd
}

func (m *served) read(t *testing.T, path string) string {
	t.Helper()
	fd := m.openFile(t, path, unix.O_RDONLY)
	defer unix.Close(fd)
	p := make([]byte, 64<<10)
	n, err := unix.Pread(fd, p, 0)
	require.NoError(t, err, path)
	return string(p[:n])
}

type lockedLog struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestHostileTables: what a disk says of itself has no say.
func TestHostileTables(t *testing.T) {
	overlap := make([]byte, 1<<20)
	for i, start := range []byte{1, 100} { // both of 1000 sectors
		e := overlap[446+16*i:]
		e[4], e[8], e[12], e[13] = 0x83, start, 0xe8, 3
	}
	overlap[510], overlap[511] = 0x55, 0xaa
	beyond := append([]byte{}, overlap...)
	clear(beyond[462:478])
	beyond[446+15] = 0xff
	protective := append([]byte{}, beyond...)
	protective[446+4] = 0xee
	for name, r := range map[string]struct {
		data []byte
		says string
	}{
		"overlap": {overlap, "overlaps"}, "beyond": {beyond, "corrupt"}, "half": {protective, "corrupt"},
		"none": {make([]byte, 1<<20), ""}, "tiny": {make([]byte, 512), ""},
	} {
		m := serve(t, shelf{name: {data: r.data}})
		var st unix.Stat_t
		require.ErrorIs(t, unix.Stat(m.dir+"/volumes/"+name+"/p1", &st), unix.ENOENT, name)
		info := m.read(t, "volumes/"+name+"/info.json")
		if r.says == "" {
			require.NotContains(t, info, "partitionTable", name)
		} else {
			require.Contains(t, info, r.says, name)
		}
		require.Len(t, m.read(t, "volumes/"+name+"/disk"), min(len(r.data), 64<<10))
		require.Empty(t, m.log.String())
	}
}

// TestErrorsAreTold: the caller gets an errno, the log the reason.
func TestErrorsAreTold(t *testing.T) {
	d := &memoryDisk{data: make([]byte, 1<<20)}
	m := serve(t, shelf{"web": d}, "web")
	fd := m.openFile(t, "volumes/web/disk", unix.O_RDWR)
	defer unix.Close(fd)
	p := make([]byte, 4096)
	calls := map[string]func() error{
		"read":  func() error { _, err := unix.Pread(fd, p, 0); return err },
		"write": func() error { _, err := unix.Pwrite(fd, p, 0); return err },
		"fsync": func() error { return unix.Fsync(fd) },
		"punch": func() error { return unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 0, 4096) },
		"lseek": func() error { _, err := unix.Seek(fd, 0, unix.SEEK_DATA); return err },
	}
	for name, call := range calls {
		for _, c := range []struct {
			err  error
			want error
		}{
			{nil, nil}, {syscall.EIO, unix.EIO}, {syscall.ENOSPC, unix.ENOSPC}, {syscall.EDQUOT, unix.ENOSPC},
			{&os.PathError{Op: "open", Path: "layers/7", Err: syscall.ENOENT}, unix.EIO}, {nil, nil},
		} {
			d.setFail(c.err)
			require.ErrorIs(t, call(), c.want, "%s: %v", name, c.err)
		}
	}
	require.Contains(t, m.log.String(), "layers/7")
	require.Contains(t, m.log.String(), "volumes/web/disk")
	require.Positive(t, d.flushes.Load())
}

// TestStopUnderReads ends a server while calls run: they are waited for, nothing
// stays open, and what comes later fails.
func TestStopUnderReads(t *testing.T) {
	entered, leave := make(chan struct{}, 8), make(chan struct{})
	d := &memoryDisk{data: make([]byte, 1<<20), reading: func(context.Context) { entered <- struct{}{}; <-leave }}
	m := serve(t, shelf{"web": d})
	fd := m.openFile(t, "volumes/web/disk", unix.O_RDONLY)
	defer unix.Close(fd)
	require.EqualValues(t, 1, d.opens.Load())

	read := make(chan error, 1)
	go func() {
		_, err := unix.Pread(fd, make([]byte, 512), 0)
		read <- err
	}()
	<-entered
	late, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, m.Stop(late), context.Canceled)
	require.EqualValues(t, 1, d.opens.Load(), "the call still runs")
	close(leave)
	require.NoError(t, <-read)
	require.NoError(t, m.Stop(t.Context()))
	require.Zero(t, d.opens.Load())
	_, err := unix.Pread(fd, make([]byte, 512), 1<<20-512)
	require.Error(t, err)
	_, err = unix.Open(m.dir+"/volumes/web/disk", unix.O_RDONLY, 0)
	require.Error(t, err)
	require.NoError(t, m.Stop(t.Context()), "again")
}

// TestServeOfMountInUse: a device whose first request somebody has read holds nobody
// up.
func TestServeOfMountInUse(t *testing.T) {
	if _, err := os.Stat(device); err != nil || os.Geteuid() != 0 {
		t.Skip("only root mounts, with /dev/fuse")
	}
	dir := t.TempDir()
	dev, err := Mount(t.Context(), dir, MountOptions{})
	require.NoError(t, err)
	unmount := sync.OnceValue(func() error { return unix.Unmount(dir, unix.MNT_DETACH) })
	defer unmount()
	_, err = unix.Read(int(dev.Fd()), make([]byte, 1<<20))
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() {
		_, err := Serve(dev, Options{Images: shelf{}, Volumes: shelf{}})
		served <- err
	}()
	select {
	case err = <-served:
	case <-time.After(time.Minute):
		require.NoError(t, unmount()) // ends the read
		err = <-served
	}
	require.ErrorContains(t, err, "first request does not come")
}

// TestCloses: every open ends in a close, whatever the kernel does about it.
func TestCloses(t *testing.T) {
	d := &memoryDisk{data: make([]byte, 1<<20)}
	m := serve(t, shelf{"web": d})
	for range 50 {
		unix.Close(m.openFile(t, "volumes/web/disk", unix.O_RDONLY))
		var st unix.Stat_t
		require.NoError(t, unix.Stat(m.dir+"/volumes/web/info.json", &st))
	}
	lazy, err := Unmount(t.Context(), m.dir)
	require.NoError(t, err)
	require.False(t, lazy)
	m.ends(t)
	require.Zero(t, d.opens.Load())
	_, err = Unmount(t.Context(), m.dir)
	require.ErrorIs(t, err, ErrNotMounted)
}
