package blockstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// CreateVolume makes an OS volume, as a clone of a golden image or of a
// snapshot, or empty. It costs one small commit whatever the size: nothing is
// copied.
//
// Errors: ErrExists, ErrNotFound (the image or snapshot), ErrInvalid (name,
// size), ErrNoSpace (little is left: see Options.Watermark).
func (s *Store) CreateVolume(_ context.Context, req CloneRequest) (VolumeInfo, error) {
	var info VolumeInfo
	if err := errors.Join(checkName("a volume", req.Name), checkQuota(req.Quota)); err != nil {
		return info, err
	}
	end, done, err := s.reserve("volume", "v"+req.Name, req.RequestID, &info)
	if done || err != nil {
		return info, err
	}
	defer end()
	if err := s.space.admit("volume"); err != nil {
		return info, err
	}
	c := s.cat
	c.mu.Lock()
	e, err := c.newVolumeLocked(req)
	if err != nil {
		c.mu.Unlock()
		return info, err
	}
	info = e.infoLocked()
	c.mu.Unlock()

	b := s.db.NewBatch()
	putJSON(b, nameKey(prefixVolume, e.name), e.rec)
	putLineage(b, e.lineage)
	putRequest(b, req.RequestID, "volume", req.Name, info)
	err = s.commit(b)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.dropLineageLocked(e.lineage)
		return VolumeInfo{}, err
	}
	c.mu.volumes[e.name] = e
	return info, nil
}

// newVolumeLocked makes the entry of a volume with its lineage; the name is
// reserved. The lineage keeps the image's layer alive from now on.
func (c *catalogue) newVolumeLocked(req CloneRequest) (*volumeEntry, error) {
	if c.mu.volumes[req.Name] != nil {
		return nil, errf(ErrExists, "there is a volume %q already: delete it first or choose another name", req.Name)
	}
	e := &volumeEntry{name: req.Name, rec: volumeRecord{ID: newID(), Created: time.Now().UTC(), Owner: req.Owner, Quota: req.Quota}}
	parent, version, err := c.originLocked(req, &e.rec)
	if err != nil {
		return nil, err
	}
	size := req.Size
	switch {
	case version == nil && size == 0:
		return nil, errf(ErrInvalid, "a volume needs a golden image or a size")
	case version != nil && size == 0:
		size = version.rec.Size
	case version != nil && size < version.rec.Size:
		return nil, errf(ErrInvalid, "a volume of %d bytes is smaller than %s of %d bytes: give at least that size, or none", size, req.origin(), version.rec.Size)
	}
	if err := checkSize(size); err != nil {
		return nil, err
	}
	l := c.addLineageLocked(parent, version, size, lineageLive)
	e.rec.Lineage = l.id
	return newVolumeEntry(e.name, e.rec, l), nil
}

// origin says for people what is cloned.
func (r CloneRequest) origin() string {
	if r.Snapshot != "" {
		return fmt.Sprintf("snapshot %q of volume %q", r.Snapshot, r.Volume)
	}
	return fmt.Sprintf("its golden image %q", r.Image)
}

// originLocked finds the version that a clone stands on and notes in the
// volume's record whose it is; a nil version is an empty disk.
func (c *catalogue) originLocked(req CloneRequest, rec *volumeRecord) (*lineage, *version, error) {
	switch {
	case req.Snapshot != "" && (req.Volume == "" || req.Image != ""), req.Snapshot == "" && req.Volume != "":
		return nil, nil, errf(ErrInvalid, "a clone stands on a golden image, or on a snapshot and its volume: name one of them")
	case req.Snapshot != "":
		e, err := c.volumeLocked(req.Volume)
		if err != nil {
			return nil, nil, err
		}
		sn, err := e.snapshotLocked(req.Snapshot)
		if err != nil {
			return nil, nil, err
		}
		rec.Image, rec.ImageID = e.rec.Image, e.rec.ImageID
		return sn.lineage, sn.version, nil
	case req.Image != "":
		img, err := c.imageLocked(req.Image)
		if err != nil {
			return nil, nil, err
		}
		rec.Image, rec.ImageID = img.name, img.rec.ID
		return img.lineage, img.version, nil
	}
	return nil, nil, nil
}

// DeleteImage removes the name of a golden image. Volumes made from it go on
// unharmed; what they do not need of its space comes back in the background,
// the rest when the last of them is gone.
//
// Error: ErrNotFound.
func (s *Store) DeleteImage(_ context.Context, name, requestID string) error {
	end, done, err := s.reserve("delete-image", "i"+name, requestID, nil)
	if done || err != nil {
		return err
	}
	defer end()
	c := s.cat
	c.mu.Lock()
	e, err := c.imageLocked(name)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	delete(c.mu.images, name)
	d := doom{s: s}
	d.unnameLocked(e.lineage, e.version)
	c.mu.Unlock()
	return d.commit("delete-image", name, requestID, func(b *pebble.Batch) {
		_ = b.Delete(nameKey(prefixImage, name), nil)
	}, func() { c.mu.images[name] = e })
}

// doom collects the versions that a deletion gives up.
type doom struct {
	s     *Store
	names []*version // that lost a name
	gone  []layerOf  // that are given up
}

// unnameLocked takes a name from a version. With the last one it is given up,
// unless a volume writes to it.
func (d *doom) unnameLocked(l *lineage, v *version) {
	v.names--
	d.names = append(d.names, v)
	if v.names == 0 && !(l.writable && v == l.tip()) {
		d.addLocked(l, v)
	}
}

func (d *doom) addLocked(l *lineage, v *version) { d.gone = append(d.gone, layerOf{l, v}) }

// layerOf is a version and the lineage that it is of.
type layerOf struct {
	lineage *lineage
	version *version
}

// commit makes a deletion durable: what put adds, and that the versions are
// given up. If that fails, the names stand again and undo puts back, under
// the catalogue's lock, what was taken out of it.
func (d *doom) commit(kind, name, requestID string, put func(b *pebble.Batch), undo func()) error {
	c := d.s.cat
	b := d.s.db.NewBatch()
	put(b)
	c.mu.Lock()
	for _, g := range d.gone {
		rec := g.version.rec
		rec.State = versionDoomed
		putJSON(b, entryKey(layerID{g.lineage.id, g.version.number}), rec)
	}
	c.mu.Unlock()
	putRequest(b, requestID, kind, name, nil)
	err := d.s.commit(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		for _, v := range d.names {
			v.names++
		}
		undo()
		return err
	}
	for _, g := range d.gone {
		g.version.rec.State = versionDoomed
		if g.version == g.lineage.tip() {
			g.lineage.writable = false // not before: the reclaimer would take it for sealed
		}
		c.mu.doomed[g.lineage] = true
	}
	d.s.reclaim.wake()
	return nil
}
