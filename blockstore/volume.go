package blockstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// volume is an OS volume while it is open. All handles on it share one.
type volume struct {
	s     *Store
	entry *volumeEntry

	top        atomic.Pointer[top]
	locks      rangeLock
	gate       sync.RWMutex // see doc.go
	ring       *ring        // nil until the first write
	failed     atomic.Pointer[error]
	recovering *recovery // nil but while the volume is put in order

	quota    atomic.Int64 // bytes, see quota.go; 0: none
	atQuota  atomic.Bool  // told that a write stalls at it
	unsynced atomic.Int64 // bytes written since the last commit began
	kicked   atomic.Bool  // a commit was asked for because of them
	// When the oldest write came that no commit has begun with, and the oldest
	// of those that the running one makes durable, in ns of Unix time; 0: none.
	written, syncing atomic.Int64
	commits          committer

	prepare struct {
		sync.Mutex
		done atomic.Bool // open mark, ring and timer stand
	}

	timer *time.Timer // commits what was written; nil until the first write
	armed atomic.Bool
}

// top is the writable layer of a volume and what it stands on. A seal
// replaces it.
type top struct {
	layer *layer
	size  int64
	own   ownTable
	base  *view
	lost  lostData // set once the volume has failed

	mu struct {
		sync.Mutex
		// Regions with uncommitted changes: those that no commit has taken
		// yet, and those that the running commit writes.
		dirty, taken map[uint32]*ownPage
		// Blocks that were changed since the last good flush: what the
		// running commit syncs, and what came since (unsynced.go).
		syncing, unsynced unsyncedSet
	}
}

// openMark is the o record of a volume that is open for write. It stands from
// before the first write until the volume is closed cleanly.
type openMark struct {
	Boot  string    `json:"boot"`
	Epoch uint64    `json:"epoch"`
	Since time.Time `json:"since"`
}

// OpenVolume opens an OS volume for reading and writing. Every handle sees the
// writes of all others. The first one after a kill takes back what the intent
// ring holds.
//
// Errors: ErrNotFound, ErrInUse (it is being deleted), ErrCorrupt.
func (s *Store) OpenVolume(_ context.Context, name string) (*Disk, error) {
	e, err := s.useVolume(name)
	if err != nil {
		return nil, err
	}
	v, err := s.attach(e)
	if err != nil {
		s.unuseVolume(e)
		return nil, err
	}
	return &Disk{v: v, closer: func() error { return s.detach(e) }}, nil
}

// useVolume finds a volume and keeps it from being deleted.
func (s *Store) useVolume(name string) (*volumeEntry, error) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	if s.cat.mu.shut {
		return nil, errf(ErrClosed, "the store is closed")
	}
	e, err := s.cat.volumeLocked(name)
	if err != nil {
		return nil, err
	}
	if e.exclusive {
		return nil, errf(ErrInUse, "volume %q is being rolled back: try again", name)
	}
	e.users++
	return e, nil
}

func (s *Store) unuseVolume(e *volumeEntry) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	e.users--
}

// attach opens the volume or adds a reference to it.
func (s *Store) attach(e *volumeEntry) (*volume, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open == nil {
		v, err := s.load(e)
		if err != nil {
			return nil, err
		}
		e.open = v
		e.now.Store(v)
	}
	e.refs++
	return e.open, nil
}

func (s *Store) detach(e *volumeEntry) error {
	e.mu.Lock()
	var err error
	if e.refs--; e.refs == 0 {
		if e.open.usable() == nil {
			err = e.open.close()
		}
		// A volume that failed stays open: another open would forget that it did.
		// So does one of a store that failed: who connects again can read it.
		if failed := e.open.usable(); failed == nil {
			e.open = nil
			e.now.Store(nil)
		} else if e.open.prepare.done.Load() { // something was written
			err = failed
		}
	}
	e.mu.Unlock()
	s.unuseVolume(e)
	return err
}

