package blockstore

import (
	"context"
	"slices"
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
// top. Nothing is copied. The content id is made later, by VerifyImage.
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
	e := &imageEntry{name: req.Name, lineage: d.v.entry.lineage, rec: imageRecord{
		ID: newID(), Lineage: d.v.entry.lineage.id, Created: time.Now().UTC(), Format: "capture", Owner: req.Owner,
	}}
	if e.rec.Allocated, err = allocatedOf(ctx, d); err != nil {
		return info, err
	}
	return d.v.seal(e, req)
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

// lineageRecord returns a copy of the record of the volume's lineage.
func (v *volume) lineageRecord() lineageRecord {
	v.s.cat.mu.Lock()
	defer v.s.cat.mu.Unlock()
	rec := v.entry.lineage.rec
	rec.Sizes = slices.Clone(rec.Sizes)
	return rec
}

// seal makes the volume's layer immutable and an image of it, and puts a new
// writable layer on top.
func (v *volume) seal(e *imageEntry, req ImportRequest) (info ImageInfo, err error) {
	var rec lineageRecord
	err = v.restack(func(old *top, b *pebble.Batch) {
		rec = v.lineageRecord()
		rec.Sizes = append(rec.Sizes, old.size)
		e.rec.Version, e.rec.Size = old.layer.id.version, old.size
		info = ImageInfo{Name: e.name, ID: e.rec.ID, Size: e.rec.Size, Created: e.rec.Created, Format: e.rec.Format, Allocated: e.rec.Allocated, Owner: e.rec.Owner}
		putJSON(b, lineageKey(prefixLineage, e.lineage.id), rec)
		putJSON(b, nameKey(prefixImage, e.name), e.rec)
		putRequest(b, req.RequestID, "image", e.name, info)
	}, func(old *top) {
		c := v.s.cat
		c.mu.Lock()
		e.lineage.rec.Sizes = rec.Sizes
		e.lineage.retain(e.rec.Version)
		c.mu.images[e.name] = e
		c.mu.Unlock()
		v.stackTop(old)
	})
	return info, err
}

// stackTop puts a fresh writable layer on a sealed one. The gate is held. The
// view below stays open, for reads that began before may still use it.
func (v *volume) stackTop(old *top) {
	old.layer.sealed.Store(true)
	id := layerID{old.layer.id.lineage, old.layer.id.version + 1}
	t := &top{
		layer: v.s.layer(id), size: old.size, own: newTable[ownPage](old.size),
		base: v.s.view(v.entry.lineage, old.layer.id.version, old.size),
	}
	t.mu.dirty = map[uint32]*ownPage{}
	v.retired = append(v.retired, old.base)
	v.top.Store(t)
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
	var rec lineageRecord
	return v.restack(func(old *top, b *pebble.Batch) {
		rec = v.lineageRecord()
		tip := &rec.Sizes[len(rec.Sizes)-1]
		*tip = max(*tip, size) // another request may have been quicker
		putJSON(b, lineageKey(prefixLineage, v.entry.lineage.id), rec)
	}, func(old *top) {
		size := rec.Sizes[len(rec.Sizes)-1]
		v.s.cat.mu.Lock()
		v.entry.lineage.rec.Sizes = rec.Sizes
		v.s.cat.mu.Unlock()
		t := &top{layer: old.layer, size: size, own: old.own.grown(size), base: old.base}
		t.mu.dirty = map[uint32]*ownPage{} // the commit has taken all
		v.top.Store(t)
	})
}
