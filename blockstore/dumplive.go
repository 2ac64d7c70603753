package blockstore

import (
	"context"
	"errors"
	"io"
)

// Dump writes the metadata of a store in service to w, as it is at one instant:
// with all commits that have returned, and none in part. The store goes on
// meanwhile, however slow w is.
//
// Errors: ErrInUse (a dump is being written), ErrCorrupt (the metadata does not
// add up), ErrNoSpace, ErrFailed (dump it at rest), the context's, those of w.
func (s *Store) Dump(ctx context.Context, w io.Writer) (info DumpInfo, err error) {
	release, err := s.begin()
	if err != nil {
		return info, err
	}
	defer release()
	if s.dumping.Swap(true) {
		return info, errf(ErrInUse, "a dump of the metadata is being written: wait for it to end")
	}
	defer s.dumping.Store(false)
	id, err := s.ensureID()
	if err != nil {
		return info, err
	}
	err = s.atOneInstant(ctx, func(meta string) error {
		v, err := (&offline{s}).view(meta)
		if err != nil {
			return err
		}
		info, err = writeDump(ctx, v.db, id, w)
		return errors.Join(err, v.endView())
	})
	return info, err
}

// VerifyDump reads a dump and tells what it is of. Errors: ErrCorrupt (it was cut
// or altered), ErrFormat (it is of a newer goldstream), ErrInvalid (it is none),
// those of r.
func VerifyDump(ctx context.Context, r io.Reader) (DumpInfo, error) {
	return readDump(ctx, r, anyStore, func(_, _ []byte) error { return nil })
}
