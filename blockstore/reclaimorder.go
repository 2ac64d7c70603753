package blockstore

import (
	"errors"
	"time"
)

// Of all that can be freed, what gives bytes back soonest comes first: writers
// may wait for them. Files that nothing reads go at once. Absorbing a version
// frees what is shadowed of its file, but only region by region, and rewrites
// records for it. Least, for the work, comes of looking through what a volume's
// top stands on.

// job is one thing to free.
type job struct {
	lineage *lineage
	version *version // nil: the whole lineage
	// before and after stand before and after the version; nil: none. With
	// trim, after is the top of a volume.
	before, after *version
	trim          bool
}

// rank orders jobs, the lowest first.
func (j job) rank() int {
	switch {
	case j.version == nil || j.version.rec.State == versionMerged:
		return rankFiles
	case !j.trim:
		return rankAbsorb
	default:
		return rankTrim
	}
}

const (
	rankFiles = iota // of which nothing is read
	rankAbsorb
	rankTrim
	rankNone
)

func (j job) layer() layerID {
	if j.version == nil {
		return layerID{lineage: j.lineage.id}
	}
	return layerID{j.lineage.id, j.version.number}
}

// next picks what can be freed now, but for what failed before.
func (r *reclaimer) next(failed map[layerID]bool) (job, bool) {
	c := r.s.cat
	c.mu.Lock()
	defer c.mu.Unlock()
	var best job
	rank := rankNone
	for l := range c.mu.doomed {
		if j, ok := r.nextOf(l, failed); !ok {
			if !l.hasDoomed() {
				delete(c.mu.doomed, l)
			}
		} else if j.rank() < rank {
			if best, rank = j, j.rank(); rank == rankFiles {
				break
			}
		}
	}
	return best, rank != rankNone
}

// nextOf picks what can be freed of a lineage. Of the versions to absorb it is
// the newest, so that what several versions hold for the same one moves once.
func (r *reclaimer) nextOf(l *lineage, failed map[layerID]bool) (job, bool) {
	needed := false
	var found *version
	for _, v := range l.versions {
		if !l.unneeded(v) {
			needed = true
		} else if id := (layerID{l.id, v.number}); !failed[id] && !(r.isBase(l, v) && time.Since(r.trimmed[id]) < trimEvery) {
			if found == nil || !r.isBase(l, v) {
				found = v
			}
		}
	}
	if !needed {
		j := job{lineage: l}
		return j, !failed[j.layer()]
	}
	for _, v := range l.merged {
		if v.rec.Live == 0 && !failed[layerID{l.id, v.number}] {
			return job{lineage: l, version: v}, true
		}
	}
	if found == nil {
		return job{}, false
	}
	before, after := l.neighbours(found)
	return job{lineage: l, version: found, before: before, after: after, trim: r.isBase(l, found)}, true
}

// errSooner ends a step by step job early. It goes on later from there.
var errSooner = errors.New("something else gives bytes back sooner")

// sooner returns errSooner if, since it was asked last, something came to be freed
// that gives bytes back sooner than a version to absorb.
func (r *reclaimer) sooner() error {
	select {
	case <-r.wakeup:
	default:
		return nil
	}
	if j, ok := r.next(nil); ok && j.rank() == rankFiles {
		return errSooner
	}
	return nil
}

// isBase tells that a version is what the top of a volume stands on.
func (r *reclaimer) isBase(l *lineage, v *version) bool {
	n := len(l.versions)
	return l.writable && n > 1 && l.versions[n-2] == v
}
