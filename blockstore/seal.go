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
// top. Nothing is copied. The content id is made later, by VerifyImage.
//
// Errors: ErrNotFound (the volume), ErrExists (the image), ErrInvalid.
func (s *Store) CaptureImage(ctx context.Context, volume string, req ImportRequest) (ImageInfo, error) {
	var info ImageInfo
	if err := checkName("a golden image", req.Name); err != nil {
		return info, err
	}
	d, err := s.OpenVolume(ctx, volume)
	if err != nil {
		return info, err
	}
	defer d.Close()
	done, release, err := s.reserveImage(req, &info)
	if done || err != nil {
		return info, err
	}
	defer release()
	e := &imageEntry{name: req.Name, lineage: d.v.entry.lineage, rec: imageRecord{
		ID: newID(), Lineage: d.v.entry.lineage.id, Created: time.Now().UTC(), Format: "capture", Owner: req.Owner,
	}}
	if e.rec.Allocated, err = allocatedOf(ctx, d); err != nil {
		return info, err
	}
	if err := d.v.ready(); err != nil {
		return info, err
	}
	for range sealRounds {
		if d.v.unsynced.Load() < sealDirty {
			break
		}
		if err := d.v.flush(); err != nil {
			return info, err
		}
	}
	return d.v.seal(e, req)
}

// reserveImage takes the name of an image to be made. done tells that the
// request was done before; info has its result then.
func (s *Store) reserveImage(req ImportRequest, info *ImageInfo) (done bool, release func(), err error) {
	c := s.cat
	names := []string{"i" + req.Name, requestName(req.RequestID)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.reserveLocked(names...); err != nil {
		return false, nil, err
	}
	done, err = c.repeated(req.RequestID, "image", req.Name, info)
	if !done && err == nil && c.mu.images[req.Name] != nil {
		err = errf(ErrExists, "there is a golden image %q already: delete it first or choose another name", req.Name)
	}
	if done || err != nil {
		c.unreserveLocked(names...)
		return done, nil, err
	}
	return false, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.unreserveLocked(names...)
	}, nil
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

// seal makes the volume's layer immutable and an image of it, and puts a new
// writable layer on top: all in one commit, with the write gate closed, so
// that no write can be in both or in neither.
func (v *volume) seal(e *imageEntry, req ImportRequest) (info ImageInfo, err error) {
	err = v.commits.exclusive(func() error {
		if err := v.usable(); err != nil {
			return err
		}
		v.gate.Lock()
		defer v.gate.Unlock()
		old := v.top.Load()
		c := v.s.cat
		c.mu.Lock()
		rec := e.lineage.rec
		rec.Sizes = append(append([]int64(nil), rec.Sizes...), old.size)
		c.mu.Unlock()
		e.rec.Version, e.rec.Size = old.layer.id.version, old.size
		info = ImageInfo{Name: e.name, ID: e.rec.ID, Size: e.rec.Size, Created: e.rec.Created, Format: e.rec.Format, Allocated: e.rec.Allocated, Owner: e.rec.Owner}
		err := v.commitSet(v.takeLocked(), func(b *pebble.Batch) {
			putJSON(b, lineageKey(prefixLineage, e.lineage.id), rec)
			putJSON(b, nameKey(prefixImage, e.name), e.rec)
			putRequest(b, req.RequestID, "image", e.name, info)
		})
		if err != nil {
			return err
		}
		c.mu.Lock()
		e.lineage.rec.Sizes = rec.Sizes
		e.lineage.retain(e.rec.Version)
		c.mu.images[e.name] = e
		c.mu.Unlock()
		v.stackTop(old)
		return nil
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
	return v.commits.exclusive(func() error {
		if err := v.usable(); err != nil {
			return err
		}
		v.gate.Lock()
		defer v.gate.Unlock()
		old, l, c := v.top.Load(), v.entry.lineage, v.s.cat
		if size <= old.size {
			return nil // another request was quicker
		}
		c.mu.Lock()
		rec := l.rec
		rec.Sizes = append([]int64(nil), rec.Sizes...)
		rec.Sizes[len(rec.Sizes)-1] = size
		c.mu.Unlock()
		b := v.s.db.NewBatch()
		putJSON(b, lineageKey(prefixLineage, l.id), rec)
		if err := v.s.commit(b); err != nil {
			return err
		}
		c.mu.Lock()
		l.rec.Sizes = rec.Sizes
		c.mu.Unlock()
		t := &top{layer: old.layer, size: size, own: old.own.grown(size), base: old.base}
		old.mu.Lock()
		t.mu.dirty = old.mu.dirty
		old.mu.Unlock()
		v.top.Store(t)
		return nil
	})
}
