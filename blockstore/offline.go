package blockstore

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
)

// offline is a store that nobody has open, for work on its metadata as a whole.
// Nothing runs in it.
type offline struct{ *Store }

// openOffline takes the right to a store's directory, and finishes a restore
// that was cut off there. Errors: ErrLocked, ErrNotFound, ErrFormat.
func openOffline(dir string, o Options) (*offline, error) {
	s, err := openAtRest(dir, o)
	if err != nil {
		return nil, err
	}
	if err := s.finishRestore(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// openAtRest is openOffline for those who change nothing.
func openAtRest(dir string, o Options) (*offline, error) {
	o = o.withDefaults()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, o: o, fs: o.fs, failed: newSignal(), halted: newSignal()}
	if !s.exists() {
		return nil, errf(ErrNotFound, "there is no store in %s", dir)
	}
	if s.lock, err = lockOwner(o.fs, dir); err != nil {
		return nil, err
	}
	if err := prepare(s); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return &offline{s}, nil
}

func (s *offline) close() error { return s.lock.Close() }

// view opens metadata that stands somewhere in the directory for reading, with
// the data files there are. Close its db after use.
func (s *offline) view(meta string) (*Store, error) {
	v, err := s.openView(meta)
	if err != nil {
		return nil, err
	}
	if v.cat, err = loadCatalogue(v); err != nil {
		return nil, errors.Join(err, v.db.Close())
	}
	if v.sequence, err = v.storedSequence(); err != nil {
		return nil, errors.Join(err, v.db.Close())
	}
	return v, nil
}

// openView is view without the catalogue, whose records need not be whole.
func (s *offline) openView(meta string) (*Store, error) {
	v := &Store{dir: s.dir, o: s.o, fs: s.fs, meta: meta, failed: newSignal(), halted: newSignal()}
	v.o.Logger = slog.New(slog.DiscardHandler) // what it finds is reported
	v.space = newSpace(v.fs, v.dir, &v.o)
	o := v.pebbleOptions()
	o.ReadOnly = true
	// Without a listener Pebble ends the process on a damaged table, which here
	// is what the read that found it returns.
	o.EventListener = &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}
	var err error
	if v.db, err = pebble.Open(meta, o); err != nil {
		return nil, explainOpen(meta, err)
	}
	v.files = &fileTable{fs: v.fs, limit: v.o.OpenFiles}
	v.pages = &pageCache{budget: v.o.MapBudget}
	v.views.m, v.layers.m = map[layerID]*view{}, map[layerID]*layer{}
	return v, nil
}

// endView closes what view has opened.
func (s *Store) endView() error {
	s.files.closeAll()
	return s.db.Close()
}

// write opens metadata in the directory for changes, has fn put them in one
// batch together with a new sequence, and closes it.
func (s *offline) write(meta string, fn func(v *Store, b *pebble.Batch) error, seq uint64) error {
	v := &Store{dir: s.dir, o: s.o, fs: s.fs, meta: meta, failed: newSignal(), halted: newSignal()}
	v.space = newSpace(v.fs, v.dir, &v.o)
	var err error
	if v.db, err = pebble.Open(meta, v.pebbleOptions()); err != nil {
		return explainOpen(meta, err)
	}
	b := v.db.NewBatch()
	err = errors.Join(fn(v, b), b.Set(sequenceKey, sequenceBytes(seq), nil))
	if err == nil {
		err = b.Commit(pebble.Sync)
	}
	return errors.Join(err, b.Close(), v.db.Close())
}

// witnessed returns how far the metadata was known durable.
func (s *offline) witnessed() (uint64, error) {
	b, err := s.fs.ReadFile(filepath.Join(s.dir, "seq"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil || len(b) < 8 {
		return 0, errors.Join(err, errf(ErrCorrupt, "%s is cut short", filepath.Join(s.dir, "seq")))
	}
	return parseSequence(b), nil
}

// move moves an entry of one directory below the store's to another, durably
// but for the directory that it leaves. One that is gone was moved already.
func (s *offline) move(from, toDir string) error {
	if err := s.fs.Mkdir(toDir); err != nil {
		return err
	}
	if err := s.fs.Rename(from, filepath.Join(toDir, filepath.Base(from))); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(s.fs.SyncDir(toDir), s.fs.SyncDir(filepath.Dir(toDir)))
}
