package blockstore

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatVersion is the newest layout of the directory that this code reads
// and the one that it writes.
const formatVersion = 1

const formatMagic = "goldstream block store, format "

// prepare checks the format of the store, or makes an empty one. A store is
// made in an order that leaves no FORMAT file before everything else stands.
func prepare(s *Store) error {
	path := filepath.Join(s.dir, "FORMAT")
	b, err := s.fs.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return create(s, path)
	}
	if err != nil {
		return err
	}
	version, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(string(b)), formatMagic))
	if err != nil {
		return errf(ErrCorrupt, "%s is not the format file of a store", path)
	}
	if version > formatVersion {
		return errf(ErrFormat, "the store in %s has format %d; this program reads up to %d: use a newer goldstream", s.dir, version, formatVersion)
	}
	return nil
}

func create(s *Store, formatPath string) error {
	for _, dir := range []string{s.layersDir(), filepath.Join(s.dir, "rings")} {
		if names, err := s.fs.List(dir); err != nil || len(names) > 0 {
			return errors.Join(err, errf(ErrCorrupt, "%s has data but no FORMAT file: the store is damaged; restore FORMAT and meta from a backup", s.dir))
		}
		if err := s.fs.Mkdir(dir); err != nil {
			return err
		}
	}
	if err := checkEmpty(s); err != nil {
		return err
	}
	// Left over from a creation that was cut short: nothing refers to it.
	if err := s.fs.RemoveAll(s.metaDir()); err != nil {
		return err
	}
	// Opened twice: the first write-ahead log of a new store is made before
	// Pebble takes up its newest format, whose log chunks find a lost tail.
	db, err := pebble.Open(s.metaDir(), s.pebbleOptions())
	if err != nil {
		return fmt.Errorf("cannot make the metadata in %s: %w", s.metaDir(), err)
	}
	if err := db.Close(); err != nil {
		return err
	}
	return writeSynced(s, map[string][]byte{
		filepath.Join(s.dir, "seq"): make([]byte, 8),
		s.idPath():                  []byte(newID() + "\n"),
		formatPath:                  []byte(formatMagic + strconv.Itoa(formatVersion) + "\n"),
	}, filepath.Join(s.dir, "seq"), s.idPath(), formatPath)
}

// checkEmpty refuses to make a store where something else stands, or where
// one has lost its FORMAT file.
func checkEmpty(s *Store) error {
	names, err := s.fs.List(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains([]string{"LOCK", "ballast", "checkpoints", "layers", "rings", "meta", "scrub", "scrub.new", "seq", "seq.new", "id", "id.new", "FORMAT.new"}, name) {
			return errf(ErrInvalid, "%s is no store and not empty (%q stands there): choose another directory", s.dir, name)
		}
	}
	b, err := s.fs.ReadFile(filepath.Join(s.dir, "seq"))
	if err == nil && !isZero(b[:min(len(b), 8)]) {
		return errf(ErrCorrupt, "%s has metadata but no FORMAT file: the store is damaged; restore FORMAT from a backup", s.dir)
	}
	return nil
}

// writeSynced writes small files durably, in the given order.
func writeSynced(s *Store, content map[string][]byte, order ...string) error {
	for _, path := range order {
		fresh := path + ".new"
		if err := s.fs.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		f, err := s.fs.Create(fresh)
		if err != nil {
			return err
		}
		if err := errors.Join(f.WriteAt(content[path], 0), f.Datasync(), f.Close()); err != nil {
			return err
		}
		if err := s.fs.Rename(fresh, path); err != nil {
			return err
		}
		if err := s.fs.SyncDir(s.dir); err != nil {
			return err
		}
	}
	return s.fs.SyncDir(filepath.Dir(s.dir))
}

func (s *Store) pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FS:                 logFS{metaFS{s.fs.Pebble(), s}, s},
		FormatMajorVersion: pebble.FormatNewest,
		Merger:             mapMerger,
		Logger:             pebbleLogger{s},
		EventListener:      &pebble.EventListener{DataCorruption: s.tableDamaged},
		// Reopening must not invent a new database where one is missing.
		ErrorIfNotExists: s.exists(),
		MemTableSize:     8 << 20,
		CacheSize:        16 << 20,
	}
	if s.o.tune != nil {
		s.o.tune(o)
	}
	return o
}

