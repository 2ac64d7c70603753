package blockstore

import (
	"context"
	"errors"
	"sync"
	"time"
)

// write stores p at off. Its blocks are locked against other changes for the
// whole of it, but for when it waits for room.
func (v *volume) write(ctx context.Context, p []byte, off int64) error {
	var r room
	defer v.giveBack(&r)
	for {
		n, err := v.writeLocked(p, off, &r)
		if err == nil {
			return nil
		}
		p, off = p[n:], off+int64(n)
		if err := v.awaitRoom(ctx, &r, err); err != nil {
			return err
		}
	}
}

// writeLocked is write until there is no room. It returns how far it came.
func (v *volume) writeLocked(p []byte, off int64, r *room) (written int, err error) {
	if err := v.begin(); err != nil {
		return 0, err
	}
	start, end := off>>blockShift, (off+int64(len(p))+BlockSize-1)>>blockShift
	v.locks.lock(start, end)
	defer v.locks.unlock(start, end)
	for len(p) > 0 {
		n := min(len(p), maxIntent<<blockShift-int(off&(BlockSize-1)), RegionSize-int(off&(RegionSize-1)))
		if err := v.writePiece(p[:n], off, r); err != nil {
			return written, err
		}
		p, off, written = p[n:], off+int64(n), written+n
	}
	return written, nil
}

// begin prepares a change; while too much is unsynced it waits.
func (v *volume) begin() error {
	if err := v.usable(); err != nil {
		return err
	}
	if err := v.ready(); err != nil {
		return err
	}
	if v.unsynced.Load() > 2*v.s.o.CommitBytes || v.top.Load().crowds() {
		return v.flush()
	}
	return nil
}

// writePiece writes within one region and one intent. A block that the layer
// does not hold, or holds uncommitted, is written whole: filled up from what
// it reads as, never from what the file happens to hold.
func (v *volume) writePiece(p []byte, off int64, r *room) error {
	aligned := off&(BlockSize-1) == 0 && len(p)&(BlockSize-1) == 0
	if !inStep(p, off) {
		whole := fillBuffers.Get().(*fillBuffer)
		defer fillBuffers.Put(whole)
		p = whole.copyOf(p, off)
	}
	for {
		done, void, err := v.tryWrite(p, off, aligned, r)
		if void {
			err = errors.Join(err, v.flush())
		} else if errors.Is(err, errMapping) {
			err = v.failRing(err)
		}
		if done || err != nil {
			return err
		}
		if aligned { // the ring is full
			if err := v.flush(); err != nil {
				return err
			}
			continue
		}
		whole := fillBuffers.Get().(*fillBuffer)
		defer fillBuffers.Put(whole)
		if p, off, err = v.fill(whole, p, off); err != nil {
			return err
		}
		aligned = true
	}
}

// fillBuffer holds a write that was filled up to whole blocks, or copied to be
// in step. The runtime aligns what is so large to pages.
type fillBuffer [maxIntent << blockShift]byte

var fillBuffers = sync.Pool{New: func() any { return new(fillBuffer) }}

// copyOf returns a copy of p that is in step with off.
func (whole *fillBuffer) copyOf(p []byte, off int64) []byte {
	in := int(off & (BlockSize - 1))
	return whole[in : in+copy(whole[in:], p)]
}

// fill copies p into whole blocks, with what the disk reads around it. The
// caller holds the range lock. What lies behind the end of the disk is zero.
func (v *volume) fill(whole *fillBuffer, p []byte, off int64) ([]byte, int64, error) {
	start := off &^ (BlockSize - 1)
	end := (off + int64(len(p)) + BlockSize - 1) &^ (BlockSize - 1)
	buf := whole[:end-start]
	r := v.reader()
	for _, at := range []int64{start, end - BlockSize} {
		block := buf[at-start:][:BlockSize]
		clear(block)
		if err := r.read(block[:min(BlockSize, r.top.size-at)], at); err != nil {
			return nil, 0, err
		}
	}
	copy(buf[off-start:], p)
	return buf, start, nil
}

// tryWrite writes p under the gate. It reports false if the caller has to do
// something first: fill up to whole blocks (if not aligned), else commit.
//
// void tells that a write failed and left an intent. The file may hold what
// proves it, so that a recovery would bring back what reads do not show, even
// over later trims. A commit puts the intent out of force.
func (v *volume) tryWrite(p []byte, off int64, aligned bool, r *room) (done, void bool, err error) {
	v.gate.RLock()
	defer v.gate.RUnlock()
	t := v.top.Load()
	region, in := uint32(off>>regionShift), int(off&(RegionSize-1))
	own, err := t.writableOwn(v.s, region)
	if err != nil {
		return false, false, err
	}
	defer own.release()
	start, end := in>>blockShift, (in+len(p)+BlockSize-1)>>blockShift
	inPlace, first := own.committed(start, end), int64(0)
	if !inPlace {
		if !aligned {
			return false, false, nil
		}
		first = own.missing(start, end) << blockShift
		if err := v.take(r, t.layer, first); err != nil {
			return false, false, err
		}
		ok, err := v.ring.append(intentData, t.layer.id.version, off>>blockShift, end-start, p)
		if !ok || err != nil {
			return false, false, err
		}
	}
	t.changing(region, start, end)
	if err := t.layer.write(p, off); err != nil {
		return false, !inPlace, err
	}
	if !inPlace && own.mark(start, end, true) {
		t.dirtied(region, own)
	}
	v.used(r, first)
	v.wrote(int64(len(p)))
	if err := v.failed.Load(); err != nil { // it may not be in what is known as lost
		return false, false, *err
	}
	return true, false, nil
}

// write stores p in the layer's file.
func (l *layer) write(p []byte, off int64) error {
	s, at := l.segmentAt(off)
	h, err := s.acquire(true)
	if err != nil {
		return noSpace(err)
	}
	defer h.release()
	if !s.unsynced.Load() {
		s.unsynced.Store(true)
	}
	return noSpace(h.file.WriteAt(p, at))
}

// wrote counts what waits for a commit, and has it commit when it is much or
// has waited long.
func (v *volume) wrote(n int64) {
	v.s.counted.writes.Add(1)
	v.s.counted.bytes.Add(n)
	if v.written.Load() == 0 {
		v.written.CompareAndSwap(0, time.Now().UnixNano())
	}
	if (v.unsynced.Add(n) > v.s.o.CommitBytes || v.ring.half.Load()) && !v.kicked.Load() && !v.kicked.Swap(true) {
		go v.commitLater()
	}
	if !v.armed.Load() && !v.armed.Swap(true) {
		v.timer.Reset(v.s.o.CommitInterval)
	}
}
