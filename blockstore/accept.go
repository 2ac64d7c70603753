package blockstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"
)

// AcceptLoss makes a volume usable again that failed, with what its disk holds,
// and names every range whose content is not known to be what was acknowledged.
// No client may have the volume open; its epoch grows, since what clients have
// cached may be gone.
//
// The files are synced, which fails where the disk still does, and what the
// kernel has of them in memory is dropped. Then the disk is asked, past the page
// cache: a block that was written for the first time since the last good flush
// and that has the checksum of its newest intent is there, and one that was
// made zero is zero. Everything else that was changed since counts as lost.
//
// A repeated request, and one of a volume whose loss was accepted, returns what
// was named then. Errors: ErrNotFound, ErrInUse, ErrInvalid (the volume did not
// fail), ErrFailed (the disk still fails; nothing has changed).
func (s *Store) AcceptLoss(ctx context.Context, name, requestID string) (VolumeInfo, error) {
	end, done, err := s.reserve("accept-loss", "v"+name, requestID, nil)
	if err != nil {
		return VolumeInfo{}, err
	}
	if done {
		return s.Volume(ctx, name)
	}
	defer end()
	e, err := s.takeExclusive(name)
	if err != nil {
		return VolumeInfo{}, err
	}
	err = s.acceptLoss(ctx, e, requestID)
	s.endExclusive(e)
	if err != nil {
		return VolumeInfo{}, err
	}
	return s.Volume(ctx, name)
}

// takeExclusive keeps others from a volume that nobody uses.
func (s *Store) takeExclusive(name string) (*volumeEntry, error) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	e, err := s.cat.volumeLocked(name)
	if err != nil {
		return nil, err
	}
	if e.users > 0 {
		return nil, errf(ErrInUse, "volume %q is in use by %d clients: disconnect them first", name, e.users)
	}
	e.users++
	e.exclusive = true
	return e, nil
}

func (s *Store) endExclusive(e *volumeEntry) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	e.users--
	e.exclusive = false
}

// acceptLoss is AcceptLoss of a volume that is reserved and that nobody uses.
func (s *Store) acceptLoss(ctx context.Context, e *volumeEntry, requestID string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.cat.mu.Lock()
	f := s.cat.mu.failures[e.lineage.id]
	s.cat.mu.Unlock()
	switch {
	case f == nil:
		return errf(ErrInvalid, "volume %q did not fail: there is no loss to accept", e.name)
	case !f.standing():
		return nil
	}
	if err := s.usable(); err != nil {
		return err
	}
	if err := e.letGo(); err != nil {
		return err
	}
	v := s.newVolume(e)
	defer v.top.Load().close()
	a := &acceptor{v: v, f: f, held: map[heldBlock]bool{}, lost: unsyncedSet{}, proved: unsyncedSet{}, disk: alignedBuffer(BlockSize), shown: alignedBuffer(BlockSize)}
	defer a.close()
	if err := a.run(ctx, requestID); err != nil {
		if errors.Is(err, ErrFailed) || errors.Is(err, ctx.Err()) {
			return err
		}
		return errf(ErrFailed, "volume %q: its disk still fails: %v; mend or replace the disk first; what stands is as it was", e.name, err)
	}
	return nil
}

// letGo closes a volume that failed and that nobody uses: what it has in memory
// is of no use any more. Its ring stays on the disk.
func (e *volumeEntry) letGo() error {
	v := e.open
	if v == nil {
		return nil
	}
	v.commits.shut()
	if v.timer != nil {
		v.timer.Stop()
	}
	t := v.top.Load()
	if err := v.s.files.forget(t.layer); err != nil {
		return err
	}
	t.layer.use.known.Store(false)
	t.close()
	e.open = nil
	e.now.Store(nil)
	if v.ring != nil {
		return v.ring.close()
	}
	return nil
}

