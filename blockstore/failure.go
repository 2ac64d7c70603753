package blockstore

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A sync that fails is final: the kernel says so once, takes what it could not
// write for clean, and shows it until it needs the memory. Then blocks turn
// into what the disk has. So the volume takes no more changes, commits
// nothing, syncs nothing again, and does not read what was changed since the
// last good flush; the rest it reads.
//
// The failure is recorded, and outlives restarts of the process and the host.
// Where it cannot be (the metadata is on the disk that fails), the intent ring
// has a mark that outlives the process. AcceptLoss and RollBack end it.
//
// Records, beside each other:
//
//	b lineage8           failureRecord, JSON
//	b lineage8 region4   blocks changed since the last good flush: for each run
//	                     uvarint blocks since the end of the run before,
//	                     uvarint length
//
// The second kind goes when the loss is accepted, the first stays and tells.
type failureRecord struct {
	Cause string    `json:"cause"`
	Since time.Time `json:"since"`
	// All says that nothing is known of what was changed: a process was killed
	// before it could be told. Then all data of the volume's own layer counts.
	All bool `json:"all,omitempty"`
	// Accepted is when AcceptLoss ended the failure, and Lost what it named.
	Accepted time.Time `json:"accepted,omitzero"`
	Lost     []Range   `json:"lost,omitempty"`
	More     int       `json:"more,omitempty"` // ranges of Lost left off
	Bytes    int64     `json:"bytes,omitempty"`
}

// failure is what is known of a failed volume, by its lineage. It is not
// changed once others can see it.
type failure struct {
	failureRecord
	blocks unsyncedSet
}

// standing tells that the loss was not accepted yet.
func (f *failure) standing() bool { return f != nil && f.Accepted.IsZero() }

// Range is a run of bytes of a disk.
type Range struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// maxRanges bounds how many ranges of a failure are named.
const maxRanges = 10000

// FailureInfo says what a failed sync did to a volume.
type FailureInfo struct {
	Cause string    `json:"cause"`
	Since time.Time `json:"since"`
	// Accepted is when the operator accepted the loss; the volume is usable
	// again since then.
	Accepted time.Time `json:"accepted,omitzero"`
	// All says that what was changed since the last good flush is not known, so
	// that all data of the volume's own layer counts.
	All bool `json:"all,omitempty"`
	// Bytes and Ranges say what may not be what was acknowledged: all that was
	// changed since the last good flush, or once the loss is accepted what of
	// it could not be proved. A list of volumes leaves the ranges out.
	Bytes  int64   `json:"bytes"`
	Ranges []Range `json:"ranges,omitempty"`
	More   int     `json:"more,omitempty"` // ranges left off
}

func failureKey(lineage uint64) []byte { return lineageKey(prefixFailed, lineage) }

func failureRegionKey(lineage uint64, region uint32) []byte {
	return binary.BigEndian.AppendUint32(failureKey(lineage), region)
}

// failedVolume is what a volume that failed answers to writes and flushes.
func failedVolume(name, cause string) error {
	return errf(ErrFailed, "volume %q takes no more writes, since it failed: %s; what was written since the last good flush may be lost: mend the disk, then roll the volume back, or accept the loss (goldstream volume accept-loss %s)", name, cause, name)
}

// fail ends the use of the volume's layer. Whoever changes something looks
// after that, before it is acknowledged, whether this was called: so what was
// acknowledged is in the set of what is recorded.
func (v *volume) fail(cause error) error {
	f := &failure{failureRecord: failureRecord{Cause: cause.Error(), Since: time.Now().UTC()}}
	if v.recovering != nil {
		f.All, f.blocks = true, v.recovering.blocks
	}
	return v.failWith(f)
}

// failRing ends the use of a volume whose intent ring has lost a page: what it
// acknowledged is made durable first, which needs no ring. The gate is not held.
func (v *volume) failRing(cause error) error {
	if err := v.flush(); err != nil {
		return err
	}
	return v.fail(fmt.Errorf("its intent ring %s: %w", v.s.ringPath(v.top.Load().layer.id.lineage), cause))
}

