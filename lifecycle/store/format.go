package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"goldstream/lifecycle/model"
)

const (
	formatMagic   = "goldstream lifecycle "
	formatVersion = 1
)

// Open opens the store in dir, or makes one where dir is empty or missing.
// Errors: ErrFormat; ErrCorrupt; model.ErrInvalid where something else
// stands; whatever the disk says, also when another process has the store.
func Open(dir string, o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: filepath.Clean(dir), o: o, writing: make(chan struct{}, 1), halted: make(chan struct{})}
	made, err := s.readFormat()
	if err != nil {
		return nil, err
	}
	if err := s.openDatabase(made); err != nil {
		return nil, fmt.Errorf("cannot open the lifecycle store in %s: %w", dir, err)
	}
	if err := s.start(made); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.ready.Store(true)
	return s, nil
}

func (s *Store) database() string   { return filepath.Join(s.dir, "db") }
func (s *Store) formatPath() string { return filepath.Join(s.dir, "FORMAT") }

// readFormat tells whether the store was made, and refuses those that this
// program does not know.
func (s *Store) readFormat() (made bool, err error) {
	b, err := s.readFile(s.formatPath())
	if errors.Is(err, os.ErrNotExist) {
		return false, s.checkEmpty()
	}
	if err != nil {
		return false, err
	}
	text, ok := strings.CutPrefix(strings.TrimSuffix(string(b), "\n"), formatMagic)
	version, err := strconv.Atoi(text)
	if !ok || err != nil || version < 1 {
		return false, errf(ErrCorrupt, "%s is damaged: restore it from a backup", s.formatPath())
	}
	return true, s.checkVersion(version)
}

func (s *Store) checkVersion(version int) error {
	if version > formatVersion {
		return errf(ErrFormat, "the lifecycle store in %s has format %d, this program knows %d: use a newer goldstream", s.dir, version, formatVersion)
	}
	return nil
}

// checkEmpty refuses to make a store where something else stands. What a
// creation that was cut short has left is gone on with, never removed.
func (s *Store) checkEmpty() error {
	names, err := s.o.FS.List(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, name := range names {
		if !slices.Contains([]string{"db", "FORMAT.new"}, name) {
			return errf(model.ErrInvalid, "%s is no lifecycle store and not empty (%q stands there): choose another directory", s.dir, name)
		}
	}
	return err
}

func (s *Store) openDatabase(made bool) (err error) {
	options := &pebble.Options{
		FS:                 haltFS{s.o.FS, s},
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             pebbleLogger{s},
		// Opening must not invent a new database where one is missing.
		ErrorIfNotExists: made,
		MemTableSize:     4 << 20,
		CacheSize:        8 << 20,
	}
	if !made {
		if err := s.makeDir(s.database()); err != nil {
			return err
		}
		// Opened twice: the first write-ahead log of a new store is made before
		// Pebble takes up its newest format, whose log chunks find a lost tail.
		db, err := pebble.Open(s.database(), options.Clone())
		if err != nil {
			return err
		}
		if err := db.Close(); err != nil {
			return err
		}
	}
	s.db, err = pebble.Open(s.database(), options)
	return err
}

// start checks what the database holds and finds its last update. A store that
// is being made gets the defaults first and FORMAT last.
func (s *Store) start(made bool) error {
	r := &Reader{s.db}
	format, err := r.value(formatKey)
	if err != nil {
		return err
	}
	if format == nil {
		if err := s.checkFresh(made); err != nil {
			return err
		}
		if err := s.fill(); err != nil {
			return err
		}
	} else if version, err := strconv.Atoi(string(format)); err != nil {
		return errf(ErrCorrupt, "the lifecycle store in %s is damaged: restore it from a backup", s.dir)
	} else if err := s.checkVersion(version); err != nil {
		return err
	}
	if !made {
		if err := s.writeFormat(); err != nil {
			return err
		}
	}
	if s.seq, err = s.lastSequence(); err != nil {
		return err
	}
	return s.complete()
}

// checkFresh refuses a database without a format that is not empty.
func (s *Store) checkFresh(made bool) error {
	damaged := errf(ErrCorrupt, "the lifecycle store in %s has lost its contents: restore it from a backup", s.dir)
	if made {
		return damaged
	}
	return scan(s.db, nil, nil, func(_, _ []byte) error { return damaged })
}

// fill writes what a fresh store has, in one batch.
func (s *Store) fill() error {
	return s.update(context.Background(), Cause{Who: "goldstream", Why: "what a fresh store has"}, func(tx *Tx) error {
		for _, r := range model.Defaults() {
			if err := tx.Create(r); err != nil {
				return err
			}
		}
		return tx.batch.Set(formatKey, []byte(strconv.Itoa(formatVersion)), nil)
	})
}

// complete adds what a store lacks that was made by an older version: defaults,
// unless something else has their name, and the key. It reads the key.
func (s *Store) complete() error {
	return s.update(context.Background(), Cause{Who: "goldstream", Why: "what a fresh store has"}, func(tx *Tx) error {
		for _, r := range model.Defaults() {
			_, err := tx.ByName(r.Kind(), r.Head().Name)
			if errors.Is(err, ErrNotFound) {
				err = tx.Create(r)
			}
			if err != nil {
				return err
			}
		}
		key, err := tx.value(keyKey)
		if err != nil || len(key) == keySize {
			s.key = key
			return err
		}
		if key != nil {
			return errf(ErrCorrupt, "the key of the lifecycle store in %s is damaged: restore it from a backup", s.dir)
		}
		s.key = make([]byte, keySize)
		_, _ = rand.Read(s.key) // never fails (Go 1.24)
		tx.journal = true       // there is something to commit
		return tx.batch.Set(keyKey, s.key, nil)
	})
}

// Key is a secret of this store, for digests that nobody else can compute. The
// caller does not change it.
func (s *Store) Key() []byte { return s.key }

func (s *Store) lastSequence() (uint64, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixAudit}, UpperBound: []byte{prefixAudit + 1}})
	if err != nil {
		return 0, err
	}
	var last uint64
	if it.Last() && len(it.Key()) == 9 {
		last = binary.BigEndian.Uint64(it.Key()[1:])
	}
	if err := it.Close(); err != nil {
		return 0, err
	}
	if last == 0 {
		return 0, errf(ErrCorrupt, "the lifecycle store in %s has no audit trail: restore it from a backup", s.dir)
	}
	return last, nil
}

// writeFormat makes FORMAT appear durably, as a whole.
func (s *Store) writeFormat() error {
	fs, fresh := s.o.FS, s.formatPath()+".new"
	f, err := fs.Create(fresh, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader([]byte(formatMagic+strconv.Itoa(formatVersion)+"\n")))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := fs.Rename(fresh, s.formatPath()); err != nil {
		return err
	}
	return s.syncDir(s.dir)
}

// makeDir makes a directory, and those above it, durably.
func (s *Store) makeDir(path string) error {
	parent := filepath.Dir(path)
	if _, err := s.o.FS.Stat(parent); errors.Is(err, os.ErrNotExist) {
		if err := s.makeDir(parent); err != nil {
			return err
		}
	}
	if err := s.o.FS.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return s.syncDir(parent)
}

func (s *Store) syncDir(path string) error {
	d, err := s.o.FS.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *Store) readFile(path string) ([]byte, error) {
	f, err := s.o.FS.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	return b, errors.Join(err, f.Close())
}
