package blockstore

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// State of a block in a writable layer, two bits each.
const (
	stateBase      = 0 // not named: falls through to the base
	stateZero      = 1
	stateCommitted = 2 // data here, and the map record says so
	stateDirty     = 3 // data here, not yet committed
)

const (
	statesPerWord = 32
	lowBits       = 0x5555555555555555
)

// ownPage is the map of one region of the writable layer. States are read
// without a lock: both bits of a block are in one word, so a reader never sees
// a mixture of two states.
//
// The page cache may drop a page that has no users and no changes: who changes
// it has acquired it. A page that was dropped stays so, and another one is made
// of the region's record.
type ownPage struct {
	state [regionBlocks / statesPerWord]atomic.Uint64
	cachePlace
	users atomic.Int32             // that change it; evictedPage: none any more
	slot  *atomic.Pointer[ownPage] // in the table

	mu struct {
		sync.Mutex
		// fresh holds what changed since the last commit began, taken
		// what the running commit writes.
		fresh, taken *changes
		recorded     bool // the version has a record of this region
	}
}

// changes is a set of blocks and what became of them.
type changes struct {
	data, zero [regionBlocks / 64]uint64
}

const evictedPage = -1 << 30

// acquire keeps the page in its table until it is released. It reports false
// if the page is out of it.
func (p *ownPage) acquire() bool {
	if p.users.Add(1) > 0 {
		return true
	}
	p.users.Add(-1)
	p.mu.Lock() // until it is really out
	defer p.mu.Unlock()
	return false
}

func (p *ownPage) release() { p.users.Add(-1) }

func (p *ownPage) bytes() int64 { return sizeOf[ownPage]() }

// changesBytes is what the changes of a page take that wait for a commit.
var changesBytes = sizeOf[changes]()

// evict takes the page out of its table, unless it is acquired or holds what
// is not in the metadata yet.
func (p *ownPage) evict() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.fresh != nil || p.mu.taken != nil || !p.users.CompareAndSwap(0, evictedPage) {
		return false
	}
	p.slot.CompareAndSwap(p, nil)
	return true
}

// held returns the bytes of the page's changes.
func (p *ownPage) held() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ch := range []*changes{p.mu.fresh, p.mu.taken} {
		if ch != nil {
			n += changesBytes
		}
	}
	return n
}

// ownTable holds the map pages of a writable layer.
type ownTable struct {
	*table[ownPage]
	cache *pageCache
	// load is held while a page is read from the metadata and put in the
	// table: a record that was read before a commit must not come after it.
	load *sync.Mutex
}

func newOwnTable(c *pageCache, size int64) ownTable {
	return ownTable{newTable[ownPage](c, size), c, new(sync.Mutex)}
}

// grown returns the table of the same layer of a larger disk.
func (t ownTable) grown(size int64) ownTable {
	return ownTable{t.table.grown(size), t.cache, t.load}
}

// get returns the page of a region if it is in memory, else nil.
func (t ownTable) get(region uint32) *ownPage {
	p := t.table.get(region)
	if p != nil && p != noOwn {
		p.touch()
	}
	return p
}

// put enters a page where old stands. It reports false if old does not.
func (t ownTable) put(region uint32, old, p *ownPage) bool {
	slot := t.slot(region)
	if p == noOwn {
		return slot.CompareAndSwap(old, p)
	}
	p.slot = slot
	if !slot.CompareAndSwap(old, p) {
		return false
	}
	t.cache.add(p)
	return true
}

// drop gives up all pages. Nobody may change the layer any more.
func (t ownTable) drop() {
	t.each(func(p *ownPage) {
		if p == noOwn {
			return
		}
		t.cache.forget(p)
		if n := p.held(); n > 0 { // of a volume that failed
			t.cache.charge(-n)
		}
	})
	t.memory.release()
}

// noOwn stands for a region that the layer does not name.
var noOwn = new(ownPage)

func (p *ownPage) at(block int) uint64 {
	return p.state[block/statesPerWord].Load() >> (2 * (block % statesPerWord)) & 3
}