// tableDamaged is told of damage that a read or a compaction found. The one who
// reads gets it as an error. Pebble's own answer is Fatalf, at which readers
// would stand still.
func (s *Store) tableDamaged(d pebble.DataCorruptionInfo) {
	_ = s.fail(fmt.Errorf("its metadata is damaged: %s", d))
}

func (s *Store) exists() bool {
	_, err := s.fs.ReadFile(filepath.Join(s.dir, "FORMAT"))
	return err == nil
}

// pebbleLogger passes Pebble's words on. Its Fatalf must not return and must
// not end the process, on which a thousand root disks may hang: the store
// becomes read-only and the goroutine stops where it is.
type pebbleLogger struct{ s *Store }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.s.o.Logger.Debug("pebble: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.s.o.Logger.Error("pebble: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.s.halt(fmt.Errorf(format, args...))
}

// stand makes the store read-only and never returns: Pebble cannot go on from
// where it is, and may hold its locks there. Reads need none of them.
func (s *Store) halt(cause error) {
	s.giveUp(cause)
	select {}
}

// giveUp makes the store read-only, and has nobody wait for Pebble any more.
func (s *Store) giveUp(cause error) {
	_ = s.fail(cause)
	s.halted.give()
}

// logFS is the file system given to Pebble. Where Pebble would panic, the
// store becomes read-only instead: for the last write-ahead log cannot be ended
// or the next not be made, or a directory not be synced.
type logFS struct {
	vfs.FS
	s *Store
}

// isLog tells that a file is a write-ahead log of the metadata, and no copy of
// one in a checkpoint.
func (fs logFS) isLog(path string) bool { return strings.HasSuffix(path, ".log") && fs.s.inMeta(path) }

func (s *Store) inMeta(path string) bool {
	return path == s.metaDir() || filepath.Dir(path) == s.metaDir()
}

// halt stands still if Pebble would panic on err.
func (fs logFS) halt(what string, err error) {
	if err != nil && fs.s.ready.Load() {
		fs.s.halt(fmt.Errorf("%s: %w", what, err))
	}
}

func (fs logFS) Create(path string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(path, c)
	return fs.log(path, f, err)
}

func (fs logFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(from, to, c)
	return fs.log(to, f, err)
}

func (fs logFS) OpenDir(path string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(path)
	if err != nil {
		return nil, err
	}
	if path != fs.s.metaDir() {
		return f, nil
	}
	return logDir{f, fs}, nil
}

func (fs logFS) log(path string, f vfs.File, err error) (vfs.File, error) {
	if !fs.isLog(path) {
		return f, err
	}
	fs.halt("write-ahead log", err)
	if err != nil {
		return nil, err
	}
	ahead, err := newLogAhead(f)
	fs.halt("write-ahead log", err)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &logFile{File: f, fs: fs, ahead: ahead}, nil
}

type logDir struct {
	vfs.File
	fs logFS
}

func (d logDir) Sync() error {
	err := d.File.Sync()
	d.fs.halt("directory of the metadata", err)
	return err
}

// logFile is a write-ahead log. Writes and syncs that fail come back to the
// commits that wait for them; the panic would follow when the log is closed.
type logFile struct {
	vfs.File
	fs     logFS
	ahead  logAhead
	failed atomic.Pointer[error] // the first
}

func (f *logFile) note(err error) error {
	if err != nil {
		f.failed.CompareAndSwap(nil, &err)
	}
	return err
}

func (f *logFile) Write(p []byte) (int, error) {
	if err := f.ahead.grow(f.fs.s.space, len(p)); err != nil {
		return 0, f.note(err)
	}
	n, err := f.File.Write(p)
	f.ahead.at += int64(n)
	return n, f.note(err)
}

func (f *logFile) Sync() error     { return f.note(f.File.Sync()) }
func (f *logFile) SyncData() error { return f.note(f.File.SyncData()) }

func (f *logFile) SyncTo(n int64) (bool, error) {
	full, err := f.File.SyncTo(n)
	return full, f.note(err)
}

func (f *logFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	f.fs.halt("write-ahead log", err)
	return info, err
}

func (f *logFile) Close() error {
	err := f.note(f.File.Close())
	if failed := f.failed.Load(); failed != nil {
		f.fs.halt("write-ahead log", *failed)
	}
	return err
}

// owner is what the LOCK file says.
type owner struct {
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Started time.Time `json:"started"`
}