// load makes the volume in memory and recovers it if it was not closed.
func (s *Store) load(e *volumeEntry) (*volume, error) {
	v := s.newVolume(e)
	if err := v.recover(); err != nil {
		v.top.Load().close()
		return nil, err
	}
	return v, nil
}

// newVolume makes the volume in memory, as its records have it.
func (s *Store) newVolume(e *volumeEntry) *volume {
	v := &volume{s: s, entry: e}
	s.cat.mu.Lock()
	v.quota.Store(e.rec.Quota)
	tip := e.lineage.tip()
	t := &top{layer: s.layer(layerID{e.lineage.id, tip.number}), size: tip.rec.Size, own: newOwnTable(s.pages, tip.rec.Size), base: s.emptyView()}
	if l, at := e.lineage.below(); at != nil {
		t.base = s.view(l, at.number, at.rec.Size)
	}
	s.cat.mu.Unlock()
	t.mu.dirty = map[uint32]*ownPage{}
	v.top.Store(t)
	return v
}

// settle commits what was written and ends commits in the background.
func (v *volume) settle() error {
	err := v.flush()
	v.commits.shut()
	if v.timer != nil {
		v.timer.Stop()
	}
	return err
}

// close commits what was written and gives up the open mark.
func (v *volume) close() error {
	err := v.settle()
	t := v.top.Load()
	t.close()
	if !v.prepare.done.Load() {
		return err
	}
	if err == nil && v.s.usable() == nil {
		b := v.s.db.NewBatch()
		_ = b.Delete(lineageKey(prefixOpen, t.layer.id.lineage), nil)
		err = v.s.commit(b)
	}
	err = errors.Join(err, v.ring.close())
	if err == nil {
		err = v.s.fs.Remove(v.s.ringPath(t.layer.id.lineage))
	}
	return err
}

// ready prepares the volume for its first write: the intent ring, and then the
// mark that it is open, so that a power loss is noticed. Where there is a mark
// there is a ring: a mark of this boot without one says that the ring was lost.
func (v *volume) ready() error {
	if v.prepare.done.Load() {
		return nil
	}
	v.prepare.Lock()
	defer v.prepare.Unlock()
	if v.prepare.done.Load() {
		return nil
	}
	if err := v.usable(); err != nil { // the ring of a volume that failed is not made anew
		return err
	}
	lineage := v.top.Load().layer.id.lineage
	seq, err := v.s.flushedSeq(lineage)
	if err != nil {
		return err
	}
	path := v.s.ringPath(lineage)
	var r *ring
	err = v.s.space.withBallast(func() error {
		r, err = makeRing(v.s.fs, path, v.s.o.ringSize, seq)
		return err
	})
	if err != nil {
		_ = v.s.fs.Remove(path) // what may be left of it; nothing names it
		return fmt.Errorf("intent ring of volume %q: %w", v.entry.name, noSpace(err))
	}
	b := v.s.db.NewBatch()
	putJSON(b, lineageKey(prefixOpen, lineage), openMark{Boot: v.s.o.bootID, Epoch: v.entry.rec.Epoch, Since: time.Now().UTC()})
	if err := v.s.commit(b); err != nil {
		return errors.Join(err, r.close())
	}
	v.ring = r
	v.timer = time.AfterFunc(time.Hour, v.commitLater)
	v.timer.Stop()
	v.prepare.done.Store(true)
	return nil
}

// flushedSeq returns the sequence of the last committed intent of a lineage.
func (s *Store) flushedSeq(lineage uint64) (uint64, error) {
	b, closer, err := s.db.Get(lineageKey(prefixFlushed, lineage))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	if len(b) != 8 {
		return 0, errf(ErrCorrupt, "flush record of lineage %016x is damaged", lineage)
	}
	return binary.LittleEndian.Uint64(b), nil
}

