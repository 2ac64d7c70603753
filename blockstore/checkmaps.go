package blockstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// mapRecord is one map record of a region.
type mapRecord struct {
	version uint32
	rec     []byte
}

// checkMaps walks the map records, lineage by lineage, so that one that cannot
// be read does not hide the others.
func (c *checker) checkMaps() error {
	for _, l := range c.lineages {
		c.need(l)
	}
	for next := []byte{prefixMap}; ; {
		id, found, err := c.nextMapped(next)
		if err != nil || !found {
			return err
		}
		_, upper := lineageSpan(prefixMap, id)
		if l := c.lineages[id]; l == nil {
			c.orphan(prefixMap, id)
		} else if err := c.checkMap(l); err != nil {
			return err
		}
		if id == ^uint64(0) {
			return nil
		}
		next = upper
	}
}

// need works out which versions of a lineage somebody can read: those of a
// disk, and those that a lineage with such a version stands on.
func (c *checker) need(l *checkLineage) bool {
	if l.needed != nil {
		return len(l.needed) > 0
	}
	l.needed = []uint32{}
	for number := range l.disks {
		l.needed = append(l.needed, number)
	}
	for _, child := range l.children {
		if c.need(child) {
			l.needed = append(l.needed, child.rec.ParentVersion)
		}
	}
	slices.Sort(l.needed)
	l.needed = slices.Compact(l.needed)
	return len(l.needed) > 0
}

// nextMapped returns the first lineage with map records from a key on.
func (c *checker) nextMapped(from []byte) (id uint64, found bool, err error) {
	it, err := c.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{prefixMap + 1}})
	if err != nil {
		_, err = c.unreadable(from, err)
		return 0, false, err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if key := it.Key(); len(key) >= 9 {
			return binary.BigEndian.Uint64(key[1:]), true, nil
		}
		c.add(SeverityDamage, FindRecord, recordName(it.Key()), "its key has a wrong length")
	}
	_, err = c.unreadable(from, it.Error())
	return 0, false, err
}

// checkMap looks at the map records of a lineage, region by region.
func (c *checker) checkMap(l *checkLineage) error {
	var group []mapRecord // newest first
	var at uint32
	var failed error
	flush := func() {
		if len(group) > 0 && failed == nil {
			failed = c.region(l, at, group)
		}
		group = group[:0]
	}
	lower, upper := lineageSpan(prefixMap, l.id)
	_, err := c.scan(lower, upper, func(key, value []byte) error {
		_, region, version, err := parseMapKey(key)
		if err != nil {
			return err
		}
		if region != at {
			flush()
			at = region
		}
		group = append(group, mapRecord{version, slices.Clone(value)})
		return nil
	})
	flush()
	return errors.Join(err, failed)
}

// region looks at the records of one region of a lineage, and holds what the
// needed versions read through them against the files. What their records do
// not name is the parent's, which is looked at for itself.
func (c *checker) region(l *checkLineage, region uint32, group []mapRecord) error {
	if err := c.pause(); err != nil {
		return err
	}
	good := true
	for _, m := range group {
		good = c.mapRecord(l, region, m) && good
	}
	if !good {
		return nil
	}
	seen := -1
	for i := len(l.needed) - 1; i >= 0; i-- {
		at := slices.IndexFunc(group, func(m mapRecord) bool { return m.version <= l.needed[i] })
		if at < 0 {
			break
		}
		if at == seen {
			continue
		}
		seen = at
		if err := c.composed(l, region, group[at:]); err != nil {
			return err
		}
	}
	return nil
}

