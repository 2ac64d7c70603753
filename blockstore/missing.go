package blockstore

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
)

// missingData finds what disks name and what is not in the files any more. A
// block that was written is allocated, until it is punched; so a hole is no
// data. Each disk is looked at as its readers would.
func (s *Store) missingData(ctx context.Context) (list []MissingData, err error) {
	h := &holes{s: s, files: map[string]file{}}
	defer h.close()
	look := func(name string, r reader, size int64) {
		if err == nil && size > 0 {
			var m MissingData
			if m, err = h.missing(ctx, r, size); m.Bytes > 0 {
				m.Disk = name
				list = append(list, m)
			}
		}
	}
	version := func(name string, l *lineage, v *version) {
		view := s.view(l, v.number, v.rec.Size)
		look(name, reader{s: s, base: view}, v.rec.Size)
		view.close()
	}
	volume := func(kind string, e *volumeEntry) {
		v := s.newVolume(e)
		look(kind+" "+e.name, v.reader(), v.top.Load().size)
		v.top.Load().close()
		for _, name := range slices.Sorted(maps.Keys(e.snapshots)) {
			version("snapshot "+e.name+"/"+name, e.snapshots[name].lineage, e.snapshots[name].version)
		}
	}
	c := s.cat
	for _, name := range slices.Sorted(maps.Keys(c.mu.images)) {
		version("image "+name, c.mu.images[name].lineage, c.mu.images[name].version)
	}
	for _, name := range slices.Sorted(maps.Keys(c.mu.volumes)) {
		volume("volume", c.mu.volumes[name])
	}
	for _, id := range slices.Sorted(maps.Keys(c.mu.retired)) {
		volume("retired volume", c.mu.retired[id])
	}
	return list, err
}

// holes looks for holes in data files.
type holes struct {
	s     *Store
	files map[string]file // nil: there is none
}

func (h *holes) close() {
	for _, f := range h.files {
		if f != nil {
			f.Close()
		}
	}
}

func (h *holes) missing(ctx context.Context, r reader, size int64) (m MissingData, err error) {
	set := unsyncedSet{}
	walkErr := r.walk(ctx, 0, size, func(off, length int64, at *layer, _ bool) bool {
		if at != nil {
			err = h.in(at, off, off+length, set)
		}
		return err == nil
	})
	m.Ranges, m.More, m.Bytes = set.ranges(size)
	return m, errors.Join(err, walkErr)
}

// in adds to set what is a hole of a layer from off to end, within one region.
func (h *holes) in(l *layer, off, end int64, set unsyncedSet) error {
	s, at := l.segmentAt(off)
	f, err := h.open(s.path())
	if err != nil {
		return err
	}
	for off < end {
		start := end
		next := end
		if f != nil {
			from, to, err := f.NextData(at)
			if err != nil && err != io.EOF {
				return err
			}
			if err == nil {
				start, next = min(end, off+max(0, from-at)), min(end, off+to-at)
			}
		}
		if start > off {
			set.add(uint32(off>>regionShift), int(off&(RegionSize-1))>>blockShift, int((start-1)&(RegionSize-1))>>blockShift+1)
		}
		at, off = at+next-off, next
	}
	return nil
}

func (h *holes) open(path string) (file, error) {
	if f, ok := h.files[path]; ok {
		return f, nil
	}
	f, err := h.s.fs.Open(path, false)
	if errors.Is(err, os.ErrNotExist) {
		f, err = nil, nil
	}
	if err == nil {
		h.files[path] = f
	}
	return f, err
}