func (v *volume) failWith(f *failure) error {
	err := failedVolume(v.entry.name, f.Cause)
	if !v.failed.CompareAndSwap(nil, &err) {
		return *v.failed.Load()
	}
	t := v.top.Load()
	if r := v.ringInUse(); r != nil {
		_ = r.noteFailed() // it is recorded, as a rule
	}
	t.lost.Store(f) // with what else changes meanwhile
	known := &failure{failureRecord: f.failureRecord, blocks: t.unflushed()}
	known.blocks.join(f.blocks)
	t.lost.Store(known)
	v.s.o.Logger.Error("volume failed", "volume", v.entry.name, "cause", f.Cause, "bytes", known.blocks.bytes())
	v.s.recordFailure(v.entry.name, t.layer.id.lineage, known)
	return err
}

// ringInUse returns the intent ring, which is mapped: a mark in it needs no
// system call, at which a process might be killed after the sync has failed.
func (v *volume) ringInUse() *ring {
	if v.ring == nil && v.recovering != nil {
		return v.recovering.ring
	}
	return v.ring
}

// standFailed makes a volume that is opened one that failed before.
func (v *volume) standFailed(f *failure) {
	err := failedVolume(v.entry.name, f.Cause)
	v.failed.Store(&err)
	v.top.Load().lost.Store(f)
}

// recordFailure remembers a failure, on the disk if that can be.
func (s *Store) recordFailure(name string, lineage uint64, f *failure) {
	s.cat.mu.Lock()
	s.cat.mu.failures[lineage] = f
	s.cat.mu.Unlock()
	b := s.db.NewBatch()
	putJSON(b, failureKey(lineage), f.failureRecord)
	for region, blocks := range f.blocks {
		_ = b.Set(failureRegionKey(lineage, region), blocks.encode(), nil)
	}
	if err := s.commit(b); err != nil {
		s.o.Logger.Error("the failure of the volume is not recorded", "volume", name, "err", err)
	}
}

// standingFailure returns the failure of a lineage that nobody accepted yet.
func (s *Store) standingFailure(lineage uint64) *failure {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	if f := s.cat.mu.failures[lineage]; f.standing() {
		return f
	}
	return nil
}

func (c *catalogue) loadFailures() error {
	it, err := c.s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixFailed}, UpperBound: []byte{prefixFailed + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		if err := c.loadFailure(it.Key(), it.Value()); err != nil {
			return errf(ErrCorrupt, "record %x of a failed volume is damaged: %v", it.Key(), err)
		}
	}
	return it.Error()
}

func (c *catalogue) loadFailure(key, value []byte) error {
	switch len(key) {
	case 9:
		f := &failure{blocks: unsyncedSet{}}
		c.mu.failures[binary.BigEndian.Uint64(key[1:])] = f
		return json.Unmarshal(value, &f.failureRecord)
	case 13: // comes after the other
		f := c.mu.failures[binary.BigEndian.Uint64(key[1:])]
		if f == nil {
			return errors.New("it has lost its head")
		}
		blocks, err := decodeBlocks(value)
		f.blocks[binary.BigEndian.Uint32(key[9:])] = blocks
		return err
	}
	return errors.New("unknown length")
}

// runs calls fn with each run of blocks in the set.
func (s *blockSet) runs(fn func(start, end int)) {
	for at := 0; at < regionBlocks; at++ {
		if !s.has(at) {
			continue
		}
		start := at
		for at < regionBlocks && s.has(at) {
			at++
		}
		fn(start, at)
	}
}

func (s *blockSet) encode() (b []byte) {
	last := 0
	s.runs(func(start, end int) {
		b = binary.AppendUvarint(b, uint64(start-last))
		b = binary.AppendUvarint(b, uint64(end-start))
		last = end
	})
	return b
}

func decodeBlocks(b []byte) (*blockSet, error) {
	s, at := new(blockSet), uint64(0)
	for len(b) > 0 {
		var run [2]uint64
		for i := range run {
			n := 0
			if run[i], n = binary.Uvarint(b); n <= 0 || run[i] > regionBlocks {
				return nil, errors.New("broken run")
			}
			b = b[n:]
		}
		start, end := at+run[0], at+run[0]+run[1]
		if end > regionBlocks {
			return nil, errors.New("run beyond the region")
		}
		setBits((*[regionBlocks / 64]uint64)(s), int(start), int(end), true)
		at = end
	}
	return s, nil
}

