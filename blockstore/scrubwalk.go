package blockstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// A scrub goes through the sealed versions in the order of their ids, and in
// each through what stands in its own map records, or in its sums: so what
// several disks share is read once.
//
//	summed    A version that has its sums (an image, or what was one): each
//	          region of which a sum is kept is read as the version has it, and
//	          compared. One that stands in the records of another summed
//	          version below, with the same sum, is that one's to read.
//	unsummed  A snapshot, or what clones stand on: what its own records name is
//	          read. Nothing is there to compare it with, but a disk that cannot
//	          give it is found.
//
// What volumes write to has no sums, and is not read.

// scrubPlace is how far a scrub is: the next region of a version. Versions are
// numbered from 1, so the zero value is the beginning.
type scrubPlace struct {
	Lineage uint64 `json:"lineage"`
	Version uint32 `json:"version"`
	Region  uint32 `json:"region"`
}

func (p scrubPlace) id() layerID { return layerID{p.Lineage, p.Version} }

func compareLayers(a, b layerID) int {
	return cmp.Or(cmp.Compare(a.lineage, b.lineage), cmp.Compare(a.version, b.version))
}

// scrubUnit is a region of a version that is to be read.
type scrubUnit struct {
	id     layerID
	size   int64 // of the version's disk
	region uint32
	next   uint32             // where to go on after it
	page   *page              // nil where the metadata is damaged, so that it cannot be read
	sum    *[sha256.Size]byte // nil: nothing to compare with
	damage error              // of the metadata
}

// bytes is how much there is to read of the unit.
func (u scrubUnit) bytes() int64 {
	if u.page == nil {
		return 0
	}
	return u.page.dataBytes()
}

// length is how much of the disk the region has.
func (u scrubUnit) length() int64 {
	return min(RegionSize, u.size-int64(u.region)<<regionShift)
}

// scrubWalk calls fn with all units from a place on.
func (s *Store) scrubWalk(ctx context.Context, from scrubPlace, fn func(scrubUnit) error) error {
	for _, id := range s.cat.sealed() {
		if compareLayers(id, from.id()) < 0 {
			continue
		}
		first := uint32(0)
		if id == from.id() {
			first = from.Region
		}
		if err := s.scrubVersion(ctx, id, first, fn); err != nil {
			return err
		}
	}
	return nil
}

// sealed lists the sealed versions that are not about to be reclaimed.
func (c *catalogue) sealed() (ids []layerID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.mu.lineages {
		for _, v := range l.versions {
			if c.staysSealedLocked(l, v) {
				ids = append(ids, layerID{l.id, v.number})
			}
		}
	}
	slices.SortFunc(ids, compareLayers)
	return ids
}

func (c *catalogue) staysSealedLocked(l *lineage, v *version) bool {
	return !l.unneeded(v) && !(l.writable && v == l.tip()) && l.rec.State == lineageLive
}

// holdSealed opens a sealed version if it still stands. What for is for messages.
func (s *Store) holdSealed(id layerID, what string) (d *Disk) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	l := s.cat.mu.lineages[id.lineage]
	if l == nil || s.cat.mu.shut {
		return nil
	}
	v := l.at(id.version)
	if v == nil || !s.cat.staysSealedLocked(l, v) {
		return nil
	}
	return s.openVersionLocked(what, l, v)
}

// unwanted tells that nothing but the scrub holds a version that was deleted.
func (c *catalogue) unwanted(id layerID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.mu.lineages[id.lineage]
	if l == nil {
		return true
	}
	v := l.at(id.version)
	return v == nil || v.rec.State == versionDoomed && v.names == 0 && v.children == 0 && v.users == 1
}

