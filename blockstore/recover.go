package blockstore

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// recovery says what a failure means to a volume that is being put in order.
type recovery struct {
	// ring is what was left, for a failure to be noted in; nil if there is none.
	ring *ring
	// blocks that the ring's entries name. What else was changed before and is
	// not synced is not known.
	blocks unsyncedSet
	// retry says that there is nothing unsynced whose loss a failed sync could
	// mean: it may be tried again.
	retry bool
}

// recover puts a volume in order that was not closed: after a kill of the
// process everything acknowledged is found again; after a power loss of the
// host, everything flushed, and the volume's epoch grows, since clients that
// lived on may have lost what they were told was written. The same holds if
// the intent ring was lost. It takes no room but for its commit, so that a
// volume on a full disk can be read.
//
// A volume that has failed is left as it is: it can be read in part.
//
// It may itself be cut short at any point and run again.
func (v *volume) recover() error {
	t := v.top.Load()
	lineage := t.layer.id.lineage
	if f := v.s.standingFailure(lineage); f != nil {
		v.standFailed(f)
		return nil
	}
	var mark openMark
	found, err := v.s.getJSON(lineageKey(prefixOpen, lineage), &mark)
	if !found || err != nil {
		return err
	}
	powerLoss := v.s.otherBoot(mark)
	seq, err := v.s.flushedSeq(lineage)
	if err != nil {
		return err
	}
	r, entries, ringErr, err := v.intents(seq)
	if r != nil {
		defer r.close()
	}
	if err != nil {
		return fmt.Errorf("volume %q cannot be recovered: %w", v.entry.name, err)
	}
	// In another boot of the host the kernel holds nothing from before.
	v.recovering = &recovery{ring: r, blocks: v.named(entries), retry: powerLoss && mark.Boot != unknownBoot}
	defer func() { v.recovering = nil }()
	if r != nil && r.failed && !powerLoss {
		_ = v.fail(errors.New("an earlier process left word of it in the intent ring"))
		return nil
	}
	if v.s.o.ReadOnly {
		return v.readRing(seq, entries)
	}
	// All files of the layer are synced, whatever the ring says: the kernel may
	// hold unsynced overwrites of which nothing is known here, and the next
	// flush promises them.
	pins, err := t.layer.pinAll()
	var d *dirtySet
	var blocks int
	if err == nil {
		d, blocks, err = v.replay(entries, seq, pins, func(e intent, i int) (bool, error) { return e.holds(pins, i) })
	}
	v.s.cat.mu.Lock()
	rec := v.entry.rec
	v.s.cat.mu.Unlock()
	if powerLoss { // the opening of the store has done it, as a rule
		rec.raiseFor(mark, causePowerLoss)
	} else if ringErr != nil {
		rec.raiseFor(mark, "the volume's intent ring was lost: "+ringErr.Error())
		v.s.o.Logger.Warn("acked-writes-may-be-lost: "+rec.EpochCause, "volume", v.entry.name, "epoch", rec.Epoch, "since", mark.Since)
	}
	if err == nil {
		err = v.commitSet(d, func(b *pebble.Batch) {
			_ = b.Delete(lineageKey(prefixOpen, lineage), nil)
			putJSON(b, nameKey(prefixVolume, v.entry.name), rec)
		})
	}
	if v.failed.Load() != nil { // it can be read in part
		return nil
	}
	if err != nil {
		return fmt.Errorf("volume %q cannot be recovered: %w", v.entry.name, err)
	}
	v.s.cat.mu.Lock()
	v.entry.rec = rec // its quota is changed under e.mu only, which is held
	v.s.cat.mu.Unlock()
	v.s.o.Logger.Info("volume recovered", "volume", v.entry.name, "blocks", blocks, "powerLoss", powerLoss)
	if err := v.s.fs.Remove(v.s.ringPath(lineage)); err != nil && !errors.Is(err, os.ErrNotExist) {
		v.s.o.Logger.Warn("intent ring not removed; it is emptied before its next use", "volume", v.entry.name, "err", err)
	}
	return nil
}

// intents returns the ring, which the caller closes, and its entries newer than
// seq. lost says that there is no ring that could have any: within one boot of
// the host it was there, and somebody took it.
func (v *volume) intents(seq uint64) (r *ring, entries []intent, lost, err error) {
	path := v.s.ringPath(v.top.Load().layer.id.lineage)
	r, err = openRing(v.s.fs, path, v.s.o.ringSize)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrCorrupt) {
		return nil, nil, err, nil
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if entries, err = r.entries(seq); err != nil {
		err = fmt.Errorf("intent ring %s: %w; mend its disk, or move the file away to go on without what was not flushed", path, err)
	}
	return r, entries, nil, err
}

