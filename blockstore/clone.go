package blockstore

import (
	"context"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// CreateVolume makes an OS volume, as a clone of a golden image or empty. It
// costs one small commit whatever the size: nothing is copied.
//
// Errors: ErrExists, ErrNotFound (the image), ErrInvalid (name, size).
func (s *Store) CreateVolume(_ context.Context, req CloneRequest) (VolumeInfo, error) {
	var info VolumeInfo
	if err := checkName("a volume", req.Name); err != nil {
		return info, err
	}
	end, done, err := s.reserve("volume", "v"+req.Name, req.RequestID, &info)
	if done || err != nil {
		return info, err
	}
	defer end()
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
	putJSON(b, lineageKey(prefixLineage, e.lineage.id), e.lineage.rec)
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
	e := &volumeEntry{name: req.Name, rec: volumeRecord{ID: newID(), Created: time.Now().UTC(), Owner: req.Owner}}
	var parent *lineage
	var version uint32
	size := req.Size
	if req.Image != "" {
		img, err := c.imageLocked(req.Image)
		if err != nil {
			return nil, err
		}
		if size == 0 {
			size = img.rec.Size
		}
		if size < img.rec.Size {
			return nil, errf(ErrInvalid, "a volume of %d bytes is smaller than its golden image %q of %d bytes: give at least that size, or none", size, req.Image, img.rec.Size)
		}
		e.rec.Image, e.rec.ImageID = img.name, img.rec.ID
		parent, version = img.lineage, img.rec.Version
	} else if size == 0 {
		return nil, errf(ErrInvalid, "a volume needs a golden image or a size")
	}
	if err := checkSize(size); err != nil {
		return nil, err
	}
	e.lineage = c.addLineageLocked(parent, version, size, lineageLive)
	e.rec.Lineage = e.lineage.id
	return e, nil
}

// DeleteVolume removes an OS volume. It is gone when the call returns; its
// space comes back in the background.
//
// Errors: ErrNotFound, ErrInUse (a client has it open).
func (s *Store) DeleteVolume(_ context.Context, name, requestID string) error {
	end, done, err := s.reserve("delete-volume", "v"+name, requestID, nil)
	if done || err != nil {
		return err
	}
	defer end()
	c := s.cat
	c.mu.Lock()
	e, err := c.volumeLocked(name)
	if err == nil && e.users > 0 {
		err = errf(ErrInUse, "volume %q is in use by %d clients: disconnect them first", name, e.users)
	}
	if err != nil {
		c.mu.Unlock()
		return err
	}
	delete(c.mu.volumes, name) // nobody opens it from here on
	c.mu.Unlock()

	err = s.commitDelete("delete-volume", nameKey(prefixVolume, name), requestID, e.lineage)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.mu.volumes[name] = e
		return err
	}
	e.lineage.rec.State = lineageDoomed
	s.reclaim.wake()
	return nil
}

// DeleteImage removes the name of a golden image. Volumes made from it go on
// unharmed; its space comes back when the last of them is gone.
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
	var doomed *lineage // one that was imported for this image, not captured from a volume
	if e.rec.Version == e.lineage.tip() {
		doomed = e.lineage
	}
	c.mu.Unlock()

	err = s.commitDelete("delete-image", nameKey(prefixImage, name), requestID, doomed)

	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.mu.images[name] = e
		return err
	}
	if doomed != nil {
		doomed.rec.State = lineageDoomed
	}
	e.lineage.unretain(e.rec.Version)
	s.reclaim.wake()
	return nil
}

// commitDelete removes a name, and dooms the lineage that it owned, if any.
func (s *Store) commitDelete(kind string, key []byte, requestID string, doomed *lineage) error {
	b := s.db.NewBatch()
	if err := b.Delete(key, nil); err != nil {
		return err
	}
	if doomed != nil {
		s.putDoomed(b, doomed)
	}
	putRequest(b, requestID, kind, string(key[1:]), nil)
	return s.commit(b)
}

// putDoomed records that nobody owns the tip of a lineage any more.
func (s *Store) putDoomed(b *pebble.Batch, l *lineage) {
	s.cat.mu.Lock()
	rec := l.rec
	s.cat.mu.Unlock()
	rec.State = lineageDoomed
	putJSON(b, lineageKey(prefixLineage, l.id), rec)
}
