package blockstore

import (
	"encoding/binary"
	"slices"
)

// versionRecord is the e record of one version of a lineage.
type versionRecord struct {
	Size  int64  `json:"size"` // of the disk, in bytes
	State string `json:"state,omitempty"`
	// Live counts the blocks of the version's file that a later version still
	// reads, once the version itself is gone.
	Live int64 `json:"live,omitempty"`
}

// State of a version. One that nothing holds but that was never given up is
// damage: it is reported and kept.
const (
	versionLive   = ""
	versionDoomed = "doomed" // its last name was deleted: to be removed
	versionMerged = "merged" // removed; later versions read what its file keeps
)

// version is one version of a lineage in memory. Its fields but number are
// guarded by catalogue.mu.
type version struct {
	number   uint32
	rec      versionRecord
	names    int // golden images and snapshots
	users    int // open handles
	children int // lineages that branch from it
	busy     bool
	digests  digests // beside those of its image's record
}

// held tells that something reads as the version, or may.
func (v *version) held() bool { return v.names+v.users+v.children > 0 || v.busy }

// lineage in memory. Fields but id, parent and rec are guarded by catalogue.mu.
type lineage struct {
	id     uint64
	parent *lineage
	rec    lineageRecord

	// versions that stand, oldest first. The last one is the tip.
	versions []*version
	// merged versions: of these only the files are left.
	merged map[uint32]*version
	// writable tells that the tip is the top of an OS volume.
	writable bool
}

func newLineage(id uint64) *lineage { return &lineage{id: id, merged: map[uint32]*version{}} }

func (l *lineage) tip() *version { return l.versions[len(l.versions)-1] }

// at returns a version that stands, or nil.
func (l *lineage) at(number uint32) *version {
	if i, ok := l.index(number); ok {
		return l.versions[i]
	}
	return nil
}

func (l *lineage) index(number uint32) (int, bool) {
	return slices.BinarySearchFunc(l.versions, number, func(v *version, n uint32) int { return int(int64(v.number) - int64(n)) })
}

// add enters a version.
func (l *lineage) add(number uint32, rec versionRecord) *version {
	v := &version{number: number, rec: rec}
	if rec.State == versionMerged {
		l.merged[number] = v
		return v
	}
	i, _ := l.index(number)
	l.versions = slices.Insert(l.versions, i, v)
	return v
}

// drop takes a version that stands out.
func (l *lineage) drop(v *version) {
	if i, ok := l.index(v.number); ok {
		l.versions = slices.Delete(l.versions, i, i+1)
	}
}

// hasDoomed tells that the lineage has, or may soon have, something to free.
func (l *lineage) hasDoomed() bool {
	for _, v := range l.versions {
		if v.rec.State == versionDoomed {
			return true
		}
	}
	for _, v := range l.merged {
		if v.rec.Live == 0 {
			return true
		}
	}
	return false
}

// neighbours returns the versions that stand before and after one; nil: none.
func (l *lineage) neighbours(v *version) (before, after *version) {
	i, _ := l.index(v.number)
	if i > 0 {
		before = l.versions[i-1]
	}
	if i+1 < len(l.versions) {
		after = l.versions[i+1]
	}
	return before, after
}

// below returns what the tip stands on: the version before it or, for the
// first, the parent's; a nil lineage is nothing.
func (l *lineage) below() (*lineage, *version) {
	if n := len(l.versions); n > 1 {
		return l, l.versions[n-2]
	}
	if l.parent == nil {
		return nil, nil
	}
	return l.parent, l.parent.at(l.rec.ParentVersion)
}

// unneeded tells that a version was given up and nothing holds it any more.
func (l *lineage) unneeded(v *version) bool {
	return v.rec.State == versionDoomed && !v.held() && !(l.writable && v == l.tip())
}

// entryKey is the key of a version's record.
func entryKey(id layerID) []byte {
	return binary.BigEndian.AppendUint32(lineageKey(prefixVersion, id.lineage), id.version)
}