// named returns the blocks of the top that entries name.
func (v *volume) named(entries []intent) unsyncedSet {
	t, set := v.top.Load(), unsyncedSet{}
	for _, e := range entries {
		if e.version == t.layer.id.version {
			e.eachRegion(t.size, set.add)
		}
	}
	return set
}

// eachRegion calls fn with the blocks of an entry on a disk of that size.
func (e intent) eachRegion(size int64, fn func(region uint32, start, end int)) {
	if e.block < 0 {
		return
	}
	for at, end := e.block, min(e.block+int64(e.blocks), blocksOf(size)); at < end; {
		region := uint32(at >> (regionShift - blockShift))
		base := int64(region) << (regionShift - blockShift)
		stop := min(end, base+regionBlocks)
		fn(region, int(at-base), int(stop-base))
		at = stop
	}
}

// replay marks in the map what the ring's entries, newer than seq, prove, with
// pins on the files that the layer has; holds tells whether one says how a block
// of it stands. It leaves the newest entry first. It returns the dirty set, which owns
// the pins, and how many blocks changed their state.
func (v *volume) replay(entries []intent, seq uint64, pins []pin, holds holdsFunc) (d *dirtySet, blocks int, err error) {
	t := v.top.Load()
	d = &dirtySet{top: t, pins: pins, regions: map[uint32]*ownPage{}, seq: seq, entries: true}
	defer func() {
		if err != nil {
			releasePins(pins)
		}
	}()
	slices.SortFunc(entries, func(a, b intent) int { return int(int64(b.seq - a.seq)) })
	decided := map[uint32]*blockSet{}
	for _, e := range entries {
		d.seq = max(d.seq, e.seq)
		if e.version != t.layer.id.version || e.block < 0 {
			continue // sealed since
		}
		end := min(e.block+int64(e.blocks), blocksOf(t.size))
		for at := e.block; at < end; {
			region := uint32(at >> (regionShift - blockShift))
			stop := min(end, int64(region+1)<<(regionShift-blockShift))
			if decided[region] == nil {
				decided[region] = new(blockSet)
			}
			n, err := v.settleRuns(d, holds, e, region, at, stop, decided[region])
			if err != nil {
				return nil, 0, err
			}
			blocks += n
			at = stop
		}
	}
	for _, p := range d.regions {
		p.take()
	}
	return d, blocks, nil
}

// settleRuns marks what an entry proves of the blocks from at to stop, which
// are of one region, but for those that a newer entry has decided.
func (v *volume) settleRuns(d *dirtySet, holds holdsFunc, e intent, region uint32, at, stop int64, decided *blockSet) (blocks int, err error) {
	var p *ownPage
	base := int64(region) << (regionShift - blockShift)
	for at < stop {
		start := int(at - base)
		end := start
		for ; base+int64(end) < stop && !decided.has(end); end++ {
			if ok, err := holds(e, int(base+int64(end)-e.block)); err != nil {
				return 0, err
			} else if !ok {
				break
			}
		}
		if end == start {
			at++
			continue
		}
		if p == nil {
			if p, err = d.top.writableOwn(v.s, region); err != nil {
				return 0, err
			}
			defer p.release()
			d.regions[region] = p
		}
		if p.mark(start, end, e.kind == intentData) {
			d.top.own.cache.charge(changesBytes)
		}
		setBits((*[regionBlocks / 64]uint64)(decided), start, end, true)
		blocks += end - start
		at = base + int64(end)
	}
	return blocks, nil
}

// holdsFunc tells whether an entry says how block i of it stands now.
type holdsFunc func(e intent, i int) (bool, error)

// blockSet is a set of the blocks of a region.
type blockSet [regionBlocks / 64]uint64

func (s *blockSet) has(block int) bool { return s[block/64]>>(block%64)&1 == 1 }

func (s *blockSet) add(block int) { s[block/64] |= 1 << (block % 64) }

// next returns the first run of blocks in the set within [start, end); an empty
// one at end, if there is none.
func (s *blockSet) next(start, end int) (from, to int) {
	for from = start; from < end && !s.has(from); from++ {
	}
	for to = from; to < end && s.has(to); to++ {
	}
	return from, to
}

// holds tells whether an entry says how block i of it stands now. A block
// that cannot be read is an error, not a no: what was acknowledged may be there.
func (e intent) holds(pins []pin, i int) (bool, error) {
	if e.kind == intentZero {
		return true, nil
	}
	off := (e.block + int64(i)) << blockShift
	for _, p := range pins {
		if p.index != int(off>>segmentShift) {
			continue
		}
		var b [BlockSize]byte
		err := p.handle.file.ReadAt(b[:], off&(segmentSize-1))
		return blockSum(b[:]) == e.sums[i], err
	}
	return false, nil // the file was never made
}
