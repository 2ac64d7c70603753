package blockstore

import "sync"

// What a top has changed since its last good flush is kept as one bitmap for
// each region, overwrites of blocks that it holds included: after a failed sync
// nobody knows what the disk has of them, and a second sync would lie. The
// bitmaps are 512 bytes for each region that was changed, and there are as many
// as writes fit into what a volume leaves unsynced (Options.CommitBytes). The page
// cache counts those of tops.

// unsyncedSet is a set of blocks by region.
type unsyncedSet map[uint32]*blockSet

var blockSets = sync.Pool{New: func() any { return new(blockSet) }}

// blockSetBytes is what a region takes in a set, its place in the map included.
var blockSetBytes = sizeOf[blockSet]() + 32

func (u unsyncedSet) memory() int64 { return blockSetBytes * int64(len(u)) }

// add adds blocks [start, end) of a region.
func (u unsyncedSet) add(region uint32, start, end int) {
	s := u[region]
	if s == nil {
		s = blockSets.Get().(*blockSet)
		*s = blockSet{}
		u[region] = s
	}
	setBits((*[regionBlocks / 64]uint64)(s), start, end, true)
}

// has tells that one of the blocks [start, end) of a region is in the set.
func (u unsyncedSet) has(region uint32, start, end int) bool {
	s := u[region]
	return s != nil && s.any(start, end)
}

// join adds what is in other.
func (u unsyncedSet) join(other unsyncedSet) {
	for region, more := range other {
		if u[region] == nil {
			u[region] = new(blockSet)
		}
		for i, w := range more {
			u[region][i] |= w
		}
	}
}

// keep drops what is not in other.
func (u unsyncedSet) keep(other unsyncedSet) {
	for region, s := range u {
		o := other[region]
		if o == nil {
			delete(u, region)
			continue
		}
		for i := range s {
			s[i] &= o[i]
		}
		if !s.any(0, regionBlocks) {
			delete(u, region)
		}
	}
}

// any tells that one of the blocks [start, end) is in the set.
func (s *blockSet) any(start, end int) bool {
	for start < end {
		n := min(end-start, 64-start%64)
		if s[start/64]>>(start%64)&(^uint64(0)>>(64-n)) != 0 {
			return true
		}
		start += n
	}
	return false
}

// changing notes that blocks of a region are about to change. The gate is held.
func (t *top) changing(region uint32, start, end int) {
	t.mu.Lock()
	if t.mu.unsynced == nil {
		t.mu.unsynced = unsyncedSet{}
	}
	first := t.mu.unsynced[region] == nil
	t.mu.unsynced.add(region, start, end)
	t.mu.Unlock()
	if first {
		t.own.cache.charge(blockSetBytes)
	}
}

// takeUnsynced hands the set to a commit; synced ends it. The gate is closed.
func (t *top) takeUnsynced() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.syncing, t.mu.unsynced = t.mu.unsynced, nil
}

// synced says that what the commit took is on the disk.
func (t *top) synced() {
	t.mu.Lock()
	n := t.mu.syncing.memory()
	for _, s := range t.mu.syncing {
		blockSets.Put(s)
	}
	t.mu.syncing = nil
	t.mu.Unlock()
	t.own.cache.charge(-n)
}

// dropUnsynced gives up what is known of a top that nobody uses any more.
func (t *top) dropUnsynced() {
	t.mu.Lock()
	n := t.mu.syncing.memory() + t.mu.unsynced.memory()
	t.mu.syncing, t.mu.unsynced = nil, nil
	t.mu.Unlock()
	t.own.cache.charge(-n)
}

// unflushed returns a copy of what was changed since the last good flush.
func (t *top) unflushed() unsyncedSet {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := unsyncedSet{}
	u.join(t.mu.syncing)
	u.join(t.mu.unsynced)
	return u
}

// isUnflushed tells that one of the blocks [start, end) of a region was.
func (t *top) isUnflushed(region uint32, start, end int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.syncing.has(region, start, end) || t.mu.unsynced.has(region, start, end)
}
