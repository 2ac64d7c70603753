package blockstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// instantPrefix begins the names of copies of the metadata that are being read.
const instantPrefix = "meta.instant-"

// atOneInstant calls fn with the directory of a copy of the metadata as it is
// now, in which every commit is that has returned: tables as hard links, the log
// copied. What reads the copy opens it for itself. So damage that it meets is
// told to it alone, and does not end the service of the store; and tables are
// read from the disk, and not from the memory of the store in service.
//
// The store is open, and s.begin was called. Errors: ErrNoSpace, ErrFailed.
func (s *Store) atOneInstant(ctx context.Context, fn func(meta string) error) error {
	if err := errors.Join(s.usable(), cancelled(ctx)); err != nil {
		return err
	}
	if free, _, l, err := s.space.host(); err != nil {
		return err
	} else if free < l.reserve {
		return errf(ErrNoSpace, "there is no room for a copy of the metadata in %s: free some space first", s.dir)
	}
	meta := filepath.Join(s.dir, fmt.Sprintf("%s%d", instantPrefix, s.instants.Add(1)))
	if err := s.db.Checkpoint(meta, pebble.WithFlushedWAL()); err != nil {
		return errors.Join(fmt.Errorf("copy of the metadata: %w", noSpace(err)), s.fs.RemoveAll(meta))
	}
	return errors.Join(fn(meta), s.fs.RemoveAll(meta))
}

// removeInstants removes the copies that a process has left that was killed.
func (s *Store) removeInstants() error {
	names, err := s.fs.List(s.dir)
	for _, name := range names {
		if strings.HasPrefix(name, instantPrefix) {
			err = errors.Join(err, s.fs.RemoveAll(filepath.Join(s.dir, name)))
		}
	}
	return err
}
