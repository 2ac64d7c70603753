package blockstore

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// snapshotRecord is the s record of a snapshot: a name of a sealed version of
// a volume.
type snapshotRecord struct {
	ID      string    `json:"id"`
	Lineage uint64    `json:"lineage"`
	Version uint32    `json:"version"`
	Created time.Time `json:"created"`
	Owner   string    `json:"owner,omitempty"`
	Cause   string    `json:"cause,omitempty"`
}

type snapshotEntry struct {
	name    string
	rec     snapshotRecord
	lineage *lineage
	version *version
}

// volumeIDLength is that of an ID as newID makes it.
const volumeIDLength = 32

func snapshotKey(volumeID, name string) []byte { return nameKey(prefixSnapshot, volumeID+name) }

func (c *catalogue) loadSnapshots() error {
	byID := map[string]*volumeEntry{}
	for _, e := range c.mu.volumes {
		byID[e.rec.ID] = e
	}
	for id, e := range c.mu.retired {
		byID[id] = e
	}
	return scanJSON(c.s, prefixSnapshot, func(key string, rec snapshotRecord) error {
		if len(key) <= volumeIDLength || byID[key[:volumeIDLength]] == nil {
			return errf(ErrCorrupt, "snapshot %q has lost its volume: %s", key, restoreBackup)
		}
		e, name := byID[key[:volumeIDLength]], key[volumeIDLength:]
		v, err := c.versionAt(layerID{rec.Lineage, rec.Version})
		if err != nil {
			return errf(ErrCorrupt, "snapshot %q of volume %q: %v", name, e.name, err)
		}
		v.names++
		e.snapshots[name] = &snapshotEntry{name: name, rec: rec, lineage: c.mu.lineages[rec.Lineage], version: v}
		return nil
	})
}

func (e *volumeEntry) snapshotLocked(name string) (*snapshotEntry, error) {
	if sn := e.snapshots[name]; sn != nil {
		return sn, nil
	}
	return nil, errf(ErrNotFound, "volume %q has no snapshot %q%s", e.name, name, didYouMean(name, e.snapshots))
}

func (sn *snapshotEntry) info(volume string) SnapshotInfo {
	return SnapshotInfo{
		Volume: volume, Name: sn.name, ID: sn.rec.ID, Size: sn.version.rec.Size, Created: sn.rec.Created,
		Owner: sn.rec.Owner, Cause: sn.rec.Cause, Clones: sn.version.children,
	}
}

// CreateSnapshot keeps what a volume reads as now under a name. The volume goes
// on unnoticed by its clients; nothing is copied.
//
// Errors: ErrNotFound (the volume), ErrExists, ErrInvalid, ErrFailed.
func (s *Store) CreateSnapshot(ctx context.Context, volume string, req SnapshotRequest) (SnapshotInfo, error) {
	var info SnapshotInfo
	if err := checkName("a snapshot", req.Name); err != nil {
		return info, err
	}
	end, done, err := s.reserve("snapshot", snapshotReservation(volume, req.Name), req.RequestID, &info)
	if done || err != nil {
		return info, err
	}
	defer end()
	d, err := s.OpenVolume(ctx, volume)
	if err != nil {
		return info, err
	}
	defer d.Close()
	e := d.v.entry
	if s.hasSnapshot(e, req.Name) {
		return info, errf(ErrExists, "volume %q has a snapshot %q already: delete it first or choose another name", volume, req.Name)
	}
	sn := &snapshotEntry{name: req.Name, rec: snapshotRecord{ID: newID(), Created: time.Now().UTC(), Owner: req.Owner}}
	err = d.v.seal(func(b *pebble.Batch, at layerID, size int64) {
		sn.rec.Lineage, sn.rec.Version = at.lineage, at.version
		info = SnapshotInfo{Volume: volume, Name: sn.name, ID: sn.rec.ID, Size: size, Created: sn.rec.Created, Owner: sn.rec.Owner}
		putJSON(b, snapshotKey(e.rec.ID, sn.name), sn.rec)
		putRequest(b, req.RequestID, "snapshot", snapshotReservation(volume, req.Name)[1:], info)
	}, func(l *lineage, at *version) {
		sn.lineage, sn.version = l, at
		e.snapshots[sn.name] = sn
	})
	return info, err
}

// snapshotReservation is the name under which an operation on a snapshot
// reserves it. No name has a slash.
func snapshotReservation(volume, name string) string { return "s" + volume + "/" + name }

