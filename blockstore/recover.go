package blockstore

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// recover puts a volume in order that was not closed: after a kill of the
// process everything acknowledged is found again; after a power loss of the
// host, everything flushed, and the volume's epoch grows, since clients that
// lived on may have lost what they were told was written. The same holds if
// the intent ring was lost. It takes no room but for its commit, so that a
// volume on a full disk can be read.
//
// It may itself be cut short at any point and run again.
func (v *volume) recover() error {
	t := v.top.Load()
	lineage := t.layer.id.lineage
	var mark openMark
	found, err := v.s.getJSON(lineageKey(prefixOpen, lineage), &mark)
	if !found || err != nil {
		return err
	}
	if mark.Failed != "" && mark.Boot == v.s.o.bootID {
		return errf(ErrFailed, "volume %q is closed, since a sync of its data failed: %s; what the disk holds can be told after the host was restarted", v.entry.name, mark.Failed)
	}
	powerLoss := mark.Boot != v.s.o.bootID || mark.Boot == unknownBoot
	seq, err := v.s.flushedSeq(lineage)
	if err != nil {
		return err
	}
	entries, ringErr, err := v.intents(seq)
	if err != nil {
		return fmt.Errorf("volume %q cannot be recovered: %w", v.entry.name, err)
	}
	// All files of the layer are synced, whatever the ring says: the kernel may
	// hold unsynced overwrites of which nothing is known here, and the next
	// flush promises them.
	pins, err := t.layer.pinAll()
	var d *dirtySet
	var blocks int
	if err == nil {
		d, blocks, err = v.replay(entries, seq, pins)
	}
	lost := powerLoss || ringErr != nil
	if err == nil {
		err = v.commitSet(d, func(b *pebble.Batch) { v.putRecovered(b, lost) })
	}
	if err != nil {
		return fmt.Errorf("volume %q cannot be recovered: %w", v.entry.name, err)
	}
	if lost {
		v.s.cat.mu.Lock()
		v.entry.rec.Epoch++
		v.s.cat.mu.Unlock()
		why := "the host went down while the volume was open for write"
		if !powerLoss {
			why = "the volume's intent ring was lost: " + ringErr.Error()
		}
		v.s.o.Logger.Warn("acked-writes-may-be-lost: "+why,
			"volume", v.entry.name, "epoch", v.entry.rec.Epoch, "since", mark.Since)
	}
	v.s.o.Logger.Info("volume recovered", "volume", v.entry.name, "blocks", blocks, "powerLoss", powerLoss)
	if err := v.s.fs.Remove(v.s.ringPath(lineage)); err != nil && !errors.Is(err, os.ErrNotExist) {
		v.s.o.Logger.Warn("intent ring not removed; it is emptied before its next use", "volume", v.entry.name, "err", err)
	}
	return nil
}

// intents returns the ring's entries newer than seq. lost says that there is
// no ring that could have any: within one boot of the host it was there, and
// somebody took it.
func (v *volume) intents(seq uint64) (entries []intent, lost, err error) {
	r, err := openRing(v.s.fs, v.s.ringPath(v.top.Load().layer.id.lineage))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrCorrupt) {
		return nil, err, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return r.entries(seq), nil, r.close()
}

// putRecovered adds to the batch of a recovery that the volume is closed.
func (v *volume) putRecovered(b *pebble.Batch, lost bool) {
	_ = b.Delete(lineageKey(prefixOpen, v.top.Load().layer.id.lineage), nil)
	if lost {
		rec := v.entry.rec
		rec.Epoch++
		putJSON(b, nameKey(prefixVolume, v.entry.name), rec)
	}
}

// replay marks in the map what the ring's entries, newer than seq, prove, with
// pins on the files that the layer has. It returns the dirty set, which owns
// the pins, and how many blocks changed their state.
func (v *volume) replay(entries []intent, seq uint64, pins []pin) (d *dirtySet, blocks int, err error) {
	t := v.top.Load()
	d = &dirtySet{top: t, pins: pins, regions: map[uint32]*ownPage{}, seq: seq, entries: true}
	defer func() {
		if err != nil {
			releasePins(pins)
		}
	}()
	slices.SortFunc(entries, func(a, b intent) int { return int(int64(b.seq - a.seq)) })
	decided := map[int64]bool{}
	for _, e := range entries {
		d.seq = max(d.seq, e.seq)
		if e.version != t.layer.id.version {
			continue // sealed since
		}
		for i := range e.blocks {
			block := e.block + int64(i)
			if decided[block] || block < 0 || block >= blocksOf(t.size) {
				continue
			}
			if holds, err := e.holds(pins, i); err != nil {
				return nil, 0, err
			} else if !holds {
				continue
			}
			decided[block] = true
			if err := v.settleBlock(d, block, e.kind == intentData); err != nil {
				return nil, 0, err
			}
		}
	}
	for _, p := range d.regions {
		p.take()
	}
	return d, len(decided), nil
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

func (v *volume) settleBlock(d *dirtySet, block int64, data bool) error {
	region := uint32(block >> (regionShift - blockShift))
	p, err := d.top.writableOwn(v.s, region)
	if err != nil {
		return err
	}
	in := int(block & (regionBlocks - 1))
	p.mark(in, in+1, data)
	d.regions[region] = p
	return nil
}
