package blockstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// CauseRollback is the cause of a snapshot that a rollback made.
const CauseRollback = "rollback"

// RollBack makes a volume read as one of its snapshots again. Its present state
// is kept as a snapshot, whose description is returned. No client may have the
// volume open: what it has cached would be wrong from then on.
//
// The snapshot's version gets a new lineage on it, to which the volume moves.
//
// Of a volume that failed, what the disk holds is kept, as AcceptLoss finds it.
// Where the disk still fails that cannot be; with req.Discard it is given up
// then, and the description is empty.
//
// Errors: ErrNotFound, ErrInUse, ErrFailed.
func (s *Store) RollBack(ctx context.Context, volume, snapshot string, req SnapshotRequest) (SnapshotInfo, error) {
	var info SnapshotInfo
	now := time.Now().UTC()
	if req.Name == "" {
		req.Name = "before-rollback-" + now.Format("20060102T150405.000Z")
	}
	if err := checkName("a snapshot", req.Name); err != nil {
		return info, err
	}
	end, done, err := s.reserve("rollback", "v"+volume, req.RequestID, &info)
	if done || err != nil {
		return info, err
	}
	defer end()
	e, sn, err := s.takeForRollback(volume, snapshot, req.Name)
	if err != nil {
		return info, err
	}
	defer s.endRollback(e, sn)
	if err := s.acceptBefore(ctx, e); err != nil {
		defer s.unuseVolume(e)
		if !req.Discard {
			return info, fmt.Errorf("what the volume holds cannot be kept: %w; or give it up with the rollback (--discard)", err)
		}
		return info, s.discard(e, sn, req.RequestID)
	}
	v, err := s.attach(e)
	if err != nil {
		s.unuseVolume(e)
		return info, err
	}
	kept := &snapshotEntry{name: req.Name, rec: snapshotRecord{ID: newID(), Created: now, Owner: req.Owner, Cause: CauseRollback}}
	info, err = v.rollBack(sn, kept, req.RequestID)
	return info, errors.Join(err, s.detach(e))
}

// rollBack seals the top of the volume as the snapshot kept and moves the
// volume to a new lineage on the snapshot sn, in one commit. The volume is to
// be closed after it.
func (v *volume) rollBack(sn, kept *snapshotEntry, requestID string) (info SnapshotInfo, err error) {
	c, e := v.s.cat, v.entry
	c.mu.Lock()
	old, rec := e.lineage, e.rec
	l := c.addLineageLocked(sn.lineage, sn.version, sn.version.rec.Size, lineageLive)
	l.writable = true
	c.mu.Unlock()
	rec.Lineage = l.id
	rec.raise("the volume was rolled back to snapshot " + sn.name) // what clients remember is wrong
	err = v.restack(func(t *top, b *pebble.Batch) {
		kept.rec.Lineage, kept.rec.Version = old.id, t.layer.id.version
		info = SnapshotInfo{Volume: e.name, Name: kept.name, ID: kept.rec.ID, Size: t.size, Created: kept.rec.Created, Owner: kept.rec.Owner, Cause: kept.rec.Cause}
		putLineage(b, l)
		putJSON(b, nameKey(prefixVolume, e.name), rec)
		putJSON(b, snapshotKey(e.rec.ID, kept.name), kept.rec)
		_ = b.Delete(lineageKey(prefixOpen, old.id), nil)
		putRequest(b, requestID, "rollback", e.name, info)
	}, func(t *top) {
		t.layer.sealed.Store(true)
		c.mu.Lock()
		defer c.mu.Unlock()
		old.writable = false
		kept.lineage, kept.version = old, old.tip()
		kept.version.names++
		e.lineage, e.rec = l, rec
		e.snapshots[kept.name] = kept
	})
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.dropLineageLocked(l)
	}
	return info, err
}

// acceptBefore accepts the loss of a volume that failed, before a rollback.
func (s *Store) acceptBefore(ctx context.Context, e *volumeEntry) error {
	s.cat.mu.Lock()
	lineage := e.lineage.id
	s.cat.mu.Unlock()
	if s.standingFailure(lineage) == nil {
		return nil
	}
	return s.acceptLoss(ctx, e, "")
}

// discard moves a volume that failed to a new lineage on a snapshot, and gives
// up what it held.
func (s *Store) discard(e *volumeEntry, sn *snapshotEntry, requestID string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.letGo(); err != nil {
		return err
	}
	c := s.cat
	c.mu.Lock()
	old, rec := e.lineage, e.rec
	l := c.addLineageLocked(sn.lineage, sn.version, sn.version.rec.Size, lineageLive)
	l.writable = true
	tip := old.tip()
	gone := tip.rec
	c.mu.Unlock()
	gone.State = versionDoomed
	rec.Lineage = l.id
	rec.raise("the volume was rolled back to snapshot " + sn.name)
	b := s.db.NewBatch()
	putLineage(b, l)
	putJSON(b, nameKey(prefixVolume, e.name), rec)
	putJSON(b, entryKey(layerID{old.id, tip.number}), gone)
	_ = b.Delete(lineageKey(prefixOpen, old.id), nil)
	lower, upper := lineageSpan(prefixFailed, old.id)
	_ = b.DeleteRange(lower, upper, nil)
	putRequest(b, requestID, "rollback", e.name, SnapshotInfo{})
	err := s.commit(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.dropLineageLocked(l)
		return err
	}
	e.lineage, e.rec = l, rec
	old.writable = false
	tip.rec = gone
	c.mu.doomed[old] = true
	delete(c.mu.failures, old.id)
	s.o.Logger.Warn("rolled back without keeping what the volume held, since its disk fails", "volume", e.name, "snapshot", sn.name)
	return nil
}

func (s *Store) endRollback(e *volumeEntry, sn *snapshotEntry) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	e.exclusive, sn.version.busy = false, false
	s.reclaim.wake()
}

// takeForRollback finds the snapshot and keeps others from the volume, which is
// reserved.
func (s *Store) takeForRollback(volume, snapshot, kept string) (*volumeEntry, *snapshotEntry, error) {
	c := s.cat
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.volumeLocked(volume)
	if err != nil {
		return nil, nil, err
	}
	sn, err := e.snapshotLocked(snapshot)
	switch {
	case err != nil:
		return nil, nil, err
	case e.snapshots[kept] != nil:
		return nil, nil, errf(ErrExists, "volume %q has a snapshot %q already: choose another name for its present state", volume, kept)
	case e.users > 0:
		return nil, nil, errf(ErrInUse, "volume %q is in use by %d clients: disconnect them first", volume, e.users)
	}
	e.users++
	e.exclusive = true
	sn.version.busy = true
	return e, sn, nil
}
