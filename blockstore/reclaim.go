package blockstore

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// reclaimer gives back the room of what was deleted, in the background and in
// small steps. Every step can be repeated: a crash leaves records to go on
// from.
//
// A version is needed while it has a name, a lineage that branches from it or
// an open handle, or is the top of a volume. One that is doomed and not needed
// goes (absorb.go); a lineage of which nothing is needed goes as a whole, and
// then perhaps its parent.
type reclaimer struct {
	s      *Store
	wakeup chan struct{}
	ctx    context.Context // ends with errStopped
	quit   context.CancelCauseFunc
	done   chan struct{}
	// trimmed says when a version below a volume's top was looked through.
	trimmed map[layerID]time.Time
}

const (
	// stepPause is the least pause between steps, for others' flushes.
	stepPause = time.Millisecond
	// reclaimEvery is how often the reclaimer looks for itself: for retired
	// volumes whose time is over, and at versions below a volume's top.
	reclaimEvery = time.Minute
	trimEvery    = 10 * time.Minute
)

var errStopped = errors.New("store is closing")

func startReclaimer(s *Store) *reclaimer {
	r := &reclaimer{s: s, wakeup: make(chan struct{}, 1), done: make(chan struct{}), trimmed: map[layerID]time.Time{}}
	r.ctx, r.quit = context.WithCancelCause(context.Background())
	if s.o.ReadOnly {
		close(r.done)
		return r
	}
	r.wake()
	go r.run()
	return r
}

// wake has the reclaimer look again. It never blocks.
func (r *reclaimer) wake() {
	select {
	case r.wakeup <- struct{}{}:
	default:
	}
}

func (r *reclaimer) stop() {
	r.quit(errStopped)
	<-r.done
}

func (r *reclaimer) run() {
	defer close(r.done)
	tick := time.NewTicker(reclaimEvery)
	defer tick.Stop()
	if err := r.s.reportStrays(); err != nil {
		r.s.o.Logger.Warn("cannot look for files without a record", "err", err)
	}
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
			r.s.removeExpired(time.Now())
		case <-r.wakeup:
		}
		r.round()
	}
}

// round frees all that can be freed now.
func (r *reclaimer) round() {
	failed := map[layerID]bool{}
	for {
		j, ok := r.next(failed)
		if !ok {
			return
		}
		if err := r.do(j); errors.Is(err, errStopped) {
			return
		} else if err != nil && !errors.Is(err, errSooner) {
			failed[j.layer()] = true
			r.s.o.Logger.Warn("space of a deleted disk not given back; tried again at the next delete or start",
				"layer", layerDir(j.layer()), "err", err)
		}
	}
}

func (r *reclaimer) do(j job) error {
	// After a failed commit it is not known what is doomed on the disk.
	if err := r.s.usable(); err != nil {
		return err
	}
	switch {
	case j.version == nil:
		return r.removeLineage(j.lineage)
	case j.version.rec.State == versionMerged:
		return r.removeMerged(j.lineage, j.version)
	case j.trim:
		r.trimmed[j.layer()] = time.Now()
	}
	return r.absorb(j)
}

// removeLineage removes a lineage of which nothing is needed.
func (r *reclaimer) removeLineage(l *lineage) error {
	c := r.s.cat
	c.mu.Lock()
	var ids []layerID
	for _, v := range l.versions {
		ids = append(ids, layerID{l.id, v.number})
	}
	for number := range l.merged {
		ids = append(ids, layerID{l.id, number})
	}
	c.mu.Unlock()
	for _, id := range ids {
		if err := r.freeData(id); err != nil {
			return err
		}
	}
	b := r.s.db.NewBatch()
	for _, prefix := range []byte{prefixMap, prefixTouched, prefixHash, prefixVersion, prefixFailed} {
		lower, upper := lineageSpan(prefix, l.id)
		_ = b.DeleteRange(lower, upper, nil)
	}
	for _, prefix := range []byte{prefixFlushed, prefixOpen, prefixLineage} {
		_ = b.Delete(lineageKey(prefix, l.id), nil)
	}
	if err := r.s.commit(b); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLineageLocked(l)
	delete(c.mu.doomed, l)
	delete(c.mu.failures, l.id)
	return nil
}

// removeMerged removes the file of a merged version of which nothing is read.
func (r *reclaimer) removeMerged(l *lineage, v *version) error {
	id := layerID{l.id, v.number}
	if err := r.freeData(id); err != nil {
		return err
	}
	b := r.s.db.NewBatch()
	_ = b.Delete(entryKey(id), nil)
	if err := r.s.commit(b); err != nil {
		return err
	}
	r.s.cat.mu.Lock()
	defer r.s.cat.mu.Unlock()
	delete(l.merged, v.number)
	return nil
}

// freeData removes the files of a layer.
func (r *reclaimer) freeData(id layerID) error {
	s := r.s
	l := s.layer(id)
	if err := s.files.forget(l); err != nil {
		return err
	}
	names, err := s.fs.List(l.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := r.freeFile(filepath.Join(l.dir, name)); err != nil {
			return err
		}
	}
	if err := r.unlink(l.dir, len(names) > 0); err != nil {
		return err
	}
	if r.ownsRing(id) {
		if err := r.unlink(s.ringPath(id.lineage), false); err != nil {
			return err
		}
	}
	s.layers.Lock()
	delete(s.layers.m, id)
	s.layers.Unlock()
	return nil
}

// unlink removes a file, or a directory in which something was removed, durably:
// the records that name it go next, and nothing would remove it any more. One
// that is gone may have been removed by a process that was killed before it
// synced that.
func (r *reclaimer) unlink(path string, emptied bool) error {
	if emptied {
		if err := r.s.fs.SyncDir(path); err != nil {
			return err
		}
	}
	if err := r.s.fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return r.s.fs.SyncDir(filepath.Dir(path))
}

// ownsRing tells that a layer was the top of a volume that is gone, whose ring
// may be left.
func (r *reclaimer) ownsRing(id layerID) bool {
	r.s.cat.mu.Lock()
	defer r.s.cat.mu.Unlock()
	l := r.s.cat.mu.lineages[id.lineage]
	return !l.writable && l.tip().number == id.version
}

// freeFile punches a file empty step by step, then unlinks it: the unlink of
// a large file would stall its neighbours' flushes.
func (r *reclaimer) freeFile(path string) error {
	f, err := r.s.fs.Open(path, true)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	step := newFreeStep()
	for off := int64(0); ; {
		start, end, err := step.next(f, off)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		began := time.Now()
		if err := f.Punch(start, end-start); err != nil {
			return err
		}
		took := time.Since(began)
		step.took(took)
		if err := r.pauseFor(took); err != nil {
			return err
		}
		off = end
	}
	return r.s.fs.Remove(path)
}

func (r *reclaimer) pause() error { return r.pauseFor(0) }

// pauseFor rests half as long as the last step took, or longer where it slowed
// down commits of volumes, unless some wait for the room.
func (r *reclaimer) pauseFor(took time.Duration) error {
	rest := took / 2
	if r.s.space.waiters.Load() == 0 {
		rest = r.s.pacer.rest(took)
	}
	return sleep(r.ctx, max(rest, stepPause))
}