// scrubVersion calls fn with the units of one version. It stays while it is
// read, but is read no further once it was deleted.
func (s *Store) scrubVersion(ctx context.Context, id layerID, first uint32, fn func(scrubUnit) error) error {
	d := s.holdSealed(id, "scrub of layer "+layerDir(id))
	if d == nil {
		return nil
	}
	defer d.Close()
	w := scrubVersion{s: s, view: d.image, id: id}
	prefix := byte(prefixTouched)
	summed, err := s.summedVersion(id)
	if errors.Is(err, ErrCorrupt) { // then what its own records name is read
		if first == 0 {
			err = fn(scrubUnit{id: id, size: d.image.size, damage: err})
		} else {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	if summed {
		prefix = prefixHash
		if w.below, err = s.summedBelow(d.image.lineage, id.version); err != nil {
			return err
		}
	}
	for next := first; ; {
		if err := cancelled(ctx); err != nil || s.cat.unwanted(id) {
			return err
		}
		region, found, err := s.nextOf(prefix, id, next)
		if err != nil || !found || int64(region)<<regionShift >= d.image.size {
			return err
		}
		u, read, err := w.unit(region, summed)
		if errors.Is(err, ErrCorrupt) { // one record: all others can be read
			u.damage, u.page, u.sum, read, err = err, nil, nil, true, nil
		}
		if err != nil {
			return err
		}
		if read {
			if err := fn(u); err != nil {
				return err
			}
		}
		next = region + 1
	}
}

// nextOf returns the first region at or after one of which a version has a
// record of a prefix.
func (s *Store) nextOf(prefix byte, id layerID, region uint32) (next uint32, found bool, err error) {
	_, upper := versionSpan(prefix, id)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: versionKey(prefix, id, region), UpperBound: upper})
	if err != nil {
		return 0, false, err
	}
	if found = it.First(); found {
		next = versionRegion(it.Key())
	}
	return next, found, errors.Join(it.Error(), it.Close())
}

// summedVersion tells that a version has the sums of all its regions.
func (s *Store) summedVersion(id layerID) (bool, error) {
	if _, found, err := s.sumOf(id, regionProgress); found || err != nil {
		return false, err
	}
	first, found, err := s.nextOf(prefixHash, id, 0)
	return found && (first < regionProgress || first == regionContentID), err
}

// ancestor is a version below another one: so many parents up.
type ancestor struct {
	layerID
	up int
}

// summedBelow finds the nearest summed version below one; nil: none.
func (s *Store) summedBelow(l *lineage, version uint32) (*ancestor, error) {
	for up := 0; l != nil; up++ {
		for _, number := range s.cat.versionsBelow(l, version) {
			id := layerID{l.id, number}
			summed, err := s.summedVersion(id)
			if errors.Is(err, ErrCorrupt) {
				continue // its own scrub names it
			}
			if summed || err != nil {
				return &ancestor{id, up}, err
			}
		}
		if l.parent == nil {
			return nil, nil
		}
		// What a clone stands on is below it.
		l, version = l.parent, l.rec.ParentVersion+1
	}
	return nil, nil
}

// versionsBelow lists the versions of a lineage that stand below a number and
// stay, newest first.
func (c *catalogue) versionsBelow(l *lineage, number uint32) (below []uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range l.versions {
		if v.number < number && c.staysSealedLocked(l, v) {
			below = append(below, v.number)
		}
	}
	slices.Reverse(below)
	return below
}

// scrubVersion is a version as it is scrubbed.
type scrubVersion struct {
	s     *Store
	view  *view
	id    layerID
	below *ancestor // that is summed
}

// unit makes the unit of a region; read is false where another one reads it.
func (w scrubVersion) unit(region uint32, summed bool) (u scrubUnit, read bool, err error) {
	u = scrubUnit{id: w.id, size: w.view.size, region: region, next: region + 1}
	c := newComposer()
	defer c.release()
	if !summed {
		rec, err := w.s.record(mapKey(w.id.lineage, region, w.id.version))
		if err != nil || rec == nil {
			return u, false, err
		}
		if err := c.apply(rec); err != nil {
			return u, false, errf(ErrCorrupt, "map of layer %s, region %d: %v", layerDir(w.id), region, err)
		}
		u.page = newPage(c, 0, w.s.sealedLayer)
		return u, u.page.dataBytes() > 0, nil
	}
	sum, _, err := w.s.sumOf(w.id, region)
	if err != nil {
		return u, false, err
	}
	u.sum = &sum
	if covered, err := w.covered(region, sum); covered || err != nil {
		return u, false, err
	}
	if _, err := w.s.compose(c, w.view.lineage, region, w.id.version); err != nil {
		return u, false, err
	}
	u.page = newPage(c, 0, w.s.sealedLayer)
	return u, true, nil
}

