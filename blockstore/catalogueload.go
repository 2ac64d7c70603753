package blockstore

import (
	"encoding/binary"
	"encoding/json"

	"github.com/cockroachdb/pebble/v2"
)

func loadCatalogue(s *Store) (*catalogue, error) {
	c := &catalogue{s: s}
	c.mu.images = map[string]*imageEntry{}
	c.mu.volumes = map[string]*volumeEntry{}
	c.mu.retired = map[string]*volumeEntry{}
	c.mu.moving = map[string]*volumeEntry{}
	c.mu.lineages = map[uint64]*lineage{}
	c.mu.readers = map[*Disk]string{}
	c.mu.doomed = map[*lineage]bool{}
	c.mu.failures = map[uint64]*failure{}
	c.mu.reserved = map[string]bool{}
	for _, load := range []func() error{c.loadLineages, c.loadVersions, c.loadParents, c.loadImages, c.loadVolumes, c.loadRetired, c.loadSnapshots, c.loadFailures, c.loadMarks} {
		if err := load(); err != nil {
			return nil, err
		}
	}
	c.reportUnheld()
	return c, nil
}

const restoreBackup = "restore the store from a backup"

func (c *catalogue) loadLineages() error {
	return scanJSON(c.s, prefixLineage, func(key string, rec lineageRecord) error {
		if len(key) != 8 {
			return errf(ErrCorrupt, "lineage record %x is damaged: %s", key, restoreBackup)
		}
		l := newLineage(binary.BigEndian.Uint64([]byte(key)))
		l.rec = rec
		c.mu.lineages[l.id] = l
		return nil
	})
}

func (c *catalogue) loadVersions() error {
	err := scanJSON(c.s, prefixVersion, func(key string, rec versionRecord) error {
		if len(key) != 12 {
			return errf(ErrCorrupt, "version record %x is damaged: %s", key, restoreBackup)
		}
		id := layerID{binary.BigEndian.Uint64([]byte(key)), binary.BigEndian.Uint32([]byte(key[8:]))}
		l := c.mu.lineages[id.lineage]
		if l == nil {
			return errf(ErrCorrupt, "version %s has lost its lineage: %s", layerDir(id), restoreBackup)
		}
		if l.rec.State == lineageImporting {
			rec.State = versionDoomed
		}
		l.add(id.version, rec)
		return nil
	})
	for _, l := range c.mu.lineages {
		if l.hasDoomed() {
			c.mu.doomed[l] = true
		}
		if err == nil && len(l.versions) == 0 {
			if lost := errf(ErrCorrupt, "lineage %016x has lost its versions: %s", l.id, restoreBackup); c.s.tolerate(lost) {
				delete(c.mu.lineages, l.id)
			} else {
				err = lost
			}
		}
	}
	return err
}

func (c *catalogue) loadParents() error {
	if c.s.o.ReadOnly {
		c.dropOrphans()
	}
	for _, l := range c.mu.lineages {
		if l.rec.Parent == 0 {
			continue
		}
		v, err := c.versionAt(layerID{l.rec.Parent, l.rec.ParentVersion})
		if err != nil {
			return errf(ErrCorrupt, "lineage %016x has lost its parent: %v", l.id, err)
		}
		l.parent = c.mu.lineages[l.rec.Parent]
		v.children++
	}
	return nil
}

// versionAt finds a version that a record names.
func (c *catalogue) versionAt(id layerID) (*version, error) {
	if l := c.mu.lineages[id.lineage]; l != nil {
		if v := l.at(id.version); v != nil {
			return v, nil
		}
	}
	return nil, errf(ErrCorrupt, "layer %s does not exist: %s", layerDir(id), restoreBackup)
}

func (c *catalogue) loadImages() error {
	return scanJSON(c.s, prefixImage, func(name string, rec imageRecord) error {
		v, err := c.versionAt(layerID{rec.Lineage, rec.Version})
		if err != nil {
			return errf(ErrCorrupt, "image %q: %v", name, err)
		}
		v.names++
		if v.digests, err = c.s.loadDigests(layerID{rec.Lineage, rec.Version}); err != nil {
			return errf(ErrCorrupt, "image %q: %v", name, err)
		}
		c.mu.images[name] = &imageEntry{name: name, rec: rec, lineage: c.mu.lineages[rec.Lineage], version: v}
		return nil
	})
}

// newVolumeEntry makes the entry of a volume; its lineage is the volume's.
func newVolumeEntry(name string, rec volumeRecord, l *lineage) *volumeEntry {
	l.writable = true
	return &volumeEntry{name: name, rec: rec, lineage: l, snapshots: map[string]*snapshotEntry{}}
}

func (c *catalogue) loadVolumes() error {
	return scanJSON(c.s, prefixVolume, func(name string, rec volumeRecord) error {
		e, err := c.loadVolume(name, rec)
		if err == nil {
			c.mu.volumes[name] = e
		}
		return err
	})
}

func (c *catalogue) loadVolume(name string, rec volumeRecord) (*volumeEntry, error) {
	l := c.mu.lineages[rec.Lineage]
	if l == nil || l.rec.State != lineageLive || l.writable {
		return nil, errf(ErrCorrupt, "volume %q names lineage %016x, which does not exist or is another's: %s", name, rec.Lineage, restoreBackup)
	}
	return newVolumeEntry(name, rec, l), nil
}

// reportUnheld tells of versions that nothing names and nobody gave up. Their
// data is kept.
func (c *catalogue) reportUnheld() {
	for _, l := range c.mu.lineages {
		for _, v := range l.versions {
			if v.rec.State == versionLive && !v.held() && !(l.writable && v == l.tip()) {
				c.s.o.Logger.Warn("layer without a name: kept, please report", "layer", layerDir(layerID{l.id, v.number}))
			}
		}
	}
}

// scanJSON calls fn with every record of a prefix.
func scanJSON[T any](s *Store, prefix byte, fn func(key string, rec T) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefix}, UpperBound: []byte{prefix + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		var rec T
		err := json.Unmarshal(it.Value(), &rec)
		if err != nil {
			err = errf(ErrCorrupt, "metadata record %q is damaged: %v", it.Key(), err)
		} else {
			err = fn(string(it.Key()[1:]), rec)
		}
		if err != nil && !s.tolerate(err) {
			return err
		}
	}
	if err := it.Error(); err != nil {
		if err = errf(ErrCorrupt, "metadata in %s is damaged: %v", s.metaDir(), err); !s.tolerate(err) {
			return err
		}
	}
	return nil
}