// bytes returns how much is in the set.
func (u unsyncedSet) bytes() (n int64) {
	for _, s := range u {
		s.runs(func(start, end int) { n += int64(end-start) << blockShift })
	}
	return n
}

// ranges names what is in the set of a disk of that size, in order.
func (u unsyncedSet) ranges(size int64) (list []Range, more int, bytes int64) {
	var open Range
	flush := func() {
		if open.Length == 0 {
			return
		}
		bytes += open.Length
		if len(list) < maxRanges {
			list = append(list, open)
		} else {
			more++
		}
	}
	for _, region := range slices.Sorted(maps.Keys(u)) {
		base := int64(region) << regionShift
		u[region].runs(func(start, end int) {
			from, to := base+int64(start)<<blockShift, min(size, base+int64(end)<<blockShift)
			switch {
			case from >= to: // behind the end of the disk
			case open.Length > 0 && open.Offset+open.Length == from:
				open.Length += to - from
			default:
				flush()
				open = Range{from, to - from}
			}
		})
	}
	flush()
	return list, more, bytes
}

// info describes a failure without its ranges.
func (f *failure) info() *FailureInfo {
	if f == nil {
		return nil
	}
	info := &FailureInfo{Cause: f.Cause, Since: f.Since, Accepted: f.Accepted, All: f.All, Bytes: f.Bytes}
	if f.standing() {
		info.Bytes = f.blocks.bytes()
	}
	return info
}

// nameRanges adds to the description of a volume what a failure did to it.
func (s *Store) nameRanges(ctx context.Context, info *VolumeInfo, e *volumeEntry) error {
	s.cat.mu.Lock()
	tip := e.tipLocked()
	f := s.cat.mu.failures[tip.lineage]
	s.cat.mu.Unlock()
	if info.Failure = f.info(); f == nil { // rolled back meanwhile
		return nil
	}
	if !f.standing() {
		info.Failure.Ranges, info.Failure.More = f.Lost, f.More
		return nil
	}
	set := f.blocks
	if f.All {
		var err error
		if set, err = s.ownData(ctx, tip); err != nil {
			return err
		}
		set.join(f.blocks)
	}
	info.Failure.Ranges, info.Failure.More, info.Failure.Bytes = set.ranges(info.Size)
	return nil
}

// ownData returns the blocks of which a layer holds the data, as committed.
func (s *Store) ownData(ctx context.Context, id layerID) (unsyncedSet, error) {
	set := unsyncedSet{}
	for from := uint32(0); ; {
		regions, err := s.touched(id, from, absorbStep)
		if err == nil {
			err = cancelled(ctx)
		}
		if err != nil || len(regions) == 0 {
			return set, err
		}
		t := &top{layer: &layer{id: id}}
		for _, region := range regions {
			p, err := t.readOwn(s, region)
			if err != nil {
				return nil, err
			}
			for at := 0; at < regionBlocks; {
				state, end := p.run(at, regionBlocks)
				if state == stateCommitted {
					set.add(region, at, end)
				}
				at = end
			}
		}
		from = regions[len(regions)-1] + 1
	}
}

// lostData keeps what a failed volume must not read.
type lostData = atomic.Pointer[failure]

// checkLost refuses to read what may turn into something else at any time. own
// tells that the volume's own layer holds it.
func (r reader) checkLost(off int64, n int, own bool) error {
	if r.top == nil {
		return nil
	}
	f := r.top.lost.Load()
	if f == nil {
		return nil
	}
	region, in := uint32(off>>regionShift), int(off&(RegionSize-1))
	start, end := in>>blockShift, (in+n+BlockSize-1)>>blockShift
	if !(f.All && own) && !f.blocks.has(region, start, end) && !r.top.isUnflushed(region, start, end) {
		return nil
	}
	return errf(ErrFailed, "volume %q, %d bytes at %d: they were written after the last good flush, and the volume failed: %s; roll the volume back, or accept the loss (goldstream volume accept-loss %s)",
		r.v.entry.name, n, off, f.Cause, r.v.entry.name)
}
