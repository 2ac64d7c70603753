package blockstore

import (
	"math"
	"sync/atomic"
)

// table maps the regions of a disk to pages. Reading takes no lock. Chunks
// are made when first used, so that a table costs 2 bytes for each GiB of
// the disk until it is used, and 512 once it is.
type table[T any] struct {
	chunks []atomic.Pointer[tableChunk[T]]
	memory *tableMemory
}

// tableMemory is what tables that share their chunks take, as the page cache
// counts it.
type tableMemory struct {
	cache *pageCache
	held  atomic.Int64 // negative once it was given up
}

func (m *tableMemory) add(n int64) {
	if m.held.Add(n) > 0 {
		m.cache.chargeTables(n)
	}
}

// release gives all of it up; nothing is counted any more then, though a reader
// may still fill a chunk of a table that nobody else uses.
func (m *tableMemory) release() {
	if n := m.held.Swap(math.MinInt64 / 2); n > 0 {
		m.cache.chargeTables(-n)
	}
}

const chunkRegions = 256

type tableChunk[T any] [chunkRegions]atomic.Pointer[T]

func newTable[T any](c *pageCache, size int64) *table[T] {
	return (&table[T]{memory: &tableMemory{cache: c}}).grown(size)
}

// get returns the page of a region or nil.
func (t *table[T]) get(region uint32) *T {
	c := t.chunks[region/chunkRegions].Load()
	if c == nil {
		return nil
	}
	return c[region%chunkRegions].Load()
}

// slot returns the place of a region, making its chunk.
func (t *table[T]) slot(region uint32) *atomic.Pointer[T] {
	at := &t.chunks[region/chunkRegions]
	c := at.Load()
	if c == nil {
		if at.CompareAndSwap(nil, new(tableChunk[T])) {
			t.memory.add(sizeOf[tableChunk[T]]())
		}
		c = at.Load()
	}
	return &c[region%chunkRegions]
}

// each calls fn with every page in the table. Nobody may use it any more.
func (t *table[T]) each(fn func(p *T)) {
	for i := range t.chunks {
		c := t.chunks[i].Load()
		if c == nil {
			continue
		}
		for j := range c {
			if p := c[j].Load(); p != nil {
				fn(p)
			}
		}
	}
}

// grown returns a table for a larger disk that shares the chunks of t.
func (t *table[T]) grown(size int64) *table[T] {
	g := &table[T]{chunks: make([]atomic.Pointer[tableChunk[T]], (regionsOf(size)+chunkRegions-1)/chunkRegions), memory: t.memory}
	for i := range t.chunks {
		g.chunks[i].Store(t.chunks[i].Load())
	}
	// What a reader still has of t is let go soon.
	t.memory.add(allocated(8*len(g.chunks)) - allocated(8*len(t.chunks)))
	return g
}
