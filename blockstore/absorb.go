package blockstore

import (
	"cmp"
	"errors"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A version that nothing needs any more goes in steps, each of which can be
// repeated. Let v be the version, p the one that stands before it, w the one
// that stands after it.
//
//	absorb  In each region that v touched, w's record is laid over v's and
//	        becomes w's; where w has none, v's becomes w's. What w reads as
//	        does not change, and nothing else reads through v.
//	punch   Where v's record names a layer newer than p, and w's names
//	        something else for the block, nobody can read that layer's block
//	        any more: older versions never could, newer ones see what w has.
//	        It is punched out of the layer's file: a region in one go if
//	        nothing of it is read any more. If that holds for all of v's
//	        file, it is removed instead when the version is forgotten.
//	forget  The version is merged then: of it stands its file, for the blocks
//	        that w's records still name. They are counted, and with the last
//	        one the file goes.
//
// The punch comes before the commit of the records: the block was shadowed
// for good by a record of w that is durable already.
//
// If w is the writable top of a volume, its records are not touched, for the
// volume writes them. Then v stays as what the top stands on; only what the
// top has shadowed so far is punched, and named zero in v's record, so that
// it is not counted again. With the next seal w stands still.
//
// If there is no w, everything that v can read and p cannot is punched.
type absorber struct {
	r             *reclaimer
	l             *lineage
	v             *version
	before, after *version // nil: none
	trim          bool     // after is the top of a volume
	live          map[uint32]int64
	recs          map[uint32]versionRecord // of versions whose live count changed
	files         map[string]file
	b             *pebble.Batch
	// unread tells that nothing of v's own file is read after it: the file goes
	// as a whole then, and nothing is punched out of it.
	unread bool
	disk   time.Duration // that the step's punches kept the disk busy
}

const (
	// absorbStep bounds one step, in regions, absorbBatch what it writes, in
	// bytes, absorbTime what it punches, and absorbFiles what it has open.
	absorbStep  = 1024
	absorbBatch = 1 << 20
	absorbTime  = 50 * time.Millisecond
	absorbFiles = 64
)

// absorb removes a version or, where it is what a volume's top stands on,
// frees what the top has shadowed.
func (r *reclaimer) absorb(j job) error {
	a := &absorber{r: r, l: j.lineage, v: j.version, before: j.before, after: j.after, trim: j.trim}
	var err error
	if a.unread, err = a.findUnread(); err != nil {
		return err
	}
	err = a.eachStep(func(regions []uint32) (done int, err error) {
		a.disk = 0
		if done, err = a.step(regions); err != nil {
			return 0, err
		}
		return done, cmp.Or(r.pauseFor(a.disk), r.sooner())
	})
	if err != nil {
		return err
	}
	switch {
	case a.trim:
		return nil
	case a.after == nil:
		return a.drop()
	}
	// What stands after has more below the top now, if it stands there.
	delete(r.trimmed, layerID{a.l.id, a.after.number})
	return a.merged()
}

// eachStep calls fn with the regions that v touched, so many at a time; fn
// returns how many of them it is done with, at least one.
func (a *absorber) eachStep(fn func(regions []uint32) (done int, err error)) error {
	for from := uint32(0); ; {
		regions, err := a.r.s.touched(layerID{a.l.id, a.v.number}, from, absorbStep)
		if err != nil || len(regions) == 0 {
			return err
		}
		done, err := fn(regions)
		if err != nil {
			return err
		}
		from = regions[done-1] + 1
	}
}

// findUnread tells that w has something else in the place of every block of v's
// own file. Both are sealed, so that it stays true. On a full disk it does not
// ask: a punch frees room before any commit, which may have none.
func (a *absorber) findUnread() (bool, error) {
	a.r.s.cat.mu.Lock()
	live := a.v.rec.Live // of regions that were absorbed before
	a.r.s.cat.mu.Unlock()
	if a.after == nil || a.trim || live != 0 {
		return false, nil
	}
	if free, _, l, err := a.r.s.space.host(); err != nil || free < l.reserve {
		return false, nil
	}
	err := a.eachStep(func(regions []uint32) (int, error) {
		for _, region := range regions {
			if read, err := a.readAfter(region); read || err != nil {
				return 0, cmp.Or(err, errRead)
			}
		}
		return len(regions), cmp.Or(a.r.pause(), a.r.sooner())
	})
	if err == errRead {
		return false, nil
	}
	return err == nil, err
}

// errRead ends findUnread early.
var errRead = errors.New("a block of the version is read after it")

// readAfter tells that a block of v's own file in a region is read by w.
func (a *absorber) readAfter(region uint32) (bool, error) {
	s, id := a.r.s, layerID{a.l.id, a.v.number}
	rec, err := s.record(mapKey(id.lineage, region, id.version))
	if rec == nil || err != nil {
		return false, err
	}
	shadow, err := s.record(mapKey(id.lineage, region, a.after.number))
	if err != nil {
		return false, err
	}
	own, both := newComposer(), newComposer()
	defer own.release()
	defer both.release()
	if err := a.lay(own, both, rec, shadow); err != nil {
		return false, err
	}
	return keeps(own, both, id), nil
}

// lay composes v's record, and v's with w's over it.
func (a *absorber) lay(own, both *composer, rec, shadow []byte) error {
	if err := errors.Join(own.apply(rec), both.apply(rec)); err != nil || shadow == nil {
		return err
	}
	return both.apply(shadow)
}

// keeps tells that both has a block of a layer where own has it.
func keeps(own, both *composer, id layerID) bool {
	for block, src := range own.cells {
		if src != sourceUnset && src != sourceZero && both.cells[block] == src && own.layers[src-1] == id {
			return true
		}
	}
	return false
}

// touched returns up to n regions of which a version has a record, from one on.
func (s *Store) touched(id layerID, from uint32, n int) ([]uint32, error) {
	_, upper := versionSpan(prefixTouched, id)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: versionKey(prefixTouched, id, from), UpperBound: upper})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	var regions []uint32
	for ok := it.First(); ok && len(regions) < n; ok = it.Next() {
		regions = append(regions, versionRegion(it.Key()))
	}
	return regions, it.Error()
}