func (s *Store) hasSnapshot(e *volumeEntry, name string) bool {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	return e.snapshots[name] != nil
}

// Snapshots lists the snapshots of a volume, oldest first. Error: ErrNotFound.
func (s *Store) Snapshots(_ context.Context, volume string) ([]SnapshotInfo, error) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	e, err := s.cat.volumeLocked(volume)
	if err != nil {
		return nil, err
	}
	list := make([]SnapshotInfo, 0, len(e.snapshots))
	for _, sn := range e.snapshots {
		list = append(list, sn.info(volume))
	}
	slices.SortFunc(list, func(a, b SnapshotInfo) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list, nil
}

// OpenSnapshot opens a snapshot for reading. It stays readable while open,
// even if its name is deleted. Error: ErrNotFound.
func (s *Store) OpenSnapshot(_ context.Context, volume, name string) (*Disk, error) {
	_, d, err := s.openSnapshot(volume, name)
	return d, err
}

func (s *Store) openSnapshot(volume, name string) (*snapshotEntry, *Disk, error) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	if s.cat.mu.shut {
		return nil, nil, errf(ErrClosed, "the store is closed")
	}
	e, err := s.cat.volumeLocked(volume)
	if err != nil {
		return nil, nil, err
	}
	sn, err := e.snapshotLocked(name)
	if err != nil {
		return nil, nil, err
	}
	return sn, s.openVersionLocked("snapshot "+volume+"/"+name, sn.lineage, sn.version), nil
}

// DeleteSnapshot removes a snapshot. What only it reads comes back in the
// background, wherever it stands among the others. Error: ErrNotFound.
func (s *Store) DeleteSnapshot(_ context.Context, volume, name, requestID string) error {
	find := func() (*volumeEntry, error) { return s.cat.volumeLocked(volume) }
	return s.deleteSnapshot(find, volume, name, requestID)
}

// DropSnapshot is DeleteSnapshot for who knows the ID of the volume, which may
// have another name by now, or be retired. Error: ErrNotFound.
func (s *Store) DropSnapshot(_ context.Context, volumeID, name string) error {
	find := func() (*volumeEntry, error) { return s.cat.volumeOfLocked(volumeID) }
	return s.deleteSnapshot(find, volumeID, name, "")
}

func (s *Store) deleteSnapshot(find func() (*volumeEntry, error), volume, name, requestID string) error {
	end, done, err := s.reserve("delete-snapshot", snapshotReservation(volume, name), requestID, nil)
	if done || err != nil {
		return err
	}
	defer end()
	c := s.cat
	c.mu.Lock()
	e, err := find()
	if err != nil {
		c.mu.Unlock()
		return err
	}
	sn, err := e.snapshotLocked(name)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	delete(e.snapshots, name)
	e.users++ // the volume stays while its snapshot goes
	d := doom{s: s}
	d.unnameLocked(sn.lineage, sn.version)
	c.mu.Unlock()
	defer s.unuseVolume(e)
	return d.commit("delete-snapshot", snapshotReservation(volume, name)[1:], requestID, func(b *pebble.Batch) {
		_ = b.Delete(snapshotKey(e.rec.ID, name), nil)
	}, func() { e.snapshots[name] = sn })
}

// volumeOfLocked finds a volume by its ID, retired or not.
func (c *catalogue) volumeOfLocked(id string) (*volumeEntry, error) {
	for _, e := range []*volumeEntry{c.mu.retired[id], c.mu.moving[id]} {
		if e != nil {
			return e, nil
		}
	}
	for _, e := range c.mu.volumes {
		if e.rec.ID == id {
			return e, nil
		}
	}
	return nil, errf(ErrNotFound, "there is no volume with the ID %s", id)
}

// OwnedSnapshot says where a snapshot is.
type OwnedSnapshot struct {
	VolumeID string
	Name     string
}

// SnapshotsOwnedBy lists the snapshots of an owner, those of retired volumes
// too, in no order.
func (s *Store) SnapshotsOwnedBy(_ context.Context, owner string) (list []OwnedSnapshot) {
	c := s.cat
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, entries := range []map[string]*volumeEntry{c.mu.volumes, c.mu.retired, c.mu.moving} {
		for _, e := range entries {
			for name, sn := range e.snapshots {
				if sn.rec.Owner == owner {
					list = append(list, OwnedSnapshot{e.rec.ID, name})
				}
			}
		}
	}
	return list
}
