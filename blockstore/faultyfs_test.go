package blockstore

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// faultyFS is the host's file system with one hook: fault is asked before
// every operation on it and its files, and what it returns is the outcome. A
// write that fails has written its first half.
type faultyFS struct {
	osFS
	mu    sync.Mutex
	fault func(op, path string) error
}

// set replaces the hook; nil ends all faults.
func (f *faultyFS) set(fault func(op, path string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// failing makes one operation fail from now on.
func (f *faultyFS) failing(op string, err error) {
	f.set(func(at, _ string) error {
		if at == op {
			return err
		}
		return nil
	})
}

// failingRings makes an operation on intent rings fail.
func (f *faultyFS) failingRings(op string, err error) {
	f.set(func(at, path string) error {
		if at == op && strings.Contains(path, "/rings/") {
			return err
		}
		return nil
	})
}

func (f *faultyFS) ask(op, path string) error {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(op, path)
}

func (f *faultyFS) Create(path string) (file, error) {
	if err := f.ask("create", path); err != nil {
		return nil, err
	}
	return f.wrap(path)(f.osFS.Create(path))
}

func (f *faultyFS) Open(path string, write bool) (file, error) {
	op := "open"
	if write {
		op = "open-write"
	}
	if err := f.ask(op, path); err != nil {
		return nil, err
	}
	return f.wrap(path)(f.osFS.Open(path, write))
}

func (f *faultyFS) OpenDirect(path string) (file, error) {
	if err := f.ask("open-direct", path); err != nil {
		return nil, err
	}
	return f.wrap(path)(f.osFS.OpenDirect(path))
}

func (f *faultyFS) Map(path string, size int) (mapping, error) {
	if err := f.ask("map", path); err != nil {
		return nil, err
	}
	return f.osFS.Map(path, size)
}

func (f *faultyFS) MapExisting(path string, size int) (mapping, error) {
	if err := f.ask("map-existing", path); err != nil {
		return nil, err
	}
	return f.osFS.MapExisting(path, size)
}

func (f *faultyFS) wrap(path string) func(file, error) (file, error) {
	return func(inner file, err error) (file, error) {
		if err != nil {
			return nil, err
		}
		return faultyFile{inner, f, path}, nil
	}
}

type faultyFile struct {
	file
	fs   *faultyFS
	path string
}

func (f faultyFile) WriteAt(p []byte, off int64) error {
	if err := f.fs.ask("write", f.path); err != nil {
		_ = f.file.WriteAt(p[:len(p)/2], off)
		return err
	}
	return f.file.WriteAt(p, off)
}

func (f faultyFile) ReadAt(p []byte, off int64) error {
	if err := f.fs.ask("read", f.path); err != nil {
		return err
	}
	return f.file.ReadAt(p, off)
}

func (f faultyFile) Datasync() error {
	if err := f.fs.ask("sync", f.path); err != nil {
		return err
	}
	return f.file.Datasync()
}

// faulty opens a store with a volume "v" of 1 GiB that never commits by itself.
func faulty(t *testing.T) (fs *faultyFS, s *Store, d *Disk, dir string) {
	t.Helper()
	fs, dir = &faultyFS{}, t.TempDir()
	s = reopenFaulty(t, fs, dir, "")
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 30})
	require.NoError(t, err)
	return fs, s, openVolume(t, s, "v"), dir
}

// epoch returns the epoch of volume "v".
func epoch(t *testing.T, s *Store) uint64 {
	t.Helper()
	info, err := s.Volume(ctx, "v")
	require.NoError(t, err)
	return info.Epoch
}

// logTo has a store log into a buffer that may be read after its Close.
func logTo(o *Options) *bytes.Buffer {
	var b bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&b, nil))
	return &b
}

// reopenFaulty opens a store in a boot of the host; "" is the real one.
func reopenFaulty(t *testing.T, fs *faultyFS, dir, boot string) *Store {
	t.Helper()
	o := testOptions()
	o.fs, o.bootID, o.CommitInterval, o.CommitBytes = fs, boot, time.Hour, 1<<40
	s, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}
