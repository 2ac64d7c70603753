package blockstore

import "sync/atomic"

// table maps the regions of a disk to pages. Reading takes no lock. Chunks
// are made when first used, so that a table costs 32 bytes for each GiB of
// the disk until it is used.
type table[T any] struct {
	chunks []atomic.Pointer[tableChunk[T]]
}

const chunkRegions = 256

type tableChunk[T any] [chunkRegions]atomic.Pointer[T]

func newTable[T any](size int64) *table[T] {
	return &table[T]{chunks: make([]atomic.Pointer[tableChunk[T]], (regionsOf(size)+chunkRegions-1)/chunkRegions)}
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
		at.CompareAndSwap(nil, new(tableChunk[T]))
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
	g := newTable[T](size)
	for i := range t.chunks {
		g.chunks[i].Store(t.chunks[i].Load())
	}
	return g
}