// step absorbs regions in one commit. It returns how many.
func (a *absorber) step(regions []uint32) (done int, err error) {
	s := a.r.s
	a.b, a.live, a.recs, a.files = s.db.NewBatch(), map[uint32]int64{}, map[uint32]versionRecord{}, map[string]file{}
	defer a.closeFiles()
	shadows, err := a.shadows(regions)
	for done = 0; err == nil && done < len(regions) && a.b.Len() < absorbBatch && a.disk < absorbTime; done++ {
		err = a.region(regions[done], shadows[done])
	}
	if err != nil || a.b.Empty() {
		a.b.Close()
		return done, err
	}
	a.putLive()
	if err := s.commit(a.b); err != nil { // which waits for others more than they for it
		return done, err
	}
	a.applyLive()
	return done, nil
}

// busy runs a punch.
func (a *absorber) busy(fn func() error) error {
	began := time.Now()
	err := fn()
	a.disk += time.Since(began)
	return err
}

// shadows reads the records of the version after, and sees to it that they are
// durable before anything is done because of them.
func (a *absorber) shadows(regions []uint32) ([][]byte, error) {
	s, recs := a.r.s, make([][]byte, len(regions))
	if a.after == nil {
		return recs, nil
	}
	for i, region := range regions {
		rec, err := s.record(mapKey(a.l.id, region, a.after.number))
		if err != nil {
			return nil, err
		}
		recs[i] = rec
	}
	if !a.trim {
		return recs, nil // sealed, and so durable
	}
	// Batches become durable in their order.
	return recs, s.commit(s.db.NewBatch())
}

// record reads a map record; nil: there is none.
func (s *Store) record(key []byte) ([]byte, error) {
	b, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return append([]byte{}, b...), nil
}

// region absorbs one region: it frees what is shadowed, and adds what becomes
// of the records to the batch.
func (a *absorber) region(region uint32, shadow []byte) error {
	id := layerID{a.l.id, a.v.number}
	rec, err := a.r.s.record(mapKey(id.lineage, region, id.version))
	if err != nil {
		return err
	}
	if rec == nil { // a step that was cut short
		return a.b.Delete(versionKey(prefixTouched, id, region), nil)
	}
	own, both := newComposer(), newComposer()
	defer own.release()
	defer both.release()
	if err := a.lay(own, both, rec, shadow); err != nil {
		return err
	}
	if a.after == nil {
		both.fill(0, regionBlocks, sourceUnset)
	}
	freed, err := a.free(region, own, both)
	if err != nil {
		return err
	}
	if a.trim {
		if !freed {
			return nil
		}
		return a.b.Set(mapKey(id.lineage, region, id.version), own.encode(), nil)
	}
	if a.after != nil {
		a.count(both)
		to := layerID{id.lineage, a.after.number}
		err = errors.Join(a.b.Set(mapKey(to.lineage, region, to.version), both.encode(), nil),
			a.b.Set(versionKey(prefixTouched, to, region), nil, nil))
	}
	return errors.Join(err,
		a.b.Delete(mapKey(id.lineage, region, id.version), nil),
		a.b.Delete(versionKey(prefixTouched, id, region), nil))
}

