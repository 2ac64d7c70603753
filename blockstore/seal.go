package blockstore

import (
	"context"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// sealDirty is how much may be unsynced when a seal closes the gate; it
	// bounds how long writers wait.
	sealDirty  = 4 << 20
	sealRounds = 5
)

// CaptureImage makes a golden image of what a volume reads as now. The volume
// goes on unnoticed by its clients: its layer is sealed and a fresh one put on
// top. Nothing is copied. The keeper takes its checksums and content id later.
//
// Errors: ErrNotFound (the volume), ErrExists (the image), ErrInvalid.
func (s *Store) CaptureImage(ctx context.Context, volume string, req ImportRequest) (ImageInfo, error) {
	var info ImageInfo
	if err := checkName("a golden image", req.Name); err != nil {
		return info, err
	}
	end, done, err := s.reserveImage(req, &info)
	if done || err != nil {
		return info, err
	}
	defer end()
	d, err := s.OpenVolume(ctx, volume)
	if err != nil {
		return info, err
	}
	defer d.Close()
	e := &imageEntry{name: req.Name, rec: imageRecord{ID: newID(), Created: time.Now().UTC(), Format: "capture", Owner: req.Owner}}
	if e.rec.Allocated, err = allocatedOf(ctx, d); err != nil {
		return info, err
	}
	err = d.v.seal(func(b *pebble.Batch, at layerID, size int64) {
		e.rec.Lineage, e.rec.Version, e.rec.Size = at.lineage, at.version, size
		info = putImage(b, e, req.RequestID)
	}, func(l *lineage, at *version) {
		e.lineage, e.version = l, at
		s.cat.mu.images[e.name] = e
	})
	s.keeper.wake()
	return info, err
}

// CaptureSnapshot makes a golden image of a snapshot: one commit.
//
// Errors: ErrNotFound (the volume, the snapshot), ErrExists (the image),
// ErrInvalid.
func (s *Store) CaptureSnapshot(ctx context.Context, volume, snapshot string, req ImportRequest) (ImageInfo, error) {
	var info ImageInfo
	if err := checkName("a golden image", req.Name); err != nil {
		return info, err
	}
	end, done, err := s.reserveImage(req, &info)
	if done || err != nil {
		return info, err
	}
	defer end()
	sn, d, err := s.openSnapshot(volume, snapshot) // held while it has no second name yet
	if err != nil {
		return info, err
	}
	defer d.Close()
	e := &imageEntry{name: req.Name, lineage: sn.lineage, version: sn.version, rec: imageRecord{
		ID: newID(), Lineage: sn.lineage.id, Version: sn.version.number, Size: d.Size(), Created: time.Now().UTC(), Format: "capture", Owner: req.Owner,
	}}
	if e.rec.Allocated, err = allocatedOf(ctx, d); err != nil {
		return info, err
	}
	s.cat.mu.Lock()
	if sn.version.rec.State != versionLive {
		s.cat.mu.Unlock()
		return info, errf(ErrNotFound, "snapshot %q of volume %q was deleted meanwhile", snapshot, volume)
	}
	e.version.names++ // from here on a deletion does not give it up
	s.cat.mu.Unlock()
	b := s.db.NewBatch()
	info = putImage(b, e, req.RequestID)
	err = s.commit(b)
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	if err != nil {
		e.version.names--
		return info, err
	}
	s.cat.mu.images[e.name] = e
	s.keeper.wake()
	return e.info(), nil
}

// putImage adds the records of a new image to a batch and describes it.
func putImage(b *pebble.Batch, e *imageEntry, requestID string) ImageInfo {
	info := ImageInfo{Name: e.name, ID: e.rec.ID, Size: e.rec.Size, Created: e.rec.Created, ContentID: e.rec.ContentID,
		SHA256: e.rec.SHA256, Format: e.rec.Format, Allocated: e.rec.Allocated, Owner: e.rec.Owner}
	putJSON(b, nameKey(prefixImage, e.name), e.rec)
	putRequest(b, requestID, "image", e.name, info)
	return info
}

// reserveImage is reserve for an image that is to be made.
func (s *Store) reserveImage(req ImportRequest, info *ImageInfo) (end func(), done bool, err error) {
	end, done, err = s.reserve("image", "i"+req.Name, req.RequestID, info)
	if done || err != nil {
		return nil, done, err
	}
	s.cat.mu.Lock()
	exists := s.cat.mu.images[req.Name] != nil
	s.cat.mu.Unlock()
	if exists {
		end()
		return nil, false, errf(ErrExists, "there is a golden image %q already: delete it first or choose another name", req.Name)
	}
	return end, false, nil
}

