package blockstore

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
)

// RestoreDump replaces the metadata of a store that nobody has open, if it has
// any, by a dump of it. It does and reports what RestoreCheckpoint does;
// req.Checkpoint is not used. A dump is looked at as a whole before anything is
// changed.
//
// It may be cut off at any point, as RestoreCheckpoint may.
//
// Errors: ErrLocked, ErrNotFound (there is no store, or it has no ID), ErrCorrupt
// (the dump was cut or altered), ErrFormat (it is of a newer goldstream),
// ErrInvalid (it is of another store; data is missing, and that was not
// accepted), ErrNoSpace.
func RestoreDump(ctx context.Context, dir string, o Options, dump io.Reader, req RestoreRequest) (RestoreReport, error) {
	s, err := openOffline(dir, o)
	if err != nil {
		return RestoreReport{}, err
	}
	report, err := s.restoreDump(ctx, dump, req)
	return report, errors.Join(err, s.close())
}

func (s *offline) restoreDump(ctx context.Context, dump io.Reader, req RestoreRequest) (r RestoreReport, err error) {
	if r.Present, err = s.witnessed(); err != nil {
		return r, err
	}
	id, err := s.id()
	if err != nil {
		return r, err
	}
	fresh := s.freshMeta()
	info, err := s.load(ctx, fresh, id, dump)
	if err == nil {
		r.Dump = &info
		err = s.weigh(ctx, fresh, req, "the dump", &r)
	}
	if err != nil || !req.Apply {
		return r, errors.Join(err, s.fs.RemoveAll(fresh))
	}
	if err := s.ensureWitness(); err != nil {
		return r, err
	}
	return r, s.install(fresh, "the metadata was restored from a dump", info.Sequence, &r)
}

// ensureWitness makes the file that says how far the metadata goes, if it is gone
// too.
func (s *offline) ensureWitness() error {
	path := filepath.Join(s.dir, "seq")
	if _, err := s.fs.ReadFile(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return writeSynced(s.Store, map[string][]byte{path: make([]byte, 8)}, path)
}

const (
	loadBatch = 4 << 20  // bytes
	loadRoom  = 64 << 20 // that must be free, for Pebble does not come back from a full disk
)

// load makes metadata of a dump, durable when it returns.
func (s *offline) load(ctx context.Context, meta, id string, dump io.Reader) (info DumpInfo, err error) {
	if err := errors.Join(s.fs.RemoveAll(meta), s.fs.Mkdir(meta)); err != nil {
		return info, err
	}
	v := &Store{dir: s.dir, o: s.o, fs: s.fs, meta: meta, failed: newSignal(), halted: newSignal()}
	v.space = newSpace(v.fs, v.dir, &v.o)
	if err := v.loadRoom(); err != nil {
		return info, err
	}
	o := v.pebbleOptions()
	o.ErrorIfNotExists, o.ErrorIfExists = false, true
	o.DisableWAL = true // it is flushed at the end, or nobody wants it
	if v.db, err = pebble.Open(meta, o); err != nil {
		return info, explainOpen(meta, err)
	}
	l := &loader{v: v, b: v.db.NewBatch()}
	info, err = readDump(ctx, dump, id, l.put)
	if err == nil {
		err = l.b.Set(sequenceKey, sequenceBytes(info.Sequence), nil)
	}
	if err == nil {
		err = errors.Join(l.commit(), v.db.Flush())
	}
	return info, errors.Join(err, l.b.Close(), v.db.Close(), s.fs.SyncDir(meta), s.fs.SyncDir(s.dir))
}

func (s *Store) loadRoom() error {
	free, _, l, err := s.space.host()
	if err == nil && free < min(l.reserve, loadRoom) {
		err = errf(ErrNoSpace, "there is no room for the metadata in %s: free some space first", s.dir)
	}
	return err
}

// loader writes the records of a dump in batches.
type loader struct {
	v *Store
	b *pebble.Batch
}

func (l *loader) put(key, value []byte) error {
	if err := l.b.Set(key, value, nil); err != nil || l.b.Len() < loadBatch {
		return err
	}
	if err := l.v.loadRoom(); err != nil {
		return err
	}
	return l.commit()
}

func (l *loader) commit() error {
	if err := l.b.Commit(pebble.NoSync); err != nil {
		return err
	}
	err := l.b.Close()
	l.b = l.v.db.NewBatch()
	return err
}
