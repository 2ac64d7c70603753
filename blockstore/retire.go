package blockstore

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// retiredRecord is the x record of a volume that was deleted and is kept for a
// while.
type retiredRecord struct {
	Name   string       `json:"name"`
	Volume volumeRecord `json:"volume"`
	retirement
}

type retirement struct {
	Retired time.Time `json:"retired"`
	Until   time.Time `json:"until"`
}

func (c *catalogue) loadRetired() error {
	return scanJSON(c.s, prefixRetired, func(id string, rec retiredRecord) error {
		e, err := c.loadVolume(rec.Name, rec.Volume)
		if err != nil {
			return err
		}
		e.retired = rec.retirement
		c.mu.retired[id] = e
		return nil
	})
}

// DeleteVolume removes an OS volume and its snapshots. It is gone when the
// call returns; its space comes back in the background.
//
// Errors: ErrNotFound, ErrInUse (a client has it open).
func (s *Store) DeleteVolume(_ context.Context, name, requestID string) error {
	end, e, done, err := s.takeVolume("delete-volume", name, "", requestID)
	if done || err != nil {
		return err
	}
	defer end()
	c := s.cat
	c.mu.Lock()
	d := c.removeVolumeLocked(e)
	c.mu.Unlock()
	err = d.commit("delete-volume", name, requestID, func(b *pebble.Batch) {
		_ = b.Delete(nameKey(prefixVolume, name), nil)
		deleteSnapshots(b, e.rec.ID)
	}, func() { c.mu.volumes[name] = e })
	if err == nil {
		s.forgetVolume(e)
	}
	return err
}

// forgetVolume gives up what a volume that is gone has in memory: one that
// failed stayed open.
func (s *Store) forgetVolume(e *volumeEntry) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.letGo(); err != nil {
		s.o.Logger.Warn("a volume that failed and was deleted is not closed", "volume", e.name, "err", err)
	}
}

// takeVolume reserves the name of a volume that nobody uses and takes it out of
// the catalogue: nobody opens it from here on.
// With an id only the volume that has it is taken.
func (s *Store) takeVolume(kind, name, id, requestID string) (end func(), e *volumeEntry, done bool, err error) {
	end, done, err = s.reserve(kind, "v"+name, requestID, nil)
	if done || err != nil {
		return nil, nil, done, err
	}
	if e, err = s.cat.takeVolume(name, id); err != nil {
		end()
		return nil, nil, false, err
	}
	return end, e, false, nil
}

func (c *catalogue) takeVolume(name, id string) (*volumeEntry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.volumeLocked(name)
	if err != nil {
		return nil, err
	}
	if id != "" && e.rec.ID != id {
		return nil, errf(ErrNotFound, "volume %q with the ID %s is gone: the name is that of another volume, with the ID %s", name, id, e.rec.ID)
	}
	if e.users > 0 {
		return nil, errf(ErrInUse, "volume %q is in use by %d clients: disconnect them first", name, e.users)
	}
	delete(c.mu.volumes, name)
	c.mu.moving[e.rec.ID] = e
	return e, nil
}

// removeVolumeLocked gives up the top of a volume and its snapshots.
func (c *catalogue) removeVolumeLocked(e *volumeEntry) doom {
	d := doom{s: c.s}
	delete(c.mu.moving, e.rec.ID)
	d.addLocked(e.lineage, e.lineage.tip())
	for _, sn := range e.snapshots {
		d.unnameLocked(sn.lineage, sn.version)
	}
	return d // the top stays one until that is durable
}

func deleteSnapshots(b *pebble.Batch, volumeID string) {
	_ = b.DeleteRange(snapshotKey(volumeID, ""), snapshotKey(volumeID, "\xff"), nil)
}

// RetireVolume deletes an OS volume, but keeps it and its snapshots for a
// while, so that it can be restored. Errors as DeleteVolume.
func (s *Store) RetireVolume(ctx context.Context, name string, keep time.Duration, requestID string) error {
	return s.RetireVolumeOf(ctx, name, "", keep, requestID)
}

// RetireVolumeOf is RetireVolume for the volume with that ID only: where another
// has its name by now, that one is left alone. Errors: ErrNotFound then, and
// those of DeleteVolume. Without an ID it takes whichever has the name.
func (s *Store) RetireVolumeOf(_ context.Context, name, id string, keep time.Duration, requestID string) error {
	end, e, done, err := s.takeVolume("retire-volume", name, id, requestID)
	if done || err != nil {
		return err
	}
	defer end()
	now := time.Now().UTC()
	rec := retiredRecord{Name: e.name, Volume: e.rec, retirement: retirement{Retired: now, Until: now.Add(keep)}}
	b := s.db.NewBatch()
	_ = b.Delete(nameKey(prefixVolume, e.name), nil)
	putJSON(b, nameKey(prefixRetired, e.rec.ID), rec)
	putRequest(b, requestID, "retire-volume", e.name, nil)
	err = s.commit(b)
	c := s.cat
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.moving, e.rec.ID)
	if err != nil {
		c.mu.volumes[e.name] = e
		return err
	}
	e.retired = rec.retirement
	c.mu.retired[e.rec.ID] = e
	return nil
}