// free punches the blocks that only v reads and names them zero in its record
// own; both is what w reads. The composers number their layers alike.
func (a *absorber) free(region uint32, own, both *composer) (freed bool, err error) {
	at := int64(region) << (regionShift - blockShift)
	oldest := uint32(1)
	if a.before != nil {
		oldest = a.before.number + 1
	}
	self := layerID{a.l.id, a.v.number}
	kept, selfFreed := keeps(own, both, self), false
	for run, id := range onlyIn(own, both, a.l.id, oldest) {
		blocks := int64(run.end - run.start)
		if id == self && !kept {
			selfFreed = true
		} else if err := a.punch(id, (at+int64(run.start))<<blockShift, blocks<<blockShift); err != nil {
			return freed, err
		}
		if id.version != a.v.number {
			a.live[id.version] -= blocks
		}
		own.fill(run.start, run.end, sourceZero)
		freed = true
	}
	if selfFreed { // all that v's own file has of the region, in one go
		return freed, a.punch(self, at<<blockShift, RegionSize)
	}
	return freed, nil
}

// count notes how many blocks of v's own file live on in w's record.
func (a *absorber) count(both *composer) {
	for _, src := range both.cells {
		if src != sourceUnset && src != sourceZero && both.layers[src-1] == (layerID{a.l.id, a.v.number}) {
			a.live[a.v.number]++
		}
	}
}

// punch frees a range of a layer's file, which may be gone already. A version
// without a successor, or of whose file nothing is read, loses it as a whole
// later.
func (a *absorber) punch(id layerID, off, length int64) error {
	if (a.after == nil || a.unread) && id.version == a.v.number {
		return nil
	}
	s, at := a.r.s.layer(id).segmentAt(off)
	path := s.path()
	f := a.files[path]
	if f == nil {
		var err error
		if f, err = a.r.s.fs.Open(path, true); errors.Is(err, os.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		if len(a.files) == absorbFiles {
			a.closeFiles()
		}
		a.files[path] = f
	}
	return a.busy(func() error { return f.Punch(at, length) })
}

func (a *absorber) closeFiles() {
	for _, f := range a.files {
		f.Close()
	}
	clear(a.files)
}

// putLive adds the changed counts to the batch.
func (a *absorber) putLive() {
	a.r.s.cat.mu.Lock()
	defer a.r.s.cat.mu.Unlock()
	for number, n := range a.live {
		v := a.l.merged[number]
		if number == a.v.number {
			v = a.v
		}
		if v == nil || n == 0 {
			continue
		}
		rec := v.rec
		rec.Live = max(0, rec.Live+n)
		a.recs[number] = rec
		putJSON(a.b, entryKey(layerID{a.l.id, number}), rec)
	}
}

func (a *absorber) applyLive() {
	a.r.s.cat.mu.Lock()
	defer a.r.s.cat.mu.Unlock()
	for number, rec := range a.recs {
		if number == a.v.number {
			a.v.rec = rec
		} else {
			a.l.merged[number].rec = rec
		}
	}
}

// merged ends an absorption: of the version only its file is left.
func (a *absorber) merged() error {
	s, id := a.r.s, layerID{a.l.id, a.v.number}
	b := s.db.NewBatch()
	s.cat.mu.Lock()
	rec := a.v.rec
	s.cat.mu.Unlock()
	rec.State = versionMerged
	lower, upper := versionSpan(prefixHash, id)
	_ = b.DeleteRange(lower, upper, nil)
	putJSON(b, entryKey(id), rec)
	if err := s.commit(b); err != nil {
		return err
	}
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	a.v.rec = rec
	a.l.drop(a.v)
	a.l.merged[id.version] = a.v
	delete(a.r.trimmed, id)
	return nil
}

// drop ends the removal of the newest version: its file goes.
func (a *absorber) drop() error {
	s, id := a.r.s, layerID{a.l.id, a.v.number}
	if err := a.r.freeData(id); err != nil {
		return err
	}
	b := s.db.NewBatch()
	lower, upper := versionSpan(prefixHash, id)
	_ = b.DeleteRange(lower, upper, nil)
	_ = b.Delete(lineageKey(prefixOpen, id.lineage), nil)
	_ = b.Delete(entryKey(id), nil)
	if err := s.commit(b); err != nil {
		return err
	}
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	a.l.drop(a.v)
	return nil
}
