package blockstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// A quota bounds the bytes of the blocks that the writable layer of a volume
// holds. At the quota the first write of a block stalls as on a full disk; a
// trim gives back what it frees. Blocks that sealed layers hold (the image's,
// and those that a capture has taken) do not count.
//
// The layer counts its blocks only if there is a quota. They are counted from
// the map, with the gate closed, before the first write that has to know; from
// then on every write and zeroing keeps the count. It is exact, for a write
// takes its part before it marks the blocks.

// layerUse is the count of a layer, in bytes.
type layerUse struct {
	known atomic.Bool
	held  atomic.Int64 // data blocks, and what writes under way have taken for theirs
}

// errUncounted says that a write has to have the layer counted first.
var errUncounted = errors.New("the layer's blocks are not counted")

// takeQuota sees to it that r has n bytes of the quota. The gate is held.
func (v *volume) takeQuota(r *room, l *layer, n int64) error {
	limit := v.quota.Load()
	if !l.use.known.Load() {
		if limit > 0 {
			return errUncounted
		}
		r.giveQuota()
		r.layer = nil
		return nil
	}
	if r.layer != l { // a seal came between
		r.giveQuota()
		r.layer = l
	}
	more := n - r.quota
	if more <= 0 {
		return nil
	}
	if held := l.use.held.Add(more); limit > 0 && held > limit {
		l.use.held.Add(-more)
		return &shortage{of: shortQuota, n: more}
	}
	r.quota += more
	return nil
}

// giveQuota gives back what was taken and not used.
func (r *room) giveQuota() {
	if r.quota != 0 {
		r.layer.use.held.Add(-r.quota)
		r.quota = 0
	}
}

// freed says that n bytes of blocks of the layer are zero now. The gate is held.
func (l *layer) freed(n int64) {
	if l.use.known.Load() {
		l.use.held.Add(-n)
	}
}

// quotaHasRoom tells whether a write that wants n bytes more may try again.
func (v *volume) quotaHasRoom(n int64) bool {
	l, limit := v.top.Load().layer, v.quota.Load()
	return limit == 0 || !l.use.known.Load() || l.use.held.Load()+n <= limit
}

func (v *volume) quotaError() error {
	return errf(ErrNoSpace, "no space left in volume %q: it holds %s of its quota of %s; raise it with 'goldstream volume set', or trim",
		v.entry.name, sizeText(v.top.Load().layer.use.held.Load()), sizeText(v.quota.Load()))
}

// countLayer counts the blocks of the writable layer.
func (v *volume) countLayer() error {
	v.gate.Lock()
	defer v.gate.Unlock()
	t := v.top.Load()
	if t.layer.use.known.Load() {
		return nil
	}
	blocks, err := t.dataBlocks(v.s)
	if err != nil {
		return fmt.Errorf("cannot count the blocks of volume %q: %w", v.entry.name, err)
	}
	t.layer.use.held.Store(blocks << blockShift)
	t.layer.use.known.Store(true)
	return nil
}

// dataBlocks counts the blocks that are data in the layer. No change is under
// way. Pages in memory are newer than records; those of regions without a
// record are dirty or being committed.
func (t *top) dataBlocks(s *Store) (blocks int64, err error) {
	regions := map[uint32]*ownPage{}
	t.mu.Lock()
	for _, m := range []map[uint32]*ownPage{t.mu.dirty, t.mu.taken} {
		for region, p := range m {
			regions[region] = p
		}
	}
	t.mu.Unlock()
	for _, p := range regions {
		blocks += p.dataBlocks()
	}
	lower, upper := versionSpan(prefixTouched, t.layer.id)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		region := versionRegion(it.Key())
		if regions[region] != nil {
			continue
		}
		p := t.cachedOwn(region)
		if p == nil { // read for the count only: there may be very many
			if p, err = t.readOwn(s, region); err != nil {
				return 0, errors.Join(err, it.Close())
			}
		}
		blocks += p.dataBlocks()
	}
	return blocks, it.Close()
}

func (p *ownPage) dataBlocks() int64 { return regionBlocks - p.missing(0, regionBlocks) }

// SetQuota bounds the bytes that the volume itself may hold; 0 lifts the
// bound. What it holds already stays, even if it is more.
//
// Errors: ErrNotFound, ErrInvalid.
func (s *Store) SetQuota(_ context.Context, name string, quota int64) (VolumeInfo, error) {
	if err := checkQuota(quota); err != nil {
		return VolumeInfo{}, err
	}
	release, err := s.begin()
	if err != nil {
		return VolumeInfo{}, err
	}
	defer release()
	e, err := s.useVolume(name)
	if err != nil {
		return VolumeInfo{}, err
	}
	err = s.setQuota(e, quota)
	s.unuseVolume(e)
	if err != nil {
		return VolumeInfo{}, err
	}
	return s.volumeInfo(e)
}

func checkQuota(quota int64) error {
	if quota < 0 {
		return errf(ErrInvalid, "%d bytes is no quota: it must be at least 0, which is none", quota)
	}
	return nil
}

// setQuota stores the quota. e.mu keeps other changes of the volume's record
// away.
func (s *Store) setQuota(e *volumeEntry, quota int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.cat.mu.Lock()
	rec := e.rec
	s.cat.mu.Unlock()
	rec.Quota = quota
	b := s.db.NewBatch()
	putJSON(b, nameKey(prefixVolume, e.name), rec)
	if err := s.commit(b); err != nil {
		return err
	}
	s.cat.mu.Lock()
	e.rec.Quota = quota
	s.cat.mu.Unlock()
	if e.open != nil {
		e.open.quota.Store(quota)
		s.space.wake()
	}
	return nil
}
