package blockstore

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// checkLineage is what a check knows of a lineage.
type checkLineage struct {
	id       uint64
	rec      lineageRecord
	damaged  bool // its record does not parse
	versions map[uint32]versionRecord
	children []*checkLineage
	// disks that read a version, by its number; a volume reads the tip.
	disks   map[uint32][]string
	tipOf   string // the volume that writes to it
	written bool   // by a volume, some time
	needed  []uint32
}

func (l *checkLineage) standing(number uint32) bool {
	rec, ok := l.versions[number]
	return ok && rec.State != versionMerged
}

// tip is the newest version that stands; 0: none does.
func (l *checkLineage) tip() (tip uint32) {
	for number := range l.versions {
		if l.standing(number) {
			tip = max(tip, number)
		}
	}
	return tip
}

// recordName says for people which record a key is of.
func recordName(key []byte) string {
	kind, rest := string(key[:min(1, len(key))]), key[min(1, len(key)):]
	if strings.Contains("ivsxr", kind) {
		return fmt.Sprintf("record %s %q", kind, rest)
	}
	return fmt.Sprintf("record %s %x", kind, rest)
}

// scan calls fn with every record from lower to upper. What fn returns is
// damage of the record. It tells whether it came to the end.
func (c *checker) scan(lower, upper []byte, fn func(key, value []byte) error) (whole bool, err error) {
	it, err := c.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return c.unreadable(lower, err)
	}
	defer it.Close()
	last := slices.Clone(lower)
	for ok := it.First(); ok; ok = it.Next() {
		c.records++
		if c.records%256 == 0 {
			if err := c.pause(); err != nil {
				return false, err
			}
		}
		value, err := it.ValueAndErr()
		c.bytes += int64(len(it.Key()) + len(value))
		if err == nil {
			err = fn(it.Key(), value)
		}
		if err != nil {
			c.add(SeverityDamage, FindRecord, recordName(it.Key()), err.Error(), c.disksOfKey(it.Key())...)
		}
		last = append(last[:0], it.Key()...)
	}
	return c.unreadable(last, it.Error())
}

// unreadable notes that records cannot be read from one on.
func (c *checker) unreadable(from []byte, err error) (whole bool, _ error) {
	if err == nil {
		return true, nil
	}
	if hostRefuses(err) {
		return false, err
	}
	c.add(SeverityDamage, FindMetadata, recordName(from), "records cannot be read from here on: "+err.Error(), c.disksOfKey(from)...)
	return false, nil
}

func (c *checker) scanPrefix(prefix byte, fn func(key, value []byte) error) error {
	whole, err := c.scan([]byte{prefix}, []byte{prefix + 1}, fn)
	c.blind = c.blind || !whole
	return err
}

// disksOfKey names the disks that a record is of.
func (c *checker) disksOfKey(key []byte) []string {
	if len(key) < 1 {
		return nil
	}
	switch key[0] {
	case prefixImage:
		return []string{"image " + string(key[1:])}
	case prefixVolume:
		return []string{"volume " + string(key[1:])}
	case prefixLineage, prefixVersion, prefixMap, prefixTouched, prefixFailed:
		if len(key) >= 9 {
			return c.lineages[binary.BigEndian.Uint64(key[1:])].readers(0)
		}
	}
	return nil
}

// readers names the disks that read a version or newer ones, or stand on them.
func (l *checkLineage) readers(from uint32) (disks []string) {
	if l == nil {
		return nil
	}
	for number, names := range l.disks {
		if number >= from {
			disks = append(disks, names...)
		}
	}
	for _, child := range l.children {
		if child.rec.ParentVersion >= from {
			disks = append(disks, child.readers(0)...)
		}
	}
	return disks
}

func (c *checker) loadLineages() error {
	return c.scanPrefix(prefixLineage, func(key, value []byte) error {
		if len(key) != 9 {
			return errors.New("its key has a wrong length")
		}
		l := &checkLineage{id: binary.BigEndian.Uint64(key[1:]), versions: map[uint32]versionRecord{}, disks: map[uint32][]string{}}
		c.lineages[l.id] = l
		err := json.Unmarshal(value, &l.rec)
		if err == nil && l.rec.State != lineageLive && l.rec.State != lineageImporting {
			err = fmt.Errorf("its state is %q", l.rec.State)
		}
		l.damaged = err != nil
		return err
	})
}