// run returns the state of block and the end of the run of blocks that share
// it, at most limit.
func (p *ownPage) run(block, limit int) (state uint64, end int) {
	if p == noOwn {
		return stateBase, limit
	}
	state = p.at(block)
	pattern := state * lowBits
	for block++; block < limit; {
		shift := 2 * (block % statesPerWord)
		diff := (p.state[block/statesPerWord].Load() ^ pattern) >> shift
		if diff != 0 {
			return state, min(limit, block+bits.TrailingZeros64(diff)/2)
		}
		block += statesPerWord - block%statesPerWord
	}
	return state, limit
}

// held tells that every block of the range is data here; committed, that no
// change of the map is needed to overwrite it.
func (p *ownPage) committed(start, end int) bool {
	state, runEnd := p.run(start, end)
	return state == stateCommitted && runEnd >= end
}

// missing counts the blocks of the range that are not data here.
func (p *ownPage) missing(start, end int) (n int64) {
	for block := start; block < end; {
		state, runEnd := p.run(block, end)
		if state != stateCommitted && state != stateDirty {
			n += int64(runEnd - block)
		}
		block = runEnd
	}
	return n
}

// set gives a range a new state. The caller holds the range lock of the
// blocks; neighbours in the same word may change at the same time.
func (p *ownPage) set(start, end int, state uint64) {
	for block := start; block < end; {
		n := min(end-block, statesPerWord-block%statesPerWord)
		mask := (^uint64(0) >> (64 - 2*n)) << (2 * (block % statesPerWord))
		w := &p.state[block/statesPerWord]
		for {
			old := w.Load()
			if w.CompareAndSwap(old, old&^mask|state*lowBits&mask) {
				break
			}
		}
		block += n
	}
}

// mark records that a range became data or zero. It reports whether the page
// had no uncommitted changes before.
func (p *ownPage) mark(start, end int, data bool) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first = p.mu.fresh == nil; first {
		p.mu.fresh = new(changes)
	}
	state := uint64(stateZero)
	on, off := &p.mu.fresh.zero, &p.mu.fresh.data
	if data {
		state, on, off = stateDirty, off, on
	}
	setBits(on, start, end, true)
	setBits(off, start, end, false)
	p.set(start, end, state)
	return first
}

// take hands what changed to a commit.
func (p *ownPage) take() *changes {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.taken, p.mu.fresh = p.mu.fresh, nil
	return p.mu.taken
}

// settle ends a commit: what it wrote is committed, but for blocks that
// changed again meanwhile.
func (p *ownPage) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, data := range p.mu.taken.data {
		if p.mu.fresh != nil {
			data &^= p.mu.fresh.data[i] | p.mu.fresh.zero[i]
		}
		for data != 0 {
			start := bits.TrailingZeros64(data)
			n := bits.TrailingZeros64(^(data >> start))
			p.set(i*64+start, i*64+start+n, stateCommitted)
			if start+n == 64 {
				break
			}
			data &^= (1<<n - 1) << start
		}
	}
	p.mu.taken, p.mu.recorded = nil, true
}

// load sets the states that a committed record of the layer gives.
func (p *ownPage) load(c *composer, own layerID) error {
	self, err := c.source(own)
	if err != nil {
		return err
	}
	for block := 0; block < regionBlocks; {
		src, end := c.cells[block], block+1
		for end < regionBlocks && c.cells[end] == src {
			end++
		}
		switch src {
		case self:
			p.set(block, end, stateCommitted)
		case sourceZero:
			p.set(block, end, stateZero)
		}
		block = end
	}
	p.mu.recorded = true
	return nil
}

// setBits sets or clears bits [start, end).
func setBits(b *[regionBlocks / 64]uint64, start, end int, on bool) {
	for start < end {
		n := min(end-start, 64-start%64)
		mask := (^uint64(0) >> (64 - n)) << (start % 64)
		if on {
			b[start/64] |= mask
		} else {
			b[start/64] &^= mask
		}
		start += n
	}
}

// apply writes the changes into a composer.
func (ch *changes) apply(c *composer, own layerID) error {
	self, err := c.source(own)
	if err != nil {
		return err
	}
	for block := 0; block < regionBlocks; block++ {
		bit := uint64(1) << (block % 64)
		switch {
		case ch.data[block/64]&bit != 0:
			c.cells[block] = self
		case ch.zero[block/64]&bit != 0:
			c.cells[block] = sourceZero
		}
	}
	return nil
}