// usable returns why the volume takes no more writes, if so.
func (v *volume) usable() error {
	if err := v.failed.Load(); err != nil {
		return *err
	}
	return v.s.usable()
}

// cachedOwn returns the map page of the writable layer if it is in memory.
func (t *top) cachedOwn(region uint32) *ownPage { return t.own.get(region) }

// ownPage returns the map page of the writable layer for reading; it may be
// noOwn.
func (t *top) ownPage(s *Store, region uint32) (*ownPage, error) {
	if p := t.own.get(region); p != nil {
		return p, nil
	}
	t.own.load.Lock()
	defer t.own.load.Unlock()
	if p := t.own.get(region); p != nil {
		return p, nil
	}
	p, err := t.readOwn(s, region)
	if err != nil {
		return nil, err
	}
	t.own.put(region, nil, p)
	return p, nil
}

// writableOwn is ownPage for a region that will be changed. The caller
// releases the page.
func (t *top) writableOwn(s *Store, region uint32) (*ownPage, error) {
	for {
		p, err := t.ownPage(s, region)
		if err != nil {
			return nil, err
		}
		if p == noOwn {
			p = new(ownPage)
			p.users.Store(1)
			if t.own.put(region, noOwn, p) {
				return p, nil
			}
		} else if p.acquire() {
			return p, nil
		}
	}
}

func (t *top) readOwn(s *Store, region uint32) (*ownPage, error) {
	id := t.layer.id
	rec, closer, err := s.db.Get(mapKey(id.lineage, region, id.version))
	if errors.Is(err, pebble.ErrNotFound) {
		return noOwn, nil
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	c := newComposer()
	defer c.release()
	if err := c.apply(rec); err != nil {
		return nil, err
	}
	p := new(ownPage)
	return p, p.load(c, id)
}

// dirtied notes that a region has uncommitted changes.
func (t *top) dirtied(region uint32, p *ownPage) {
	t.mu.Lock()
	t.mu.dirty[region] = p
	t.mu.Unlock()
	t.own.cache.charge(changesBytes)
}

// close gives up the pages of a top that nobody uses any more, and its base.
func (t *top) close() {
	t.own.drop()
	t.dropUnsynced()
	t.base.close()
}

// crowds tells that what the volume has uncommitted, or unsynced, has a part in it
// that the page cache is crowded.
func (t *top) crowds() bool {
	if !t.own.cache.crowded.Load() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return max(len(t.mu.dirty), len(t.mu.unsynced)) >= crowdRegions
}

// crowdRegions is how many regions a volume may always have changed.
const crowdRegions = 16

// nextRegion returns the first region at or after region that may hold
// anything but zeros. It looks at memory first: what is neither dirty nor
// being committed then stands in the metadata, or is younger than the call.
func (t *top) nextRegion(s *Store, region uint32) (next uint32, found bool, err error) {
	next, found = t.nextDirty(region)
	least := func(at uint32, ok bool) {
		if ok && (!found || at < next) {
			next, found = at, true
		}
	}
	at, ok, err := s.nextOwnRegion(t.layer.id.lineage, t.layer.id.version, region)
	if err != nil {
		return 0, false, err
	}
	least(at, ok)
	if at, ok, err = t.base.nextRegion(region); err != nil {
		return 0, false, err
	}
	least(at, ok)
	return next, found, nil
}

func (t *top) nextDirty(region uint32) (next uint32, found bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, regions := range []map[uint32]*ownPage{t.mu.dirty, t.mu.taken} {
		for at := range regions {
			if at >= region && (!found || at < next) {
				next, found = at, true
			}
		}
	}
	return next, found
}

// takeDirty hands the dirty regions to a commit; committed ends it.
func (t *top) takeDirty() map[uint32]*ownPage {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.taken, t.mu.dirty = t.mu.dirty, map[uint32]*ownPage{}
	return t.mu.taken
}

func (t *top) committed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.taken = nil
}