// lockOwner takes the exclusive right to a store's directory.
func lockOwner(fs hostFS, dir string) (io.Closer, error) {
	host, _ := os.Hostname()
	who, _ := json.Marshal(owner{PID: os.Getpid(), Host: host, Started: time.Now().UTC().Truncate(time.Second)})
	l, held, err := fs.Lock(filepath.Join(dir, "LOCK"), append(who, '\n'))
	if err == nil {
		return l, nil
	}
	if !errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("cannot lock the store: %w", err)
	}
	var o owner
	if json.Unmarshal(held, &o) == nil && o.PID != 0 {
		return nil, errf(ErrLocked, "the store in %s is used by process %d on %s since %s: stop it first, or use its commands",
			dir, o.PID, o.Host, o.Started.Format(time.RFC3339))
	}
	return nil, errf(ErrLocked, "the store in %s is used by another process: stop it first", dir)
}

// witness remembers outside of Pebble how far its commits went, since a
// damaged write-ahead log is otherwise taken for one that ended earlier.
type witness struct {
	m    mapping
	mu   sync.Mutex
	seq  uint64
	gone bool // a page of the mapping is
	stop chan struct{}
	done chan struct{}
}

func (s *Store) openWitness() error {
	path := filepath.Join(s.dir, "seq")
	if _, err := s.fs.ReadFile(path); err != nil {
		return errf(ErrCorrupt, "%s is missing: it says how far the metadata goes; restore the store from a backup", path)
	}
	m, err := s.fs.Map(path, 8)
	if err != nil {
		return err
	}
	want, err := readSequence(m)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", path, err), m.Close())
	}
	if s.sequence, err = s.storedSequence(); err != nil {
		m.Close()
		return err
	}
	if s.sequence < want {
		m.Close()
		return errf(ErrCorrupt, "metadata in %s lost its tail: it ends at commit %d, but commit %d was durable; go back to a checkpoint (goldstream store restore-checkpoint), or accept the loss (goldstream store accept)", s.metaDir(), s.sequence, want)
	}
	s.witness = &witness{m: m, seq: s.sequence, stop: make(chan struct{}), done: make(chan struct{})}
	if err := s.witness.store(); err != nil {
		s.witness = nil
		return errors.Join(fmt.Errorf("%s: %w", path, err), m.Close())
	}
	go s.witness.syncEachSecond()
	return nil
}

func sequenceBytes(seq uint64) []byte { return binary.LittleEndian.AppendUint64(nil, seq) }
func parseSequence(b []byte) uint64   { return binary.LittleEndian.Uint64(b) }

// storedSequence returns the sequence of the last commit that the metadata has.
func (s *Store) storedSequence() (uint64, error) {
	b, closer, err := s.db.Get(sequenceKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, errf(ErrCorrupt, "metadata in %s is damaged: %v", s.metaDir(), err)
	}
	defer closer.Close()
	if len(b) != 8 {
		return 0, errf(ErrCorrupt, "metadata in %s is damaged: its sequence has %d bytes", s.metaDir(), len(b))
	}
	return parseSequence(b), nil
}

// now returns the sequence of the newest commit known durable.
func (w *witness) now() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seq
}

// advance records that commit seq is durable, and with it all before. It
// returns an error, once, when that cannot be remembered any more.
func (w *witness) advance(seq uint64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if seq <= w.seq {
		return nil
	}
	w.seq = seq
	if w.gone {
		return nil
	}
	err := w.store()
	w.gone = err != nil
	return err
}

func (w *witness) store() (err error) {
	defer catchFault(w.m.Bytes(), debug.SetPanicOnFault(true), &err)
	binary.LittleEndian.PutUint64(w.m.Bytes(), w.seq)
	return nil
}

func readSequence(m mapping) (seq uint64, err error) {
	defer catchFault(m.Bytes(), debug.SetPanicOnFault(true), &err)
	return parseSequence(m.Bytes()), nil
}

func (w *witness) syncEachSecond() {
	defer close(w.done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var synced uint64
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		seq := w.seq
		w.mu.Unlock()
		if seq != synced && w.m.Sync() == nil {
			synced = seq
		}
	}
}

func (w *witness) close() error {
	close(w.stop)
	<-w.done
	return errors.Join(w.m.Sync(), w.m.Close())
}
