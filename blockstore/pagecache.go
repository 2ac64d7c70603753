package blockstore

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// pageCache holds the memory of all map pages under one budget: those of
// sealed versions and those of volumes' writable layers. The tables that hold them
// count too. It is a clock: a page
// that was used since the hand came by last stays for another turn. Pages
// that somebody changes, or that hold what no commit has written, are passed
// over; a commit makes them ordinary ones (own.go).
//
// An evicted page may still be in use by readers: it stays right for them as
// far as a read that began before a write may miss it (read.go).
type pageCache struct {
	budget int64
	bytes  atomic.Int64 // of all pages, of their changes, and of what volumes have unsynced
	tables atomic.Int64 // of the tables of open disks, which cannot be dropped
	// crowded tells that the budget is exceeded by pages that must stay: then
	// writers commit before they change more.
	crowded atomic.Bool

	mu struct {
		sync.Mutex
		clock []cacheable
		hand  int
	}
}

// cacheable is a page that the cache may drop.
type cacheable interface {
	place() *cachePlace
	bytes() int64
	// evict takes the page out of its table, so that it is read anew from the
	// metadata when it is needed again. It reports false if it must stay.
	evict() bool
}

// cachePlace is what the cache keeps in a page.
type cachePlace struct {
	used  atomic.Bool // since the clock's hand came by
	index int32       // in the clock, from 1; 0: not there. Guarded by pageCache.mu
}

func (c *cachePlace) place() *cachePlace { return c }

// touch notes that the page is used. It writes only if that is news, since
// many processors share the page.
func (c *cachePlace) touch() {
	if !c.used.Load() {
		c.used.Store(true)
	}
}

const (
	// pageOverhead is what a page takes beside itself, in bytes: its place in
	// the clock, which grows by a quarter, and its slot in a table.
	pageOverhead = 32
	// crowdedTries bounds the search for a victim while the cache is crowded.
	crowdedTries = 64
)

// allocated returns what the allocator takes for n bytes: its size classes
// waste an eighth at most.
func allocated(n int) int64 {
	if n == 0 {
		return 0
	}
	return int64(max(n+n/8, 16))
}

// sizeOf is what a value of type T takes in memory, in bytes.
func sizeOf[T any]() int64 {
	var v T
	return allocated(int(unsafe.Sizeof(v)))
}

// add enters a page that stands in its table, and drops others.
func (c *pageCache) add(p cacheable) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.clock = append(c.mu.clock, p)
	p.place().index = int32(len(c.mu.clock))
	p.place().used.Store(true)
	c.bytes.Add(p.bytes() + pageOverhead)
	tries := 2 * len(c.mu.clock)
	if c.crowded.Load() {
		tries = crowdedTries
	}
	c.sweepLocked(p, tries)
}

// limit is what pages may take beside the tables. However large those are, some
// pages must find room, or each would be read anew for each block.
func (c *pageCache) limit() int64 { return max(c.budget-c.tables.Load(), c.budget/4) }

// chargeTables counts n bytes more, or fewer, for tables.
func (c *pageCache) chargeTables(n int64) {
	c.tables.Add(n)
	c.charge(0)
}

// charge counts n bytes more, or fewer, for the changes that pages hold.
func (c *pageCache) charge(n int64) {
	if c.bytes.Add(n) > c.limit() && (n <= 0 || !c.crowded.Load()) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sweepLocked(nil, 2*len(c.mu.clock))
	} else if n <= 0 && c.crowded.Load() {
		c.crowded.Store(false)
	}
}

// sweepLocked drops pages until the budget is met. One is spared: its user has
// just asked for it. The changes of pages that are gone may be what exceeds the
// budget, for a moment, so that no page is left to drop.
func (c *pageCache) sweepLocked(spared cacheable, tries int) {
	for ; c.bytes.Load() > c.limit() && tries > 0 && len(c.mu.clock) > 0; tries-- {
		if c.mu.hand >= len(c.mu.clock) {
			c.mu.hand = 0
		}
		p := c.mu.clock[c.mu.hand]
		if p == spared || p.place().used.Swap(false) || !p.evict() {
			c.mu.hand++
			continue
		}
		c.removeLocked(p)
	}
	c.crowded.Store(c.bytes.Load() > c.limit())
}

func (c *pageCache) removeLocked(p cacheable) {
	i, last := int(p.place().index)-1, len(c.mu.clock)-1
	p.place().index = 0
	c.bytes.Add(-p.bytes() - pageOverhead)
	moved := c.mu.clock[last]
	c.mu.clock[last] = nil
	c.mu.clock = c.mu.clock[:last]
	if i < last {
		c.mu.clock[i] = moved
		moved.place().index = int32(i + 1)
	}
}

// forget takes a page out whose table nobody uses any more.
func (c *pageCache) forget(p cacheable) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.place().index != 0 {
		c.removeLocked(p)
	}
}
