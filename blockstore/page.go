package blockstore

// A page is the map of one region of a sealed version, in memory: it names a
// layer or zero for every block. Pages are immutable and shared by everything
// that reads the version.
//
// It has one of three forms, the smallest that fits: runs (up to 64), one
// byte for each block, two bytes for each block.
//
// Of a large disk each read meets another page, and none of its cache lines is
// near the processor: so what a read looks at stands together at the beginning,
// and the layer that most pages have alone needs no list.
type page struct {
	first *layer   // source 1
	runs  []uint32 // first block of each << 16 | source
	small *[regionBlocks]uint8
	large *[regionBlocks]uint16
	more  []*layer // a source n > 1 is more[n-2]; 0 is zero
	depth int32    // delta records of the lineage that were read for it
}

const maxRuns = 64

// at returns the layer that holds block (nil: zero) and the end of the run
// that it stands in, at most limit.
func (p *page) at(block, limit int) (*layer, int) {
	src, end := p.find(block, limit)
	switch src {
	case sourceZero:
		return nil, end
	case 1:
		return p.first, end
	}
	return p.more[src-2], end
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
	lo, hi := 0, len(p.runs) // the last run that starts at or before block
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		if int(p.runs[mid]>>16) <= block {
			lo = mid
		} else {
			hi = mid
		}
	}
	end = limit
	if lo+1 < len(p.runs) {
		end = min(limit, int(p.runs[lo+1]>>16))
	}
	return uint16(p.runs[lo]), end
}

// zero tells that the whole region reads as zero.
func (p *page) zero() bool {
	return len(p.runs) == 1 && uint16(p.runs[0]) == sourceZero
}

// bytes is what the page takes in memory, but for itself.
func (p *page) bytes() int64 {
	n := allocated(8*cap(p.more)) + allocated(4*cap(p.runs))
	if p.small != nil {
		n += sizeOf[[regionBlocks]uint8]()
	}
	if p.large != nil {
		n += sizeOf[[regionBlocks]uint16]()
	}
	return n
}

// newPage makes the page of what stands in the composer; unset blocks are zero.
func newPage(c *composer, depth int, layerOf func(layerID) *layer) *page {
	p := new(page)
	p.fill(c, depth, layerOf)
	return p
}

func (p *page) fill(c *composer, depth int, layerOf func(layerID) *layer) {
	p.depth = int32(depth)
	if n := len(c.layers); n > 0 {
		p.first = layerOf(c.layers[0])
		if n > 1 {
			p.more = make([]*layer, 0, n-1)
		}
		for _, id := range c.layers[1:] {
			p.more = append(p.more, layerOf(id))
		}
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
		p.runs = make([]uint32, 0, runs)
		for i, src := range c.cells {
			if i == 0 || src != c.cells[i-1] {
				p.runs = append(p.runs, uint32(i)<<16|uint32(src))
			}
		}
	case len(c.layers) < 256:
		p.small = new([regionBlocks]uint8)
		for i, src := range c.cells {
			p.small[i] = uint8(src)
		}
	default:
		p.large = new([regionBlocks]uint16)
		copy(p.large[:], c.cells[:])
	}
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