// allocatedOf counts the bytes of a disk that do not read as known zeros.
func allocatedOf(ctx context.Context, d *Disk) (n int64, err error) {
	err = d.Extents(ctx, 0, d.Size(), func(length int64, zero, _ bool) bool {
		if !zero {
			n += length
		}
		return true
	})
	return n, err
}

// restack replaces the top of the volume: it commits everything that was
// written, and what put adds in the same batch, and then has swap put the new
// top in place, all with the write gate closed, so that no write can be in
// both or in neither.
func (v *volume) restack(put func(old *top, b *pebble.Batch), swap func(old *top)) error {
	if err := v.ready(); err != nil {
		return err
	}
	for range sealRounds { // so that little is left while writers wait
		if v.unsynced.Load() < sealDirty {
			break
		}
		if err := v.flush(); err != nil {
			return err
		}
	}
	return v.commits.exclusive(func() error {
		if err := v.usable(); err != nil {
			return err
		}
		if !v.s.o.openGate {
			v.gate.Lock()
			defer v.gate.Unlock()
		}
		old := v.top.Load()
		d, err := v.takeLocked()
		if err != nil {
			return err
		}
		if err := v.commitSet(d, func(b *pebble.Batch) { put(old, b) }); err != nil {
			return err
		}
		swap(old)
		return nil
	})
}

// seal makes the volume's layer immutable and puts a new writable layer on
// top. In the same commit put gives the sealed version a name; then publish
// enters that name in the catalogue, whose lock is held.
func (v *volume) seal(put func(b *pebble.Batch, at layerID, size int64), publish func(l *lineage, at *version)) error {
	return v.restack(func(old *top, b *pebble.Batch) {
		id := old.layer.id
		put(b, id, old.size)
		putJSON(b, entryKey(layerID{id.lineage, id.version + 1}), versionRecord{Size: old.size})
	}, func(old *top) {
		c, l := v.s.cat, v.entry.lineage
		c.mu.Lock()
		sealed := l.tip()
		sealed.names++
		l.add(sealed.number+1, versionRecord{Size: old.size})
		publish(l, sealed)
		c.mu.Unlock()
		v.stackTop(old)
		v.s.reclaim.wake() // what stood below may have waited for this
	})
}

// stackTop puts a fresh writable layer on a sealed one. The gate is held. Reads
// that began before may still use the old top; they notice (read.go).
func (v *volume) stackTop(old *top) {
	old.layer.sealed.Store(true)
	id := layerID{old.layer.id.lineage, old.layer.id.version + 1}
	t := &top{
		layer: v.s.layer(id), size: old.size, own: newOwnTable(v.s.pages, old.size),
		base: v.s.view(v.entry.lineage, old.layer.id.version, old.size),
	}
	t.mu.dirty = map[uint32]*ownPage{}
	v.top.Store(t)
	old.close()
}

// GrowVolume makes a volume larger; what is added reads as zero. Clients that
// are connected see it when they connect again. Shrinking is refused.
//
// Errors: ErrNotFound, ErrInvalid.
func (s *Store) GrowVolume(ctx context.Context, name string, size int64) (VolumeInfo, error) {
	if err := checkSize(size); err != nil {
		return VolumeInfo{}, err
	}
	release, err := s.begin()
	if err != nil {
		return VolumeInfo{}, err
	}
	defer release()
	d, err := s.OpenVolume(ctx, name)
	if err != nil {
		return VolumeInfo{}, err
	}
	defer d.Close()
	if old := d.Size(); size < old {
		return VolumeInfo{}, errf(ErrInvalid, "volume %q has %d bytes and cannot shrink to %d: make a new one", name, old, size)
	}
	if err := d.v.grow(size); err != nil {
		return VolumeInfo{}, err
	}
	return s.Volume(ctx, name)
}

func (v *volume) grow(size int64) error {
	rec := versionRecord{}
	return v.restack(func(old *top, b *pebble.Batch) {
		rec.Size = max(old.size, size) // another request may have been quicker
		putJSON(b, entryKey(old.layer.id), rec)
	}, func(old *top) {
		v.s.cat.mu.Lock()
		v.entry.lineage.tip().rec = rec
		v.s.cat.mu.Unlock()
		t := &top{layer: old.layer, size: rec.Size, own: old.own.grown(rec.Size), base: old.base}
		t.mu.dirty = map[uint32]*ownPage{} // the commit has taken all
		v.top.Store(t)
	})
}
