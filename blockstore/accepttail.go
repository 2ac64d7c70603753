package blockstore

import (
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// TailReport says what is known of metadata that lost its tail: it ends at
// commit Present, and commit Durable was known to be on the disk.
type TailReport struct {
	Present uint64 `json:"present"`
	Durable uint64 `json:"durable"`
	// Volumes that may have lost flushed writes: all that stand, for a commit of
	// any of them may be among the lost ones.
	Volumes []string `json:"volumes"`
	// Strays are layers that no record names: of what was made in those commits.
	Strays []string `json:"strays,omitempty"`
	// Missing is data that the metadata names and that is not there: it was
	// trimmed or deleted in those commits, and reads as zero.
	Missing []MissingData `json:"missing,omitempty"`

	Done bool `json:"done"` // the loss is accepted
}

// AcceptTail opens the way to a store, which nobody has open, whose metadata
// lost its tail, as Open says then: it goes on from where the metadata ends.
// All volumes get a new epoch. Without apply it only reports.
//
// Errors: ErrLocked, ErrNotFound, ErrCorrupt (the metadata cannot be read at
// all), ErrInvalid (nothing is lost).
func AcceptTail(ctx context.Context, dir string, o Options, apply bool) (TailReport, error) {
	s, err := openOffline(dir, o)
	if err != nil {
		return TailReport{}, err
	}
	r, err := s.acceptTail(ctx, apply)
	return r, errors.Join(err, s.close())
}

func (s *offline) acceptTail(ctx context.Context, apply bool) (r TailReport, err error) {
	if r.Durable, err = s.witnessed(); err != nil {
		return r, err
	}
	now, err := s.view(s.metaDir())
	if err != nil {
		return r, err
	}
	r.Present = now.sequence
	for name := range now.cat.mu.volumes {
		r.Volumes = append(r.Volumes, name)
	}
	r.Strays, err = now.strayLayers()
	if err == nil {
		r.Missing, err = now.missingData(ctx)
	}
	if err = errors.Join(err, now.endView()); err != nil {
		return r, err
	}
	slices.Sort(r.Volumes)
	if r.Present >= r.Durable {
		return r, errf(ErrInvalid, "the metadata in %s goes to commit %d and has lost nothing: there is nothing to accept", s.metaDir(), r.Present)
	}
	if !apply {
		return r, nil
	}
	// Rings stay: their entries newer than the last flush that is known prove
	// what they always did.
	err = s.write(s.metaDir(), func(v *Store, b *pebble.Batch) error {
		return scanJSON(v, prefixVolume, func(name string, rec volumeRecord) error {
			rec.raise("the metadata lost its tail, and that was accepted")
			putJSON(b, nameKey(prefixVolume, name), rec)
			return nil
		})
	}, r.Durable+1)
	r.Done = err == nil
	return r, err
}
