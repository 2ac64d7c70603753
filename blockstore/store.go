package blockstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"
)

// Store is an open block store. Its methods may be called from many
// goroutines. There is one Store for a directory at a time, in any process.
//
// The directory holds:
//
//	FORMAT   format version of the store, written last when it is made
//	id       32 hex digits that no other store has
//	LOCK     locked by the owner, and says who that is
//	seq      sequence of the newest metadata commit known durable
//	meta/    Pebble: names, lineages, extent maps
//	ballast  space that is given up when metadata finds none
//	layers/  LINEAGE-VERSION/SEGMENT: the data
//	rings/   LINEAGE: intent rings of volumes open for write
//	checkpoints/ TIME-SEQUENCE: copies of meta
//	meta.instant-N/  a copy of meta that is being read (instant.go)
//	restoring, meta.restoring/   a restore under way (restoreplan.go)
//	before-restore-TIME/         what one has replaced
//	scrub    what the last scrub found, and how far it is, JSON
type Store struct {
	dir    string
	meta   string // where the metadata stands, if not in dir/meta (offline.go)
	o      Options
	fs     hostFS
	lock   io.Closer
	db     *pebble.DB
	closed atomic.Bool
	ready  atomic.Bool // between Open and Close
	ops    sync.WaitGroup
	bad    atomic.Pointer[error] // why the store no longer takes changes
	failed signal                // fail was called
	halted signal                // Pebble stands still for good

	witness *witness
	files   *fileTable
	space   *space
	pages   *pageCache
	cat     *catalogue
	pacer   *pacer

	counted  storeCounts
	queue    commitQueue
	commits  sync.WaitGroup // the goroutine that commits
	sequence uint64         // of the last batch; that goroutine's

	views struct {
		sync.Mutex
		m map[layerID]*view
	}
	layers struct {
		sync.Mutex
		m map[layerID]*layer
	}
	reclaim     *reclaimer
	keeper      *keeper
	scrub       *scrubber
	checkpoints *checkpointer
	instants    atomic.Uint64 // copies of the metadata made so far (instant.go)
	checking    atomic.Bool   // one check at a time, and one dump
	dumping     atomic.Bool
}

// Open opens the store in dir, making it if dir is empty or missing.
//
// Errors: ErrLocked (another process owns it, the message says which),
// ErrFormat (made by a newer version), ErrCorrupt. Nothing is changed then.
func Open(dir string, o Options) (*Store, error) {
	o = o.withDefaults()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if !o.ReadOnly {
		if err := o.fs.Mkdir(dir); err != nil {
			return nil, fmt.Errorf("cannot make the store's directory: %w", err)
		}
	}
	lock, err := lockOwner(o.fs, dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, o: o, fs: o.fs, lock: lock,
		failed: newSignal(), halted: newSignal(),
	}
	open := s.open
	if o.ReadOnly {
		open = s.openReadOnly
	}
	if err := open(); err != nil {
		return nil, errors.Join(err, s.closeParts())
	}
	s.ready.Store(true)
	return s, nil
}

// begin counts an operation that Close waits for.
func (s *Store) begin() (end func(), err error) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	if s.cat.mu.shut {
		return nil, errf(ErrClosed, "the store is closed")
	}
	s.ops.Add(1)
	return s.ops.Done, nil
}

func (s *Store) open() error {
	s.space = newSpace(s.fs, s.dir, &s.o)
	if err := s.space.findBallast(); err != nil {
		return err
	}
	if err := prepare(s); err != nil {
		return err
	}
	if err := (&offline{s}).finishRestore(); err != nil {
		return err
	}
	if err := s.removeInstants(); err != nil {
		return err
	}
	var err error
	if s.db, err = pebble.Open(s.metaDir(), s.pebbleOptions()); err != nil {
		return explainOpen(s.metaDir(), err)
	}
	if err := s.openWitness(); err != nil {
		return err
	}
	s.openCaches()
	if s.cat, err = loadCatalogue(s); err != nil {
		return err
	}
	s.startBackground()
	s.space.start()
	return nil
}

func (s *Store) openCaches() {
	s.files = &fileTable{fs: s.fs, limit: s.o.OpenFiles}
	s.pages = &pageCache{budget: s.o.MapBudget}
	s.views.m = map[layerID]*view{}
	s.layers.m = map[layerID]*layer{}
	s.pacer = s.o.pacer
	s.counted.since = time.Now().UTC()
}

// startBackground makes what works in the background; in a store that is only
// read nothing does.
func (s *Store) startBackground() {
	s.reclaim = startReclaimer(s)
	s.keeper = startKeeper(s)
	s.scrub = startScrubber(s)
	s.checkpoints = startCheckpointer(s)
}