func (c *checker) loadVersions() error {
	err := c.scanPrefix(prefixVersion, func(key, value []byte) error {
		if len(key) != 13 {
			return errors.New("its key has a wrong length")
		}
		id := layerID{binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint32(key[9:])}
		l := c.lineages[id.lineage]
		if l == nil {
			c.dangling(key, fmt.Sprintf("its lineage %016x does not exist", id.lineage))
			return nil
		}
		var rec versionRecord
		err := json.Unmarshal(value, &rec)
		if err == nil {
			err = checkVersion(rec, l)
		}
		l.versions[id.version] = rec
		return err
	})
	return err
}

func checkVersion(rec versionRecord, l *checkLineage) error {
	if !slices.Contains([]string{versionLive, versionDoomed, versionMerged}, rec.State) {
		return fmt.Errorf("its state is %q", rec.State)
	}
	if l.rec.State == lineageImporting { // its size is not known yet
		return nil
	}
	return checkSize(rec.Size)
}

// dangling notes that a record names what does not exist.
func (c *checker) dangling(key []byte, what string, disks ...string) {
	c.add(SeverityDamage, FindDangling, recordName(key), what, disks...)
}

// checkParents resolves what lineages stand on. A ring of them is broken up, so
// that whoever follows parents comes to an end.
func (c *checker) checkParents() error {
	for _, l := range c.lineages {
		if parent := c.lineages[l.rec.Parent]; parent != nil && !c.inRing(l) {
			parent.children = append(parent.children, l)
		}
	}
	return nil
}

func (c *checker) inRing(l *checkLineage) bool {
	seen := map[uint64]bool{}
	for at := l; at != nil && !seen[at.id]; at = c.lineages[at.rec.Parent] {
		seen[at.id] = true
		if at.rec.Parent == l.id {
			return true
		}
	}
	return false
}

// checkLineages tells of lineages without versions or without what they stand
// on, once it is known which disks they carry.
func (c *checker) checkLineages() {
	for _, l := range c.lineages {
		key := lineageKey(prefixLineage, l.id)
		if len(l.versions) == 0 && !c.blind {
			c.dangling(key, "it has lost its versions", l.readers(0)...)
		}
		if l.rec.Parent == 0 {
			continue
		}
		if parent := c.lineages[l.rec.Parent]; c.inRing(l) || parent == nil || !parent.standing(l.rec.ParentVersion) {
			c.dangling(key, fmt.Sprintf("what it stands on, layer %s, does not exist", layerDir(layerID{l.rec.Parent, l.rec.ParentVersion})), l.readers(0)...)
		}
	}
}

// loadNames resolves images, volumes and snapshots.
func (c *checker) loadNames() error {
	err := errors.Join(
		c.scanPrefix(prefixImage, func(key, value []byte) error {
			var rec imageRecord
			return c.named(value, &rec, func() {
				c.disk("image "+string(key[1:]), key, layerID{rec.Lineage, rec.Version})
			})
		}),
		c.scanPrefix(prefixVolume, func(key, value []byte) error {
			var rec volumeRecord
			return c.named(value, &rec, func() { c.volume("volume "+string(key[1:]), key, rec) })
		}),
		c.scanPrefix(prefixRetired, func(key, value []byte) error {
			var rec retiredRecord
			return c.named(value, &rec, func() { c.volume("retired volume "+rec.Name, key, rec.Volume) })
		}),
		c.scanPrefix(prefixSnapshot, func(key, value []byte) error {
			var rec snapshotRecord
			return c.named(value, &rec, func() { c.snapshot(key, rec) })
		}))
	if err != nil {
		return err
	}
	c.checkLineages()
	c.reportUnnamed()
	return nil
}

// named parses the record of a name. One that does not parse names something,
// though it is not known what.
func (c *checker) named(value []byte, rec any, then func()) error {
	c.disks++
	if err := json.Unmarshal(value, rec); err != nil {
		c.blind = true
		return err
	}
	then()
	return nil
}

func (c *checker) volume(name string, key []byte, rec volumeRecord) {
	c.volumes[rec.ID] = strings.TrimPrefix(strings.TrimPrefix(name, "retired "), "volume ")
	l := c.lineages[rec.Lineage]
	switch {
	case l == nil:
		c.dangling(key, fmt.Sprintf("its lineage %016x does not exist", rec.Lineage), name)
	case l.tipOf != "":
		c.dangling(key, fmt.Sprintf("its lineage %016x is that of %s", l.id, l.tipOf), name, l.tipOf)
	default:
		l.tipOf = name
		l.disks[l.tip()] = append(l.disks[l.tip()], name)
	}
}

