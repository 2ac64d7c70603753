package blockstore

import (
	"fmt"
	"path/filepath"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// view is a sealed version as it reads: what golden images are, and what a
// writable layer stands on. All users of a version share one view and so one
// copy of its pages.
type view struct {
	s       *Store
	lineage *lineage
	version uint32
	size    int64
	users   int // guarded by Store.views
	pages   *table[cachedPage]
}

// cachedPage is a page in the page cache.
type cachedPage struct {
	cachePlace
	page
	slot *atomic.Pointer[cachedPage] // in the view's table
}

func (p *cachedPage) bytes() int64 { return sizeOf[cachedPage]() + p.page.bytes() }

func (p *cachedPage) evict() bool { return p.slot.CompareAndSwap(p, nil) }

// zeroPage is shared by all regions without any record.
var zeroPage = &cachedPage{page: page{runs: []uint32{sourceZero}}}

// view returns the view of a sealed version; the caller closes it. The version
// must be retained (catalogue) as long.
func (s *Store) view(l *lineage, version uint32, size int64) *view {
	id := layerID{l.id, version}
	s.views.Lock()
	defer s.views.Unlock()
	v := s.views.m[id]
	if v == nil {
		v = &view{s: s, lineage: l, version: version, size: size, pages: newTable[cachedPage](s.pages, size)}
		s.views.m[id] = v
	}
	v.users++
	return v
}

func (v *view) close() {
	if v.lineage == nil {
		return // the empty view is nobody else's
	}
	v.s.views.Lock()
	defer v.s.views.Unlock()
	if v.users--; v.users == 0 {
		delete(v.s.views.m, layerID{v.lineage.id, v.version})
		v.pages.each(func(p *cachedPage) { v.s.pages.forget(p) })
		v.pages.memory.release()
	}
}

// emptyView is what a volume without an image stands on.
func (s *Store) emptyView() *view { return &view{s: s, users: 1} }

// cached returns the page of a region if it is in memory, else nil.
func (v *view) cached(region uint32) *page {
	if int64(region)<<regionShift >= v.size {
		return &zeroPage.page
	}
	p := v.pages.get(region)
	if p == nil {
		return nil
	}
	if p != zeroPage {
		p.touch()
	}
	return &p.page
}

// page returns the page of a region, reading it from the metadata if need be.
// Beyond the version's size everything is zero: its last block is padded with
// zeros in the file, and no record names a block after it.
func (v *view) page(region uint32) (*page, error) {
	if p := v.cached(region); p != nil {
		return p, nil
	}
	c := newComposer()
	defer c.release()
	depth, err := v.s.compose(c, v.lineage, region, v.version)
	if err != nil {
		return nil, err
	}
	p, slot := zeroPage, v.pages.slot(region)
	if depth > 0 || len(c.layers) > 0 {
		p = &cachedPage{slot: slot}
		p.fill(c, depth, v.s.sealedLayer)
	}
	if slot.CompareAndSwap(nil, p) && p != zeroPage {
		v.s.pages.add(p)
	}
	return &p.page, nil
}

// compose lays the records of a region over one another as of a version: back
// to the newest full record, and through the parents if there is none. depth
// is the number of deltas of the lineage itself.
func (s *Store) compose(c *composer, l *lineage, region, version uint32) (depth int, err error) {
	var records [][]byte // newest first
	for at := l; at != nil; at, version = at.parent, at.rec.ParentVersion {
		full := false
		err := s.eachRecord(at.id, region, version, func(_ uint32, rec []byte) bool {
			records = append(records, append([]byte(nil), rec...))
			full = len(rec) > 0 && rec[0]&0x0f == recordFull
			return !full
		})
		if err != nil {
			return 0, err
		}
		if at == l {
			depth = len(records)
			if full {
				depth--
			}
		}
		if full {
			break
		}
	}
	for i := len(records) - 1; i >= 0; i-- {
		if err := c.apply(records[i]); err != nil {
			return 0, fmt.Errorf("map of lineage %016x, region %d: %w", l.id, region, err)
		}
	}
	return depth, nil
}

// eachRecord calls fn with the records of a region that are not newer than
// version, newest first, until fn returns false.
func (s *Store) eachRecord(lineage uint64, region, version uint32, fn func(version uint32, rec []byte) bool) error {
	upper := mapKey(lineage, region, 0)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: mapKey(lineage, region, version), UpperBound: upper})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		_, _, at, err := parseMapKey(it.Key())
		if err != nil {
			return err
		}
		rec, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if !fn(at, rec) {
			return nil
		}
	}
	return it.Error()
}

// nextRegion returns the first region at or after region that some record of
// the version or of its ancestors describes; all before it read as zero.
func (v *view) nextRegion(region uint32) (next uint32, found bool, err error) {
	if v.lineage == nil {
		return 0, false, nil
	}
	return v.s.nextRegion(v.lineage, v.version, region)
}

func (s *Store) nextRegion(l *lineage, version, region uint32) (next uint32, found bool, err error) {
	for ; l != nil; l, version = l.parent, l.rec.ParentVersion {
		at, ok, err := s.nextOwnRegion(l.id, version, region)
		if err != nil {
			return 0, false, err
		}
		if ok && (!found || at < next) {
			next, found = at, true
		}
	}
	return next, found, nil
}

// nextOwnRegion is nextRegion for the records of one lineage.
func (s *Store) nextOwnRegion(lineage uint64, version, region uint32) (next uint32, found bool, err error) {
	_, upper := lineageSpan(prefixMap, lineage)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: mapKey(lineage, region, ^uint32(0)), UpperBound: upper})
	if err != nil {
		return 0, false, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		_, at, ver, err := parseMapKey(it.Key())
		if err != nil {
			return 0, false, err
		}
		if ver <= version {
			return at, true, nil
		}
	}
	return 0, false, it.Error()
}

// layer returns the layer of an id. There is one for each id while it is in use.
func (s *Store) layer(id layerID) *layer {
	s.layers.Lock()
	defer s.layers.Unlock()
	l := s.layers.m[id]
	if l == nil {
		l = &layer{id: id, files: s.files, dir: filepath.Join(s.layersDir(), layerDir(id))}
		s.layers.m[id] = l
	}
	return l
}

// sealedLayer is layer for one that is sealed: its files are opened read-only
// from now on.
func (s *Store) sealedLayer(id layerID) *layer {
	l := s.layer(id)
	l.sealed.Store(true)
	return l
}