// mapRecord looks at one record by itself.
func (c *checker) mapRecord(l *checkLineage, region uint32, m mapRecord) bool {
	key := mapKey(l.id, region, m.version)
	if !l.standing(m.version) {
		if len(l.versions) > 0 && !c.blind { // else told already
			c.dangling(key, fmt.Sprintf("version %s does not exist", layerDir(layerID{l.id, m.version})), l.readers(m.version)...)
		}
		return true
	}
	comp := newComposer()
	defer comp.release()
	if err := comp.apply(m.rec); err != nil {
		c.add(SeverityDamage, FindRecord, recordName(key), err.Error(), l.readers(m.version)...)
		return false
	}
	named := make([]bool, len(comp.layers)+1)
	for _, src := range comp.cells {
		if src != sourceUnset {
			named[src] = true
		}
	}
	for i, id := range comp.layers {
		if named[i+1] && !c.exists(id) && !c.blind {
			c.dangling(key, fmt.Sprintf("layer %s, which it names, does not exist", layerDir(id)), l.readers(m.version)...)
		}
	}
	return true
}

func (c *checker) exists(id layerID) bool {
	l := c.lineages[id.lineage]
	if l == nil {
		return false
	}
	_, ok := l.versions[id.version]
	return ok
}

// compose lays records, newest first, over one another, back to a full one.
func compose(comp *composer, group []mapRecord) error {
	n := 0
	for n < len(group) {
		n++
		if rec := group[n-1].rec; len(rec) > 0 && rec[0]&0x0f == recordFull {
			break
		}
	}
	for i := n - 1; i >= 0; i-- {
		if err := comp.apply(group[i].rec); err != nil {
			return err
		}
	}
	return nil
}

// composed holds what the version of the newest record reads against the files.
func (c *checker) composed(l *checkLineage, region uint32, group []mapRecord) error {
	comp := newComposer()
	defer comp.release()
	if err := compose(comp, group); err != nil {
		return nil // told already
	}
	for start := 0; start < regionBlocks; {
		src, end := comp.cells[start], start+1
		for end < regionBlocks && comp.cells[end] == src {
			end++
		}
		if src != sourceUnset && src != sourceZero {
			if err := c.dataRun(l, group[0].version, region, blockRun{start, end}, comp.layers[src-1]); err != nil {
				return err
			}
		}
		start = end
	}
	return nil
}

// dataRun holds one run of data against the file of its layer.
func (c *checker) dataRun(l *checkLineage, version, region uint32, run blockRun, id layerID) error {
	if !c.exists(id) {
		return nil // told already
	}
	layer := &layer{id: id, files: &fileTable{fs: c.fs}, dir: filepath.Join(c.s.layersDir(), layerDir(id))}
	off := int64(region)<<regionShift + int64(run.start)<<blockShift
	seg, at := layer.segmentAt(off)
	path := seg.path()
	f, err := c.file(path)
	if err != nil {
		return err
	}
	if f.kind != "" {
		c.bad(f.kind, path, f.what, l, version, region, run)
		return nil
	}
	if c.lineages[id.lineage].written {
		return nil
	}
	set := unsyncedSet{}
	if err := holesIn(f.file, at, int64(run.end-run.start)<<blockShift, region, run.start, set); err != nil {
		c.bad(FindFile, path, err.Error(), l, version, region, run)
		return nil
	}
	if blocks := set[region]; blocks != nil {
		blocks.runs(func(start, end int) {
			c.bad(FindHole, path, "the file has holes where the map names data", l, version, region, blockRun{start, end})
		})
	}
	return nil
}

// holesIn adds to set the holes of a file in a range that starts at a block of a region.
func holesIn(f file, at, length int64, region uint32, block int, set unsyncedSet) error {
	for pos, end := at, at+length; pos < end; {
		start, next, err := f.NextData(pos)
		if err == io.EOF {
			start, next, err = end, end, nil
		}
		if err != nil {
			return err
		}
		// A part of a block that is a hole counts as little as one that is not:
		// data is written in whole blocks, by file systems in larger ones.
		from, to := (pos-at+BlockSize-1)>>blockShift, (min(start, end)-at)>>blockShift
		if to > from {
			set.add(region, block+int(from), block+int(to))
		}
		pos = max(next, pos+1)
	}
	return nil
}