// acceptor finds out what the disk holds of a volume that failed.
type acceptor struct {
	v      *volume
	f      *failure
	pins   []pin
	direct map[int]file // by segment, past the page cache
	disk   []byte       // a block as it has it
	shown  []byte       // and as the kernel shows it
	held   map[heldBlock]bool
	proved unsyncedSet // what is as it was acknowledged
	lost   unsyncedSet
}

func (a *acceptor) close() {
	for _, f := range a.direct {
		f.Close()
	}
}

func (a *acceptor) run(ctx context.Context, requestID string) error {
	v, t := a.v, a.v.top.Load()
	lineage := t.layer.id.lineage
	entries, seq, err := a.intents()
	if err != nil {
		return err
	}
	if err := a.openFiles(); err != nil {
		return err
	}
	v.recovering = &recovery{retry: true} // a failure fails this attempt only
	d, _, err := v.replay(entries, seq, a.pins, a.holds)
	if err != nil {
		return err
	}
	a.proved = provedBy(entries, t, a.holds)
	if err := a.compare(ctx, d); err != nil {
		releasePins(a.pins)
		return err
	}
	rec := a.f.failureRecord
	rec.Accepted = time.Now().UTC()
	rec.Lost, rec.More, rec.Bytes = a.lost.ranges(t.size)
	vol := v.entry.rec
	vol.raise("the volume failed, and the loss was accepted")
	err = v.commitSet(d, func(b *pebble.Batch) {
		lower, upper := lineageSpan(prefixFailed, lineage)
		_ = b.DeleteRange(lower, upper, nil)
		putJSON(b, failureKey(lineage), rec)
		_ = b.Delete(lineageKey(prefixOpen, lineage), nil)
		putJSON(b, nameKey(prefixVolume, v.entry.name), vol)
		putRequest(b, requestID, "accept-loss", v.entry.name, nil)
	})
	if err != nil {
		return err
	}
	v.s.cat.mu.Lock()
	v.entry.rec = vol
	v.s.cat.mu.failures[lineage] = &failure{failureRecord: rec}
	v.s.cat.mu.Unlock()
	v.s.o.Logger.Warn("loss accepted: these ranges may not hold what was acknowledged", "volume", v.entry.name,
		"epoch", vol.Epoch, "bytes", rec.Bytes, "ranges", len(rec.Lost)+rec.More, "first", rec.Lost[:min(len(rec.Lost), 100)])
	if err := v.s.fs.Remove(v.s.ringPath(lineage)); err != nil && !errors.Is(err, os.ErrNotExist) {
		v.s.o.Logger.Warn("intent ring not removed; it is emptied before its next use", "volume", v.entry.name, "err", err)
	}
	return nil
}

// intents returns what the ring says, if it is of this boot of the host: one
// that a power loss has left may lack its newest entries, and proves nothing.
// Its sequence numbers are used up all the same: the removal of the ring is not
// synced, and the next power loss may bring it back.
func (a *acceptor) intents() (entries []intent, seq uint64, err error) {
	v := a.v
	lineage := v.top.Load().layer.id.lineage
	if seq, err = v.s.flushedSeq(lineage); err != nil {
		return nil, 0, err
	}
	r, entries, _, err := v.intents(seq)
	if r != nil {
		err = errors.Join(err, r.close())
	}
	if err != nil {
		return nil, 0, err
	}
	var mark openMark
	found, err := v.s.getJSON(lineageKey(prefixOpen, lineage), &mark)
	if err != nil {
		return nil, 0, err
	}
	if !found || mark.Boot != v.s.o.bootID || mark.Boot == unknownBoot {
		for _, e := range entries {
			seq = max(seq, e.seq)
		}
		entries = nil
	}
	return entries, seq, nil
}