func (c *checker) snapshot(key []byte, rec snapshotRecord) {
	var id, name string
	if n := 1 + volumeIDLength; len(key) > n {
		id, name = string(key[1:n]), string(key[n:])
	}
	of, ok := c.volumes[id]
	if !ok {
		of = id
		if !c.blind {
			c.dangling(key, "its volume does not exist", "snapshot "+of+"/"+name)
		}
	}
	c.disk("snapshot "+of+"/"+name, key, layerID{rec.Lineage, rec.Version})
}

// disk notes that a disk reads a version.
func (c *checker) disk(name string, key []byte, id layerID) {
	l := c.lineages[id.lineage]
	if l == nil || !l.standing(id.version) {
		c.dangling(key, fmt.Sprintf("its layer %s does not exist", layerDir(id)), name)
		return
	}
	l.disks[id.version] = append(l.disks[id.version], name)
}

// reportUnnamed tells of versions that nothing names and nobody gave up.
func (c *checker) reportUnnamed() {
	if c.blind {
		return
	}
	for _, l := range c.lineages {
		if l.damaged || l.rec.State != lineageLive {
			continue
		}
		stoodOn := map[uint32]bool{}
		for _, child := range l.children {
			stoodOn[child.rec.ParentVersion] = true
		}
		for number, rec := range l.versions {
			if rec.State == versionLive && len(l.disks[number]) == 0 && !stoodOn[number] {
				c.add(SeverityWarning, FindUnnamed, "layer "+layerDir(layerID{l.id, number}), "nothing names this layer, and it was never given up: it is kept")
			}
		}
	}
}

// checkOthers looks at the records that are neither names nor maps.
func (c *checker) checkOthers() error {
	known := []byte{sequenceKey[0], prefixImage, prefixVolume, prefixSnapshot, prefixRetired, prefixLineage, prefixVersion, prefixMap, prefixTouched, prefixHash, prefixFlushed, prefixOpen, prefixFailed, prefixRequest}
	slices.Sort(known)
	last := []byte{0}
	unknown := func(key, _ []byte) error {
		c.add(SeverityWarning, FindUnknown, recordName(key), "it is of no kind that this version knows")
		return nil
	}
	for _, prefix := range append(known, 0xff) {
		if _, err := c.scan(last, []byte{prefix}, unknown); err != nil {
			return err
		}
		last = []byte{prefix + 1}
	}
	return errors.Join(
		c.scanOf(sequenceKey[0], 1, 8, nil),
		c.scanOf(prefixTouched, 17, 0, nil),
		c.scanOf(prefixHash, 17, 32, nil),
		c.scanOf(prefixFlushed, 9, 8, func(l *checkLineage, _, _ []byte) error {
			l.written = true
			return nil
		}),
		c.scanOf(prefixOpen, 9, -1, func(_ *checkLineage, _, value []byte) error {
			return json.Unmarshal(value, new(openMark))
		}),
		c.scanOf(prefixFailed, -1, -1, checkFailure),
		c.scanOf(prefixRequest, -1, -1, func(_ *checkLineage, _, value []byte) error {
			return json.Unmarshal(value, new(requestRecord))
		}))
}

func checkFailure(_ *checkLineage, key, value []byte) error {
	switch len(key) {
	case 9:
		return json.Unmarshal(value, new(failureRecord))
	case 13:
		_, err := decodeBlocks(value)
		return err
	}
	return errors.New("its key has a wrong length")
}

// scanOf looks at the records of a prefix, with keys and values of given
// lengths (-1: any). Records of a lineage that does not exist are told of once.
func (c *checker) scanOf(prefix byte, keyLen, valueLen int, fn func(l *checkLineage, key, value []byte) error) error {
	ofLineage := prefix != sequenceKey[0] && prefix != prefixRequest
	_, err := c.scan([]byte{prefix}, []byte{prefix + 1}, func(key, value []byte) error {
		if keyLen >= 0 && len(key) != keyLen || ofLineage && len(key) < 9 {
			return errors.New("its key has a wrong length")
		}
		if valueLen >= 0 && len(value) != valueLen {
			return fmt.Errorf("it has %d bytes instead of %d", len(value), valueLen)
		}
		var l *checkLineage
		if ofLineage {
			id := binary.BigEndian.Uint64(key[1:])
			if l = c.lineages[id]; l == nil {
				c.orphan(prefix, id)
				return nil
			}
		}
		if fn == nil {
			return nil
		}
		return fn(l, key, value)
	})
	return err
}

// orphan notes records of a lineage that does not exist.
func (c *checker) orphan(prefix byte, lineage uint64) {
	if !c.blind {
		c.dangling(lineageKey(prefix, lineage), fmt.Sprintf("lineage %016x does not exist", lineage))
	}
}
