package blockstore

// A page is the map of one region of a sealed version, in memory: it names a
// layer or zero for every block. Pages are immutable and shared by everything
// that reads the version.
//
// It has one of three forms, the smallest that fits: runs (up to 64), one
// byte for each block, two bytes for each block.
type page struct {
	layers []*layer // a source n > 0 is layers[n-1]; 0 is zero
	starts []uint16 // runs: first block of each
	srcs   []uint16 // runs: source of each
	small  []uint8
	large  []uint16
	depth  int // delta records of the lineage that were read for it
}

const maxRuns = 64

// at returns the layer that holds block (nil: zero) and the end of the run
// that it stands in, at most limit.
func (p *page) at(block, limit int) (*layer, int) {
	src, end := p.find(block, limit)
	if src == sourceZero {
		return nil, end
	}
	return p.layers[src-1], end
}

func (p *page) find(block, limit int) (src uint16, end int) {
	switch {
	case p.small != nil:
		s := p.small[block]
		for end = block + 1; end < limit && p.small[end] == s; end++ {
		}
		return uint16(s), end
	case p.large != nil:
		s := p.large[block]
		for end = block + 1; end < limit && p.large[end] == s; end++ {
		}
		return s, end
	}
	lo, hi := 0, len(p.starts) // the last run that starts at or before block
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		if int(p.starts[mid]) <= block {
			lo = mid
		} else {
			hi = mid
		}
	}
	end = limit
	if lo+1 < len(p.starts) {
		end = min(limit, int(p.starts[lo+1]))
	}
	return p.srcs[lo], end
}

// zero tells that the whole region reads as zero.
func (p *page) zero() bool {
	return len(p.starts) == 1 && p.srcs[0] == sourceZero
}

// bytes is what the page takes in memory.
func (p *page) bytes() int64 {
	return sizeOf[page]() + allocated(8*cap(p.layers)) + 2*allocated(2*cap(p.starts)) + allocated(cap(p.small)) + allocated(2*cap(p.large))
}

// newPage makes the page of what stands in the composer; unset blocks are zero.
func newPage(c *composer, depth int, layerOf func(layerID) *layer) *page {
	p := &page{depth: depth}
	for _, id := range c.layers {
		p.layers = append(p.layers, layerOf(id))
	}
	runs, last := 0, uint16(sourceUnset)
	for i, src := range c.cells {
		if src == sourceUnset {
			src = sourceZero
			c.cells[i] = src
		}
		if src != last || i == 0 {
			runs, last = runs+1, src
		}
	}
	switch {
	case runs <= maxRuns:
		p.starts, p.srcs = make([]uint16, 0, runs), make([]uint16, 0, runs)
		for i, src := range c.cells {
			if i == 0 || src != c.cells[i-1] {
				p.starts, p.srcs = append(p.starts, uint16(i)), append(p.srcs, src)
			}
		}
	case len(c.layers) < 256:
		p.small = make([]uint8, regionBlocks)
		for i, src := range c.cells {
			p.small[i] = uint8(src)
		}
	default:
		p.large = make([]uint16, regionBlocks)
		copy(p.large, c.cells[:])
	}
	return p
}

// overlay writes the page's sources into a composer below what stands there:
// only blocks that are unset take them. The result is a full record.
func (p *page) overlay(c *composer) error {
	for block := 0; block < regionBlocks; {
		l, end := p.at(block, regionBlocks)
		src := uint16(sourceZero)
		if l != nil {
			var err error
			if src, err = c.source(l.id); err != nil {
				return err
			}
		}
		for ; block < end; block++ {
			if c.cells[block] == sourceUnset {
				c.cells[block] = src
			}
		}
	}
	c.full = true
	return nil
}
