package blockstore

import "context"

// reader resolves blocks to layers: through the writable layer if there is
// one, then through the sealed version below. It looks at two pages at most,
// whatever the number of snapshots and clones below.
//
// Reads take no lock, but the ground may move under one that began before a
// write, a seal or a rollback: then the block that it resolved to below may be
// nobody's by now, and its room given back (reclaim.go). Such a block is
// shadowed first, in the top page or by another top. So whoever has read
// below a volume's top looks again whether that was right: moved, stale.
type reader struct {
	s    *Store
	v    *volume // nil for a sealed version
	top  *top    // nil for an image
	base *view
}

func (d *Disk) reader() reader {
	if d.v == nil {
		return reader{s: d.image.s, base: d.image}
	}
	return d.v.reader()
}

func (v *volume) reader() reader {
	t := v.top.Load()
	return reader{s: v.s, v: v, top: t, base: t.base}
}

// piece is a run of blocks within a region that come from one place.
type piece struct {
	layer *layer // nil: zero
	own   bool
	end   int // block of the region after the run
}

// pages returns the map of a region.
func (r reader) pages(region uint32) (*ownPage, *page, error) {
	own := noOwn
	if r.top != nil {
		var err error
		if own, err = r.top.ownPage(r.s, region); err != nil {
			return nil, nil, err
		}
	}
	base, err := r.base.page(region)
	return own, base, err
}

// resolve finds where blocks from block on come from, up to limit.
func (r reader) resolve(own *ownPage, base *page, block, limit int) piece {
	state, end := own.run(block, limit)
	switch state {
	case stateBase:
		l, end := base.at(block, end)
		return piece{layer: l, end: end}
	case stateZero:
		return piece{own: true, end: end}
	}
	// Committed and dirty data read alike.
	for end < limit {
		next, nextEnd := own.run(end, limit)
		if next != stateCommitted && next != stateDirty {
			break
		}
		end = nextEnd
	}
	return piece{layer: r.top.layer, own: true, end: end}
}

// moved tells that another top has come since the reader was made.
func (r reader) moved() bool { return r.v != nil && r.v.top.Load() != r.top }

// stale tells that of the n bytes at off, which were read below the top, some
// have been shadowed by it since they were resolved; own is the top's page as
// it stands now, or nil if it is not in memory.
func stale(own *ownPage, off int64, n int) bool {
	if own == nil {
		return true
	}
	in := int(off & (RegionSize - 1))
	end := (in + n + BlockSize - 1) >> blockShift
	state, runEnd := own.run(in>>blockShift, end)
	return state != stateBase || runEnd < end
}

// read fills p from offset off; the range is within the disk.
func (r reader) read(p []byte, off int64) error {
	for {
		err := r.readOnce(p, off)
		if !r.moved() {
			return err
		}
		r = r.v.reader()
	}
}

func (r reader) readOnce(p []byte, off int64) error {
	for len(p) > 0 {
		own, base, err := r.pages(uint32(off >> regionShift))
		if err != nil {
			return err
		}
		n := min(len(p), RegionSize-int(off&(RegionSize-1)))
		if n, err = r.readPiece(own, base, p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// readPiece reads what comes from one place and returns how much that is;
// nothing, if the place has changed meanwhile.
func (r reader) readPiece(own *ownPage, base *page, p []byte, off int64) (int, error) {
	at, n := r.piece(own, base, off, len(p))
	if err := r.checkLost(off, n, at != nil && r.top != nil && at == r.top.layer); err != nil {
		return n, err
	}
	if at == nil {
		clear(p[:n])
		return n, nil
	}
	err := at.read(p[:n], off)
	if r.top != nil && at != r.top.layer {
		// The page that the place was resolved with may be out of memory.
		own, ownErr := r.top.ownPage(r.s, uint32(off>>regionShift))
		if ownErr != nil {
			return 0, ownErr
		}
		if stale(own, off, n) {
			return 0, nil
		}
	}
	return n, err
}

// piece returns the layer that holds the bytes from off on and how many of
// them, at most length and within the region.
func (r reader) piece(own *ownPage, base *page, off int64, length int) (*layer, int) {
	in := int(off & (RegionSize - 1))
	limit := (in + length + BlockSize - 1) >> blockShift
	pc := r.resolve(own, base, in>>blockShift, min(limit, regionBlocks))
	return pc.layer, min(length, pc.end<<blockShift-in)
}

// tryPieces bounds how scattered a read may be to be tried without waiting.
const tryPieces = 64

// tryRead is read if maps and data are in memory.
func (r reader) tryRead(p []byte, off int64) bool {
	if r.top != nil && r.top.lost.Load() != nil {
		return false
	}
	for tries := 0; len(p) > 0; tries++ {
		if tries == tryPieces {
			return false
		}
		region := uint32(off >> regionShift)
		base := r.base.cached(region)
		own := noOwn
		if r.top != nil {
			own = r.top.cachedOwn(region)
		}
		if base == nil || own == nil {
			return false
		}
		at, n := r.piece(own, base, off, min(len(p), RegionSize-int(off&(RegionSize-1))))
		if at == nil {
			clear(p[:n])
		} else if !at.tryRead(p[:n], off) || r.top != nil && at != r.top.layer && stale(r.top.cachedOwn(region), off, n) {
			return false
		}
		p, off = p[n:], off+int64(n)
	}
	return !r.moved()
}

// walk calls fn with the pieces of [off, end), which may begin and end within
// a block, until fn returns false. Long stretches that no record describes are
// passed over at once.
func (r reader) walk(ctx context.Context, off, end int64, fn func(off, length int64, at *layer, own bool) bool) error {
	for off < end {
		if err := cancelled(ctx); err != nil {
			return err
		}
		region := uint32(off >> regionShift)
		own, base, err := r.pages(region)
		if err != nil {
			return err
		}
		if own == noOwn && base.zero() {
			to, err := r.skip(region, end)
			if err != nil {
				return err
			}
			if !fn(off, to-off, nil, false) {
				return nil
			}
			off = to
			continue
		}
		for stop := min(end, int64(region+1)<<regionShift); off < stop; {
			in := int(off & (RegionSize - 1))
			limit := int((stop-1)&(RegionSize-1))>>blockShift + 1
			pc := r.resolve(own, base, in>>blockShift, limit)
			n := min(int64(pc.end<<blockShift-in), stop-off)
			if !fn(off, n, pc.layer, pc.own) {
				return nil
			}
			off += n
		}
	}
	return nil
}

// skip returns where the next region begins that may not be zero, at most end.
func (r reader) skip(region uint32, end int64) (int64, error) {
	var next uint32
	var found bool
	var err error
	if r.top != nil {
		next, found, err = r.top.nextRegion(r.s, region+1)
	} else {
		next, found, err = r.base.nextRegion(region + 1)
	}
	if err != nil || !found {
		return end, err
	}
	return min(end, int64(next)<<regionShift), nil
}

func (r reader) extents(ctx context.Context, off, end int64, yield func(length int64, zero, own bool) bool) error {
	return r.walk(ctx, off, end, func(_, n int64, at *layer, own bool) bool {
		return yield(n, at == nil, own || r.top == nil && at != nil)
	})
}

func (r reader) prefetch(ctx context.Context, off, end int64) error {
	var failed error
	err := r.walk(ctx, off, end, func(off, n int64, at *layer, _ bool) bool {
		if at != nil {
			failed = at.prefetch(off, n)
		}
		return failed == nil
	})
	if err != nil {
		return err
	}
	return failed
}
