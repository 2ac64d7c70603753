package blockstore

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"
)

// committer lets one commit of a volume run at a time. A flush is served by
// the first commit that begins after it was asked for; all flushes that wait
// for the same one share it.
type committer struct {
	mu      sync.Mutex
	changed sync.Cond
	begun   uint64 // number of the newest commit that began
	done    uint64 // number of the newest one that ended
	running bool
	closed  bool
	later   int // commits in the background that wait or run
}

// flush makes every change that returned before durable.
func (v *volume) flush() error {
	if !v.prepare.done.Load() { // nothing was ever written, but perhaps by others before
		if err := v.failed.Load(); err != nil {
			return *err
		}
		return nil
	}
	c := &v.commits
	c.mu.Lock()
	want := c.begun + 1
	for c.done < want {
		c.runLocked(v.commit)
	}
	c.mu.Unlock()
	return v.usable()
}

// runLocked runs one commit, or waits for the one that runs. mu is held, but
// not while fn runs.
func (c *committer) runLocked(fn func() error) (ran bool, err error) {
	if c.changed.L == nil {
		c.changed.L = &c.mu
	}
	if c.running {
		c.changed.Wait()
		return false, nil
	}
	c.running = true
	c.begun++
	n := c.begun
	c.mu.Unlock()
	err = fn()
	c.mu.Lock()
	c.running, c.done = false, n
	c.changed.Broadcast()
	return true, err
}

// exclusive runs fn between two commits. It counts as one: fn commits the
// dirty set with whatever else it does.
func (c *committer) exclusive(fn func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if ran, err := c.runLocked(fn); ran {
			return err
		}
	}
}

// commitLater commits in the background.
func (v *volume) commitLater() {
	c := &v.commits
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.later++
	c.mu.Unlock()
	v.armed.Store(false)
	_ = v.flush() // a failure is logged and kept
	c.mu.Lock()
	c.later--
	if c.changed.L != nil {
		c.changed.Broadcast()
	}
	c.mu.Unlock()
}

// shut waits for commits in the background and lets no more begin.
func (c *committer) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.changed.L == nil {
		c.changed.L = &c.mu
	}
	for c.later > 0 {
		c.changed.Wait()
	}
}

// dirtySet is what one commit makes durable.
type dirtySet struct {
	top     *top
	pins    []pin
	regions map[uint32]*ownPage
	seq     uint64 // last intent
	head    uint64 // of the ring
	entries bool   // the ring has entries to commit
}

// commit makes the dirty set of finished writes durable: the data first, then
// in one batch the map and the sequence of the last intent.
func (v *volume) commit() error {
	if err := v.usable(); err != nil {
		return err
	}
	began, written := v.s.pacer.begin(), v.unsynced.Load()
	v.gate.Lock()
	d, err := v.takeLocked()
	v.gate.Unlock()
	if err != nil {
		return err
	}
	err = v.commitSet(d, nil)
	v.s.counted.commit.since(began)
	if err == nil && len(d.pins) > 0 {
		v.s.pacer.committed(began, written)
	}
	return err
}

// takeLocked takes the dirty set. The gate is held: no write is under way.
func (v *volume) takeLocked() (*dirtySet, error) {
	t := v.top.Load()
	pins, err := t.layer.takeUnsynced()
	if err != nil {
		return nil, v.fail(err)
	}
	d := &dirtySet{top: t, pins: pins, regions: t.takeDirty()}
	t.takeUnsynced()
	d.seq, d.head = v.ring.mark()
	d.entries = v.ring.pending()
	for _, p := range d.regions {
		p.take()
	}
	v.unsynced.Store(0)
	v.syncing.Store(v.written.Swap(0))
	v.kicked.Store(false)
	return d, nil
}

// commitSet writes a dirty set, and more in the same batch. After a failure
// the volume takes no more writes.
func (v *volume) commitSet(d *dirtySet, more func(*pebble.Batch)) error {
	if err := syncPins(d.pins); err != nil {
		if v.recovering != nil && v.recovering.retry {
			return err
		}
		return v.fail(err)
	}
	if !d.entries && len(d.regions) == 0 && more == nil {
		d.top.synced()
		v.syncing.Store(0)
		return nil
	}
	b := v.s.db.NewBatch()
	if err := v.putDirty(b, d); err != nil {
		b.Close()
		if v.recovering != nil {
			return err
		}
		return v.fail(err)
	}
	if more != nil {
		more(b)
	}
	if err := v.s.commit(b); err != nil {
		return err
	}
	for _, p := range d.regions {
		p.settle()
	}
	d.top.own.cache.charge(-changesBytes * int64(len(d.regions)))
	d.top.synced()
	d.top.committed()
	v.syncing.Store(0)
	if v.ring != nil { // none while the volume is recovered
		v.ring.committed(d.head)
	}
	return nil
}

// putDirty adds the map records of a dirty set to a batch.
func (v *volume) putDirty(b *pebble.Batch, d *dirtySet) error {
	id := d.top.layer.id
	for region, p := range d.regions {
		rec, err := v.s.encodeChanges(d.top, region, p)
		if err != nil {
			return err
		}
		err = b.Merge(mapKey(id.lineage, region, id.version), rec, nil)
		if !p.mu.recorded {
			err = errors.Join(err, b.Set(versionKey(prefixTouched, id, region), nil, nil))
		}
		if err != nil {
			return err
		}
	}
	return b.Set(lineageKey(prefixFlushed, id.lineage), binary.LittleEndian.AppendUint64(nil, d.seq), nil)
}

// fullEvery is how many deltas of a lineage may lie over one another before a
// version writes a full record for a region: a cold read looks at one more.
const fullEvery = 8

// encodeChanges makes the record of what a commit took of a region. Only the
// committer writes taken and recorded, so they are read without the lock.
func (s *Store) encodeChanges(t *top, region uint32, p *ownPage) ([]byte, error) {
	c := newComposer()
	defer c.release()
	if err := p.mu.taken.apply(c, t.layer.id); err != nil {
		return nil, err
	}
	if p.mu.recorded || t.base.lineage == nil || t.base.lineage.id != t.layer.id.lineage {
		return c.encode(), nil
	}
	base, err := t.base.page(region)
	if err != nil {
		return nil, err
	}
	if base.depth >= fullEvery {
		if err := base.overlay(c); err != nil {
			return nil, err
		}
	}
	return c.encode(), nil
}

// noSpace gives ENOSPC its sentinel, keeping the errno for those who map it.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return errors.Join(ErrNoSpace, err)
	}
	return err
}