// openFiles opens the layer's files, syncs them and drops what the kernel has
// of them in memory.
func (a *acceptor) openFiles() (err error) {
	l := a.v.top.Load().layer
	if a.pins, err = l.pinAll(); err != nil {
		return err
	}
	a.direct = map[int]file{}
	for _, p := range a.pins {
		err = p.handle.file.Datasync()
		if err == nil {
			err = p.handle.file.DropCache(0, 0)
		}
		if err == nil {
			a.direct[p.index], err = l.files.fs.OpenDirect(p.path())
		}
		if errors.Is(err, unix.EINVAL) { // a file system without O_DIRECT
			a.direct[p.index], err = l.files.fs.Open(p.path(), false)
		}
		if err != nil {
			delete(a.direct, p.index)
			releasePins(a.pins)
			return err
		}
	}
	return nil
}

// heldBlock is a block of an entry of the ring.
type heldBlock struct {
	seq uint64
	i   int
}

// holds tells whether the disk has block i of an entry. One that cannot be read
// it has not. The disk is asked once: a read that fails now and not the next time
// would have the map leave out a block that is taken for proved.
func (a *acceptor) holds(e intent, i int) (bool, error) {
	if e.kind == intentZero {
		return true, nil
	}
	at := heldBlock{e.seq, i}
	held, asked := a.held[at]
	if !asked {
		found, err := a.block((e.block + int64(i)) << blockShift)
		held = err == nil && found && blockSum(a.disk) == e.sums[i]
		a.held[at] = held
	}
	return held, nil
}

// block reads a block of the layer past the page cache; found is false if its
// file was never made.
func (a *acceptor) block(off int64) (found bool, err error) {
	f := a.direct[int(off>>segmentShift)]
	if f == nil {
		return false, nil
	}
	return true, f.ReadAt(a.disk, off&(segmentSize-1))
}

// provedBy returns the blocks whose newest entry holds. For one whose newest
// does not, an older entry proves nothing.
func provedBy(entries []intent, t *top, holds holdsFunc) unsyncedSet {
	seen, proved := unsyncedSet{}, unsyncedSet{}
	for _, e := range entries { // replay has put the newest first
		if e.version != t.layer.id.version {
			continue
		}
		e.eachRegion(t.size, func(region uint32, start, end int) {
			base := int64(region) << (regionShift - blockShift)
			for at := start; at < end; at++ {
				if seen.has(region, at, at+1) {
					continue
				}
				if ok, _ := holds(e, int(base+int64(at)-e.block)); ok {
					proved.add(region, at, at+1)
				}
			}
			seen.add(region, start, end)
		})
	}
	return proved
}

// compare finds what is lost, and that the kernel shows of it what the disk
// has: if it still shows what it could not write, that would turn later.
func (a *acceptor) compare(ctx context.Context, d *dirtySet) error {
	t := a.v.top.Load()
	suspect := a.f.blocks
	if a.f.All {
		own, err := a.v.s.ownData(ctx, t.layer.id)
		if err != nil {
			return err
		}
		own.join(suspect)
		suspect = own
	}
	for region, blocks := range suspect {
		if err := cancelled(ctx); err != nil {
			return err
		}
		own, err := t.ownPage(a.v.s, region)
		if err != nil {
			return err
		}
		if p := d.regions[region]; p != nil {
			own = p
		}
		for at := range regionBlocks {
			if !blocks.has(at) {
				continue
			}
			if !a.proved.has(region, at, at+1) {
				a.lost.add(region, at, at+1)
			}
			if state := own.at(at); a.f.All || state != stateCommitted && state != stateDirty {
				continue // nothing is read there, or too much to look at
			}
			if err := a.same(int64(region)<<regionShift + int64(at)<<blockShift); err != nil {
				return err
			}
		}
	}
	return nil
}

// same tells that the kernel shows what the disk has at off, or that neither
// can be read.
func (a *acceptor) same(off int64) error {
	found, err := a.block(off)
	if !found || err != nil {
		return nil
	}
	i := slices.IndexFunc(a.pins, func(p pin) bool { return p.index == int(off>>segmentShift) })
	err = a.pins[i].handle.file.ReadAt(a.shown, off&(segmentSize-1))
	if err == nil && !bytes.Equal(a.disk, a.shown) {
		return fmt.Errorf("the kernel still shows at %d what the disk does not hold; restart the host, then try again", off)
	}
	return nil
}