// bad notes that a run of a disk cannot be read, and who would read it.
func (c *checker) bad(kind, path, what string, l *checkLineage, version, region uint32, run blockRun) {
	f := c.add(SeverityDamage, kind, path, what)
	f.blocks.add(region, run.start, run.end)
	for _, name := range c.readersOf(l, version, region, run) {
		f.disks[name] = true
	}
}

// readersOf names the disks that read some block of a run through the record
// that a version has.
func (c *checker) readersOf(l *checkLineage, version, region uint32, run blockRun) (disks []string) {
	reads := func(number uint32) bool {
		return number == version || number > version && c.newest(l, region, number) == version
	}
	for number, names := range l.disks {
		if reads(number) {
			disks = append(disks, names...)
		}
	}
	for _, child := range l.children {
		if reads(child.rec.ParentVersion) {
			disks = append(disks, c.readersBelow(child, region, run)...)
		}
	}
	return disks
}

// readersBelow names the disks of a lineage that read some block of a run
// through what it stands on.
func (c *checker) readersBelow(l *checkLineage, region uint32, run blockRun) (disks []string) {
	for number, names := range l.disks {
		if c.fallsThrough(l, number, region, run) {
			disks = append(disks, names...)
		}
	}
	for _, child := range l.children {
		if c.fallsThrough(l, child.rec.ParentVersion, region, run) {
			disks = append(disks, c.readersBelow(child, region, run)...)
		}
	}
	return disks
}

// newest is the newest version up to one that has a record of a region; 0: none.
func (c *checker) newest(l *checkLineage, region, version uint32) uint32 {
	if group := c.group(l, region, version); len(group) > 0 {
		return group[0].version
	}
	return 0
}

// fallsThrough tells that a version does not name some block of a run itself.
func (c *checker) fallsThrough(l *checkLineage, version, region uint32, run blockRun) bool {
	comp := newComposer()
	defer comp.release()
	if compose(comp, c.group(l, region, version)) != nil {
		return true
	}
	return slices.Contains(comp.cells[run.start:run.end], sourceUnset)
}

// group reads the records of a region up to a version; what cannot be read is
// told of elsewhere.
func (c *checker) group(l *checkLineage, region, version uint32) (group []mapRecord) {
	it, err := c.db.NewIter(&pebble.IterOptions{LowerBound: mapKey(l.id, region, version), UpperBound: mapKey(l.id, region, 0)})
	if err != nil {
		return nil
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		_, _, at, err := parseMapKey(it.Key())
		rec, valueErr := it.ValueAndErr()
		if err == nil && valueErr == nil {
			group = append(group, mapRecord{at, slices.Clone(rec)})
		}
	}
	return group
}

// checkFile is a data file that a map names; kind and what say what is wrong.
type checkFile struct {
	file       file
	kind, what string
}

// maxCheckFiles bounds how many files a check holds open.
const maxCheckFiles = 32

// file opens a data file, and remembers what is wrong with it.
func (c *checker) file(path string) (*checkFile, error) {
	if f := c.data[path]; f != nil {
		return f, nil
	}
	if len(c.data) >= maxCheckFiles {
		c.closeFiles()
	}
	f := &checkFile{}
	opened, err := c.fs.Open(path, false)
	switch {
	case errors.Is(err, os.ErrNotExist):
		f.kind, f.what = FindMissing, "the data file is missing"
	case hostRefuses(err):
		return nil, err
	case err != nil:
		f.kind, f.what = FindFile, err.Error()
	default:
		f.file = opened
		if size, err := opened.Size(); err != nil {
			f.kind, f.what = FindFile, err.Error()
		} else if size != segmentSize {
			f.kind, f.what = FindTruncated, wrongSize(size)
		}
	}
	c.data[path] = f
	return f, nil
}

func wrongSize(size int64) string {
	return fmt.Sprintf("the data file has %d bytes instead of %d", size, int64(segmentSize))
}

func (c *checker) closeFiles() {
	for _, f := range c.data {
		if f.file != nil {
			f.file.Close()
		}
	}
	clear(c.data)
}