// explainOpen tells what the host has refused from damage. The errno stays in
// the chain, but for a full disk, which has a cause of its own.
func explainOpen(dir string, err error) error {
	for _, row := range []struct {
		errno error
		cause error
		cure  string
	}{
		{unix.EACCES, unix.EACCES, "give it back to the user that runs goldstream, with all below it"},
		{unix.EPERM, unix.EPERM, "give it back to the user that runs goldstream, with all below it"},
		{unix.EROFS, unix.EROFS, "mount its file system for writing"},
		{unix.ENOSPC, ErrNoSpace, "free some space on its file system"},
		{unix.EDQUOT, ErrNoSpace, "raise the quota of its file system or free some space"},
		{unix.EMFILE, unix.EMFILE, "raise the limit of open files (ulimit -n; LimitNOFILE= of a unit)"},
		{unix.ENFILE, unix.ENFILE, "raise the host's limit of open files (sysctl fs.file-max)"},
		{unix.ENOMEM, unix.ENOMEM, "give the host or the service more memory"},
	} {
		if errors.Is(err, row.errno) {
			return errf(row.cause, "metadata in %s cannot be opened: %v; nothing is damaged: %s", dir, err, row.cure)
		}
	}
	return errf(ErrCorrupt, "metadata in %s cannot be opened: %v; restore the directory from a backup, or start a store in another directory", dir, err)
}

func (s *Store) metaDir() string {
	if s.meta != "" {
		return s.meta
	}
	return filepath.Join(s.dir, "meta")
}

func (s *Store) layersDir() string { return filepath.Join(s.dir, "layers") }
func (s *Store) ringPath(lineage uint64) string {
	return filepath.Join(s.dir, "rings", fmt.Sprintf("%016x", lineage))
}

// EndStalls ends all waiting for space, now and from now on, since the store
// is about to be closed: writes that stall fail with ErrClosed. Metadata that
// waits for space is given up, and the store with it, as in a kill: nothing
// that was acknowledged is lost. Close does it too.
func (s *Store) EndStalls() { s.space.end() }

// Close waits for running operations, whose contexts the caller ends, commits
// what open volumes have written, and gives up the directory. It does not wait
// for space.
//
// Handles must have been closed by their users. If some were not, nothing is
// lost, but the store stays locked until the process ends. Error: ErrInUse.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.cat.shut()
	s.space.stop()
	done := make(chan error, 1)
	go func() { done <- s.close() }()
	select {
	case err := <-done:
		return err
	case <-s.halted.given: // those who wait for Pebble may do so for ever, with its locks
		return s.usable()
	}
}

func (s *Store) close() error {
	s.ops.Wait()
	s.scrub.stop()
	s.keeper.stop()
	s.reclaim.stop()
	s.checkpoints.stop()
	open, err := s.cat.settle()
	closed := errf(ErrClosed, "the store is closed")
	s.bad.CompareAndSwap(nil, &closed)
	if len(open) > 0 {
		return errors.Join(err, errf(ErrInUse, "the store was closed while in use: %s", strings.Join(open, ", ")))
	}
	return errors.Join(err, s.closeParts())
}

// signal is given once and for good.
type signal struct {
	given chan struct{}
	once  *sync.Once
}

func newSignal() signal { return signal{make(chan struct{}), new(sync.Once)} }

func (s signal) give() { s.once.Do(func() { close(s.given) }) }

func (s signal) isGiven() bool {
	select {
	case <-s.given:
		return true
	default:
		return false
	}
}

// closeParts closes what open has opened. Where Pebble stands still, its locks
// are held for good: then the directory stays ours until the process ends.
func (s *Store) closeParts() error {
	s.ready.Store(false) // from here on Pebble returns its errors
	var errs []error
	if s.space != nil {
		s.space.stop()
	}
	if s.files != nil {
		s.files.closeAll()
	}
	if s.db != nil {
		done := make(chan error, 1)
		go func() {
			if s.checkpoints != nil {
				s.checkpoints.stop()
			}
			s.commits.Wait()
			done <- s.db.Close()
		}()
		select {
		case err := <-done:
			errs = append(errs, err)
		case <-s.halted.given:
			return s.usable()
		}
	}
	if s.witness != nil {
		errs = append(errs, s.witness.close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// usable returns the error that made the store read-only, if any.
func (s *Store) usable() error {
	if err := s.bad.Load(); err != nil {
		return *err
	}
	return nil
}

// fail makes the store read-only for good: whether the last batch is durable
// is unknown, and no later commit could tell.
func (s *Store) fail(cause error) error {
	err := errf(ErrFailed, "the store takes no more changes: %v; free space or replace the disk, then restart", cause)
	if s.bad.CompareAndSwap(nil, &err) {
		s.o.Logger.Error("store failed and is read-only now", "dir", s.dir, "cause", cause)
	}
	s.failed.give()
	return *s.bad.Load()
}

// getJSON reads a record; found is false if there is none.
func (s *Store) getJSON(key []byte, v any) (found bool, err error) {
	b, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read metadata: %w", err)
	}
	defer closer.Close()
	if err := json.Unmarshal(b, v); err != nil {
		return false, errf(ErrCorrupt, "metadata record %q is damaged: %v", key, err)
	}
	return true, nil
}

// putJSON adds a record to a batch. Records are plain structs: it cannot fail.
func putJSON(b *pebble.Batch, key []byte, v any) {
	data, err := json.Marshal(v)
	if err == nil {
		err = b.Set(key, data, nil)
	}
	if err != nil {
		panic(fmt.Sprintf("blockstore: encode %T: %v", v, err))
	}
}

// cancelled returns the error of a context that has ended.
func cancelled(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
