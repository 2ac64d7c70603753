package blockstore

import (
	"context"
	"errors"
)

// zeros is the source of zeros to write. It is never written to.
var zeros [1 << 20]byte

// zerosFor returns zeros to write at off, n bytes at most.
func zerosFor(off, n int64) []byte {
	lead := stepsBehind(zeros[:], off)
	return zeros[lead:min(int64(lead)+n, int64(len(zeros)))]
}

// writeZeros makes [off, end) zero and allocated: zeros are written.
func (v *volume) writeZeros(ctx context.Context, off, end int64) error {
	for off < end {
		if err := cancelled(ctx); err != nil {
			return err
		}
		p := zerosFor(off, end-off)
		if err := v.write(ctx, p, off); err != nil {
			return err
		}
		off += int64(len(p))
	}
	return nil
}

// zeroAny makes [off, end) zero: whole blocks in the map, the rest by writing.
func (v *volume) zeroAny(ctx context.Context, off, end int64) error {
	start := min(end, (off+BlockSize-1)&^(BlockSize-1))
	if err := v.writeZeros(ctx, off, start); err != nil {
		return err
	}
	start, err := v.zero(ctx, start, end)
	if err != nil {
		return err
	}
	return v.writeZeros(ctx, start, end)
}

// zero makes whole blocks from start, a multiple of the block size, to end
// read as zero, in the map, and gives their room in this layer back. What is
// zero already costs nothing, however long. It returns how far it came: end,
// or the start of the last block if end cuts it short.
func (v *volume) zero(ctx context.Context, start, end int64) (int64, error) {
	if start >= end {
		return start, nil
	}
	if err := v.beginPatiently(ctx); err != nil {
		return start, err
	}
	for off := start; off < end; {
		if err := cancelled(ctx); err != nil {
			return off, err
		}
		next, full, err := v.zeroLocked(off, min(end, (off&^(RegionSize-1))+RegionSize))
		if errors.Is(err, errMapping) {
			err = v.failRing(err)
		}
		if err != nil || next == off && !full {
			return off, err
		}
		off = next
		if full {
			err = v.flush()
		} else if off < end && off&(RegionSize-1) == 0 {
			off, err = v.skipZero(off, end)
		}
		if err != nil {
			return off, err
		}
	}
	return end, nil
}

// zeroLocked is zeroRegion with the blocks locked. A last block that the end
// of the disk cuts short counts as whole; whether it does is asked under the
// lock, for the disk may grow.
func (v *volume) zeroLocked(off, stop int64) (next int64, full bool, err error) {
	first, last := off>>blockShift, blocksOf(stop)
	v.locks.lock(first, last)
	defer v.locks.unlock(first, last)
	if stop != v.top.Load().size {
		stop &^= BlockSize - 1
	}
	if stop <= off {
		return off, false, nil
	}
	return v.zeroRegion(off, stop)
}

// skipZero returns the first offset from off on, at a region's start, that
// may not read as zero.
func (v *volume) skipZero(off, end int64) (int64, error) {
	region := uint32(off >> regionShift)
	r := v.reader()
	own, base, err := r.pages(region)
	if err != nil || own != noOwn || !base.zero() {
		return off, err
	}
	return r.skip(region, end)
}

// zeroRegion zeroes [off, stop), which lies within one region, under the gate.
// It returns how far it came, and whether the ring is full.
func (v *volume) zeroRegion(off, stop int64) (next int64, full bool, err error) {
	v.gate.RLock()
	defer v.gate.RUnlock()
	r := v.reader()
	region := uint32(off >> regionShift)
	own, base, err := r.pages(region)
	if err != nil || own == noOwn && base.zero() {
		return stop, false, err
	}
	if own, err = r.top.writableOwn(v.s, region); err != nil {
		return off, false, err
	}
	defer own.release()
	block, limit := int(off&(RegionSize-1))>>blockShift, int((stop-1)&(RegionSize-1))>>blockShift+1
	at := int64(region) << regionShift
	for block < limit {
		pc := r.resolve(own, base, block, limit)
		if pc.layer != nil {
			r.top.changing(region, block, pc.end)
			if ok, err := v.zeroRun(r.top, own, region, block, pc); !ok || err != nil {
				return at + int64(block)<<blockShift, err == nil, err
			}
		}
		block = pc.end
	}
	if err := v.failed.Load(); err != nil { // it may not be in what is known as lost
		return off, false, *err
	}
	return stop, false, nil
}

// zeroRun makes a run of blocks zero: intent, map, and then the hole, which
// nobody can fill meanwhile, for the blocks are locked. It reports false if
// the ring is full.
func (v *volume) zeroRun(t *top, own *ownPage, region uint32, block int, pc piece) (bool, error) {
	at := int64(region)<<(regionShift-blockShift) + int64(block)
	if ok, err := v.ring.append(intentZero, t.layer.id.version, at, pc.end-block, nil); !ok || err != nil {
		return false, err
	}
	if own.mark(block, pc.end, false) {
		t.dirtied(region, own)
	}
	v.wrote(0)
	if pc.own {
		t.layer.freed(int64(pc.end-block) << blockShift)
		if err := t.layer.punch(at<<blockShift, int64(pc.end-block)<<blockShift); err != nil {
			// The map says zero: only the room is not given back.
			v.s.o.Logger.Warn("punch hole failed", "volume", v.entry.name, "err", err)
		}
		if v.s.space.waiters.Load() > 0 {
			v.s.space.wake()
		}
	}
	return true, nil
}
