package blockstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// reclaimer gives back the room of deleted disks, in the background and in
// small steps. Every step can be repeated: data first, then the records that
// name it, so that a crash leaves either both or records to go on from.
//
// Freed are the versions of a doomed lineage that are newer than the newest
// one which something still names or branches from; when nothing is left, the
// lineage itself, and then perhaps its parent.
type reclaimer struct {
	s      *Store
	wakeup chan struct{}
	quit   chan struct{}
	done   chan struct{}
}

const (
	// punchStep is how much allocated data one step frees, in bytes, and
	// punchRuns in how many runs: a file in small pieces is freed at a pace
	// that its size and not the pieces set.
	punchStep = 64 << 20
	punchRuns = 1000
	// punchPause is between steps, for others' flushes.
	punchPause = 2 * time.Millisecond
)

var errStopped = errors.New("store is closing")

func startReclaimer(s *Store) *reclaimer {
	r := &reclaimer{s: s, wakeup: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
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
	close(r.quit)
	<-r.done
}

func (r *reclaimer) run() {
	defer close(r.done)
	for {
		select {
		case <-r.quit:
			return
		case <-r.wakeup:
		}
		r.round()
	}
}

// round frees all that can be freed now.
func (r *reclaimer) round() {
	failed := map[*lineage]bool{}
	for {
		l := r.next(failed)
		if l == nil {
			return
		}
		if err := r.free(l); errors.Is(err, errStopped) {
			return
		} else if err != nil {
			failed[l] = true
			r.s.o.Logger.Warn("space of a deleted disk not given back; tried again at the next delete or start",
				"lineage", fmt.Sprintf("%016x", l.id), "err", err)
		}
	}
}

// next picks a lineage whose newest version nobody needs.
func (r *reclaimer) next(failed map[*lineage]bool) *lineage {
	c := r.s.cat
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.mu.lineages {
		if l.rec.State == lineageDoomed && l.newestRetained() < l.tip() && !failed[l] {
			return l
		}
	}
	return nil
}

// free removes the newest version of a doomed lineage; with the last one the
// lineage goes.
func (r *reclaimer) free(l *lineage) error {
	// After a failed commit it is not known what is doomed on the disk.
	if err := r.s.usable(); err != nil {
		return err
	}
	c := r.s.cat
	c.mu.Lock()
	id := layerID{l.id, l.tip()}
	rec := l.rec
	c.mu.Unlock()
	if err := r.freeData(id); err != nil {
		return err
	}
	last := id.version == 1
	b := r.s.db.NewBatch()
	if last {
		putGone(b, l.id)
	} else {
		rec.Sizes = rec.Sizes[:len(rec.Sizes)-1]
		if err := r.putVersionGone(b, id, rec); err != nil {
			return err
		}
	}
	if err := r.s.commit(b); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if last {
		c.dropLineageLocked(l)
	} else {
		l.rec.Sizes = rec.Sizes
	}
	return nil
}

// putGone removes every record of a lineage.
func putGone(b *pebble.Batch, lineage uint64) {
	for _, prefix := range []byte{prefixMap, prefixTouched, prefixHash} {
		lower, upper := lineageSpan(prefix, lineage)
		_ = b.DeleteRange(lower, upper, nil)
	}
	for _, prefix := range []byte{prefixFlushed, prefixOpen, prefixLineage} {
		_ = b.Delete(lineageKey(prefix, lineage), nil)
	}
}

// putVersionGone removes the records of the newest version of a lineage.
func (r *reclaimer) putVersionGone(b *pebble.Batch, id layerID, rec lineageRecord) error {
	lower, upper := versionSpan(prefixTouched, id)
	it, err := r.s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		_ = b.Delete(mapKey(id.lineage, versionRegion(it.Key()), id.version), nil)
	}
	if err := it.Close(); err != nil {
		return err
	}
	_ = b.DeleteRange(lower, upper, nil)
	lower, upper = versionSpan(prefixHash, id)
	_ = b.DeleteRange(lower, upper, nil)
	_ = b.Delete(lineageKey(prefixOpen, id.lineage), nil)
	putJSON(b, lineageKey(prefixLineage, id.lineage), rec)
	return nil
}

// freeData removes the files of a layer and its ring.
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
	for _, path := range []string{l.dir, s.ringPath(id.lineage)} {
		if err := s.fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// Before the records go: a power loss may bring back a name whose removal
	// was not synced, and nothing would know whose it is.
	for _, dir := range []string{s.layersDir(), filepath.Dir(s.ringPath(id.lineage))} {
		if err := s.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	s.layers.Lock()
	delete(s.layers.m, id)
	s.layers.Unlock()
	return nil
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
	bytes, runs := int64(0), 0 // of this step
	for off := int64(0); ; {
		start, end, err := f.NextData(off)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		off = min(end, start+punchStep)
		if err := f.Punch(start, off-start); err != nil {
			return err
		}
		bytes, runs = bytes+off-start, runs+1
		if bytes < punchStep && runs < punchRuns {
			continue
		}
		if err := r.pause(); err != nil {
			return err
		}
		bytes, runs = 0, 0
	}
	return r.s.fs.Remove(path)
}

func (r *reclaimer) pause() error {
	select {
	case <-r.quit:
		return errStopped
	case <-time.After(punchPause):
		return nil
	}
}
