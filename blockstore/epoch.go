package blockstore

import (
	"context"
	"encoding/binary"
	"time"
)

// A volume has an epoch, which grows each time that what clients of it have
// cached may be wrong: acknowledged writes may be gone, or it was rolled back.
// A client that was there before and lives on does not know; it would write
// more on top of what it only believes to be there. So one that says for which
// epoch it started (CheckEpoch) is refused once there is a newer one, until it
// starts afresh, or the operator lets it on (AcceptEpoch).
//
// A volume that was open for write when the host went down has a mark in
// another boot of the host. It has its new epoch as soon as the store is open,
// so that who starts on it learns it; its recovery, when it is first opened,
// makes that durable.

// raise begins a new epoch.
func (rec *volumeRecord) raise(cause string) {
	rec.Epoch++
	rec.EpochSince, rec.EpochCause, rec.OldAccepted = time.Now().UTC(), cause, false
}

const causePowerLoss = "the host went down while the volume was open for write"

// otherBoot tells that the host may have gone down since the mark was made.
func (s *Store) otherBoot(m openMark) bool { return m.Boot != s.o.bootID || m.Boot == unknownBoot }

// raiseFor begins a new epoch because of a mark, once for each.
func (rec *volumeRecord) raiseFor(m openMark, cause string) {
	if !rec.EpochMark.Equal(m.Since) {
		rec.EpochMark = m.Since
		rec.raise(cause)
	}
}

// loadMarks finds the volumes that were open for write when the host went down.
func (c *catalogue) loadMarks() error {
	byLineage := map[uint64]*volumeEntry{}
	for _, e := range c.mu.volumes {
		byLineage[e.lineage.id] = e
	}
	for _, e := range c.mu.retired {
		byLineage[e.lineage.id] = e
	}
	return scanJSON(c.s, prefixOpen, func(key string, m openMark) error {
		if len(key) != 8 {
			return errf(ErrCorrupt, "open mark %x is damaged: %s", key, restoreBackup)
		}
		e := byLineage[binary.BigEndian.Uint64([]byte(key))]
		if e == nil || !c.s.otherBoot(m) {
			return nil
		}
		e.rec.raiseFor(m, causePowerLoss)
		c.s.o.Logger.Warn("acked-writes-may-be-lost: "+causePowerLoss, "volume", e.name, "epoch", e.rec.Epoch, "since", m.Since)
		return nil
	})
}

// CheckEpoch refuses a client that started on another epoch of the volume. The
// error says what to do. Error: ErrEpoch.
func (d *Disk) CheckEpoch(epoch uint64) error {
	if d.v == nil {
		return nil
	}
	d.v.s.cat.mu.Lock()
	defer d.v.s.cat.mu.Unlock()
	name, rec := d.v.entry.name, d.v.entry.rec
	switch {
	case epoch == rec.Epoch, epoch < rec.Epoch && rec.OldAccepted:
		return nil
	case epoch > rec.Epoch:
		return errf(ErrEpoch, "volume %q has epoch %d, and not %d yet: start afresh", name, rec.Epoch, epoch)
	}
	return errf(ErrEpoch, "volume %q is at epoch %d, this client at %d (%s): writes that it was told are done may be gone; restart it, or let it on with goldstream volume accept-epoch %s",
		name, rec.Epoch, epoch, rec.EpochCause, name)
}

// AcceptEpoch lets clients of older epochs of a volume on, until the next one
// begins.
//
// Error: ErrNotFound.
func (s *Store) AcceptEpoch(ctx context.Context, name string) (VolumeInfo, error) {
	release, err := s.begin()
	if err != nil {
		return VolumeInfo{}, err
	}
	defer release()
	d, err := s.OpenVolume(ctx, name) // recovers it: that may begin an epoch
	if err != nil {
		return VolumeInfo{}, err
	}
	defer d.Close()
	if err := s.acceptEpoch(d.v.entry); err != nil {
		return VolumeInfo{}, err
	}
	return s.Volume(ctx, name)
}

// acceptEpoch stores it. e.mu keeps other changes of the volume's record away.
func (s *Store) acceptEpoch(e *volumeEntry) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.cat.mu.Lock()
	rec := e.rec
	s.cat.mu.Unlock()
	rec.OldAccepted = true
	b := s.db.NewBatch()
	putJSON(b, nameKey(prefixVolume, e.name), rec)
	if err := s.commit(b); err != nil {
		return err
	}
	s.cat.mu.Lock()
	e.rec.OldAccepted = true
	s.cat.mu.Unlock()
	s.o.Logger.Warn("clients of older epochs are let on", "volume", e.name, "epoch", rec.Epoch, "cause", rec.EpochCause)
	return nil
}