// covered tells that a region stands in the records of the summed version below,
// or further down, and has the same sum there.
func (w scrubVersion) covered(region uint32, sum [sha256.Size]byte) (bool, error) {
	if w.below == nil {
		return false, nil
	}
	at, found, err := w.s.sourceOf(w.view.lineage, w.id.version, region)
	if err != nil || !found || at.up < w.below.up || at.up == w.below.up && at.version > w.below.version {
		return false, err
	}
	other, found, err := w.s.sumOf(w.below.layerID, region)
	if errors.Is(err, ErrCorrupt) {
		return false, nil // its own scrub names it
	}
	return found && other == sum, err
}

// sourceOf finds the version whose record is the newest of a region.
func (s *Store) sourceOf(l *lineage, version, region uint32) (at ancestor, found bool, err error) {
	for up := 0; l != nil; up++ {
		err := s.eachRecord(l.id, region, version, func(v uint32, _ []byte) bool {
			at, found = ancestor{layerID{l.id, v}, up}, true
			return false
		})
		if found || err != nil {
			return at, found, err
		}
		l, version = l.parent, l.rec.ParentVersion
	}
	return at, false, nil
}

// readersOf lists the disks that read blocks of a unit where it has them. Of a
// volume it knows what was committed; one that has not been yet may have
// shadowed the rest. Of a unit whose metadata is damaged it lists those that
// cannot be read for it.
func (s *Store) readersOf(u scrubUnit) (names []string, err error) {
	for _, d := range s.cat.disks() {
		c := newComposer()
		_, err := s.compose(c, d.lineage, u.region, d.version)
		if err == nil && u.page != nil && sharesBlocks(c, u.page) || u.page == nil && errors.Is(err, ErrCorrupt) && d.standsOn(u.id) {
			names = append(names, d.name)
		}
		c.release()
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return names, err
		}
	}
	slices.Sort(names)
	return names, nil
}

func sharesBlocks(c *composer, p *page) bool {
	for block := 0; block < regionBlocks; {
		l, end := p.at(block, regionBlocks)
		for ; block < end; block++ {
			if src := c.cells[block]; l != nil && src != sourceUnset && src != sourceZero && c.layers[src-1] == l.id {
				return true
			}
		}
	}
	return false
}

// namedVersion is what a disk reads as.
type namedVersion struct {
	name    string
	lineage *lineage
	version uint32
}

// standsOn tells that a version is the disk's own or one below it.
func (d namedVersion) standsOn(id layerID) bool {
	for l, version := d.lineage, d.version; l != nil; l, version = l.parent, l.rec.ParentVersion {
		if l.id == id.lineage {
			return version >= id.version
		}
	}
	return false
}

// disks lists all images, volumes, retired ones too, and snapshots.
func (c *catalogue) disks() (list []namedVersion) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, e := range c.mu.images {
		list = append(list, namedVersion{"image " + name, e.lineage, e.version.number})
	}
	volumes := func(kind string, m map[string]*volumeEntry) {
		for _, e := range m {
			list = append(list, namedVersion{kind + e.name, e.lineage, e.lineage.tip().number})
			for name, sn := range e.snapshots {
				list = append(list, namedVersion{"snapshot " + e.name + "/" + name, sn.lineage, sn.version.number})
			}
		}
	}
	volumes("volume ", c.mu.volumes)
	volumes("retired volume ", c.mu.retired)
	return list
}

// imagesOf lists the images that are a version.
func (c *catalogue) imagesOf(id layerID) (names []string) {
	for _, d := range c.disks() {
		if name, ok := cutImage(d.name); ok && d.lineage.id == id.lineage && d.version == id.version {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
