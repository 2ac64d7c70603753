package store

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fail makes every call return ErrFailed from now on.
func (s *Store) fail(cause error) {
	s.once.Do(func() {
		s.o.Logger.Error("lifecycle store failed", "dir", s.dir, "err", cause)
		s.cause = cause
		close(s.halted)
	})
}

func (s *Store) failure() error {
	<-s.halted
	return errf(ErrFailed, "the store in %s failed (%v): mend the disk, or make room on it, and restart; only then it is known whether the last change was done", s.dir, s.cause)
}

// halt fails the store and never returns: Pebble would panic or end the process.
func (s *Store) halt(cause error) {
	s.fail(cause)
	select {}
}

// pebbleLogger passes Pebble's words on. Its Fatalf must not return.
type pebbleLogger struct{ s *Store }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.s.o.Logger.Debug("pebble: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.s.o.Logger.Error("pebble: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) { l.s.halt(fmt.Errorf(format, args...)) }

// haltFS stops Pebble where its write-ahead log or its directory cannot be
// written, once the store is open. Pebble would panic, there or when the log is
// closed. Other files it makes anew by itself.
type haltFS struct {
	vfs.FS
	s *Store
}

func (fs haltFS) final(path string, err error) error {
	if err != nil && fs.s.ready.Load() {
		fs.s.halt(fmt.Errorf("%s: %w", path, err))
	}
	return err
}

func (fs haltFS) log(path string, f vfs.File, err error) (vfs.File, error) {
	if !strings.HasSuffix(path, ".log") {
		return f, err
	}
	if fs.final(path, err) != nil {
		return nil, err
	}
	return haltFile{f, path, fs}, nil
}

func (fs haltFS) Create(path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(path, c)
	return fs.log(path, f, err)
}

func (fs haltFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(from, to, c)
	return fs.log(to, f, err)
}

func (fs haltFS) OpenDir(path string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(path)
	if err != nil || filepath.Clean(path) != fs.s.database() {
		return f, err
	}
	return haltFile{f, path, fs}, nil
}

// haltFile is a write-ahead log or the directory.
type haltFile struct {
	vfs.File
	path string
	fs   haltFS
}

func (f haltFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.fs.final(f.path, err)
}

func (f haltFile) Sync() error     { return f.fs.final(f.path, f.File.Sync()) }
func (f haltFile) SyncData() error { return f.fs.final(f.path, f.File.SyncData()) }
func (f haltFile) Close() error    { return f.fs.final(f.path, f.File.Close()) }

func (f haltFile) SyncTo(n int64) (bool, error) {
	full, err := f.File.SyncTo(n)
	return full, f.fs.final(f.path, err)
}

func (f haltFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	return info, f.fs.final(f.path, err)
}