// RetiredVolumes lists the deleted volumes that can still be restored, by name.
func (s *Store) RetiredVolumes(context.Context) ([]RetiredVolume, error) {
	c := s.cat
	c.mu.Lock()
	entries := make([]*volumeEntry, 0, len(c.mu.retired))
	for _, e := range c.mu.retired {
		entries = append(entries, e)
	}
	c.mu.Unlock()
	list := make([]RetiredVolume, 0, len(entries))
	for _, e := range entries {
		info, err := s.volumeInfo(e)
		if err != nil {
			return nil, err
		}
		list = append(list, RetiredVolume{VolumeInfo: info, Retired: e.retired.Retired, Until: e.retired.Until})
	}
	slices.SortFunc(list, func(a, b RetiredVolume) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return a.Retired.Compare(b.Retired)
	})
	return list, nil
}

// retiredLocked finds a retired volume by its ID or, if there is only one of
// that name, by its name.
func (c *catalogue) retiredLocked(idOrName string) (*volumeEntry, error) {
	if e := c.mu.retired[idOrName]; e != nil {
		return e, nil
	}
	var found *volumeEntry
	for _, e := range c.mu.retired {
		if e.name != idOrName {
			continue
		}
		if found != nil {
			return nil, errf(ErrInvalid, "there are several retired volumes %q: name one by its ID", idOrName)
		}
		found = e
	}
	if found == nil {
		return nil, errf(ErrNotFound, "there is no retired volume %q", idOrName)
	}
	return found, nil
}

// RestoreVolume brings a retired volume back, with its snapshots, under its
// own name or another one.
//
// Errors: ErrNotFound, ErrExists (a volume of that name), ErrInvalid.
func (s *Store) RestoreVolume(ctx context.Context, idOrName, as, requestID string) (VolumeInfo, error) {
	c := s.cat
	var before requestRecord
	if done, err := c.request(requestID, "restore-volume", &before); done || err != nil {
		if err != nil {
			return VolumeInfo{}, err
		}
		return s.Volume(ctx, before.Name)
	}
	c.mu.Lock()
	e, err := c.retiredLocked(idOrName)
	c.mu.Unlock()
	if err != nil {
		return VolumeInfo{}, err
	}
	if as == "" {
		as = e.name
	}
	if err := checkName("a volume", as); err != nil {
		return VolumeInfo{}, err
	}
	end, _, err := s.reserve("restore-volume", "v"+as, requestID, nil)
	if err != nil {
		return VolumeInfo{}, err
	}
	defer end()
	if err := s.takeRetired(e, as); err != nil {
		return VolumeInfo{}, err
	}
	b := s.db.NewBatch()
	_ = b.Delete(nameKey(prefixRetired, e.rec.ID), nil)
	putJSON(b, nameKey(prefixVolume, as), e.rec)
	putRequest(b, requestID, "restore-volume", as, nil)
	err = s.commit(b)
	c.mu.Lock()
	delete(c.mu.moving, e.rec.ID)
	if err != nil {
		c.mu.retired[e.rec.ID] = e
		c.mu.Unlock()
		return VolumeInfo{}, err
	}
	e.name, e.retired = as, retirement{}
	c.mu.volumes[as] = e
	c.mu.Unlock()
	return s.volumeInfo(e)
}

// takeRetired takes a volume out of the retired ones, to become as, which is
// reserved.
func (s *Store) takeRetired(e *volumeEntry, as string) error {
	c := s.cat
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.volumes[as] != nil {
		return errf(ErrExists, "there is a volume %q already: restore under another name", as)
	}
	return c.takeRetiredLocked(e)
}

func (c *catalogue) takeRetiredLocked(e *volumeEntry) error {
	if c.mu.retired[e.rec.ID] != e {
		return errf(ErrNotFound, "volume %q is no longer retired: it was restored or removed", e.name)
	}
	delete(c.mu.retired, e.rec.ID)
	c.mu.moving[e.rec.ID] = e
	return nil
}

// RemoveRetired removes a retired volume and its snapshots for good. Error:
// ErrNotFound.
func (s *Store) RemoveRetired(_ context.Context, idOrName, requestID string) error {
	end, done, err := s.reserve("remove-retired", "x"+idOrName, requestID, nil)
	if done || err != nil {
		return err
	}
	defer end()
	s.cat.mu.Lock()
	e, err := s.cat.retiredLocked(idOrName)
	s.cat.mu.Unlock()
	if err != nil {
		return err
	}
	return s.removeRetired(e, idOrName, requestID)
}

func (s *Store) removeRetired(e *volumeEntry, name, requestID string) error {
	c := s.cat
	c.mu.Lock()
	if err := c.takeRetiredLocked(e); err != nil {
		c.mu.Unlock()
		return err
	}
	d := c.removeVolumeLocked(e)
	c.mu.Unlock()
	err := d.commit("remove-retired", name, requestID, func(b *pebble.Batch) {
		_ = b.Delete(nameKey(prefixRetired, e.rec.ID), nil)
		deleteSnapshots(b, e.rec.ID)
	}, func() { c.mu.retired[e.rec.ID] = e })
	if err == nil {
		s.forgetVolume(e)
	}
	return err
}

// removeExpired removes the retired volumes whose time is over.
func (s *Store) removeExpired(now time.Time) {
	c := s.cat
	c.mu.Lock()
	var over []*volumeEntry
	for _, e := range c.mu.retired {
		if now.After(e.retired.Until) {
			over = append(over, e)
		}
	}
	c.mu.Unlock()
	for _, e := range over {
		if err := s.removeRetired(e, "", ""); err != nil {
			s.o.Logger.Warn("a retired volume is not removed; tried again later", "volume", e.name, "id", e.rec.ID, "err", err)
			continue
		}
		s.o.Logger.Info("retired volume removed", "volume", e.name, "id", e.rec.ID, "retired", e.retired.Retired)
	}
}
