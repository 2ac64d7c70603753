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
type ownPage struct {
	state [regionBlocks / statesPerWord]atomic.Uint64

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
