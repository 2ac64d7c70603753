package blockstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// layer is the data of one version: segment files of 1 TiB at full, sparse
// length, made when first written.
type layer struct {
	id    layerID
	files *fileTable
	dir   string

	sealed atomic.Bool // files are opened read-only
	use    layerUse    // of a writable layer with a quota

	segments atomic.Pointer[[]*segment]
	mu       sync.Mutex // growing segments
}

// segment is one file of a layer and the handle that is open on it, if any.
type segment struct {
	layer  *layer
	index  int
	handle atomic.Pointer[handle]
	mu     sync.Mutex // opening

	// unsynced: written since the last commit took it. The file table never
	// closes such a file, since its next fsync must see its write errors.
	unsynced atomic.Bool
	fresh    atomic.Bool // the directory entry is not yet synced
}

// handle counts the users of an open file. A user has added one; whoever
// closes the file swaps zero for closedHandle first, which no user can undo.
type handle struct {
	file  file
	users atomic.Int32
	idle  atomic.Bool // not used since the file table last looked
}

const closedHandle = -1 << 30

func (h *handle) release() { h.users.Add(-1) }

// layerDir names the directory of a layer below the store's layers directory.
func layerDir(id layerID) string { return fmt.Sprintf("%016x-%08x", id.lineage, id.version) }

// segmentAt returns the segment that holds offset off of the disk and the
// offset in it.
func (l *layer) segmentAt(off int64) (*segment, int64) {
	i := int(off >> segmentShift)
	segs := l.segments.Load()
	if segs == nil || i >= len(*segs) {
		segs = l.grow(i + 1)
	}
	return (*segs)[i], off & (segmentSize - 1)
}

func (l *layer) grow(n int) *[]*segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	var segs []*segment
	if old := l.segments.Load(); old != nil {
		segs = append(segs, *old...)
	}
	for i := len(segs); i < n; i++ {
		segs = append(segs, &segment{layer: l, index: i})
	}
	l.segments.Store(&segs)
	return &segs
}

// open segments of the layer that were used so far.
func (l *layer) known() []*segment {
	if segs := l.segments.Load(); segs != nil {
		return *segs
	}
	return nil
}

func (s *segment) path() string {
	return filepath.Join(s.layer.dir, fmt.Sprintf("%06d", s.index))
}

// acquire returns the open file of the segment; the caller releases it. With
// create, a missing file is made.
func (s *segment) acquire(create bool) (*handle, error) {
	if h := s.tryAcquire(); h != nil {
		return h, nil
	}
	h, opened, err := s.open(create)
	if opened {
		s.layer.files.add(s) // not under s.mu: the table locks segments
	}
	return h, err
}

func (s *segment) open(create bool) (h *handle, opened bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.tryAcquire(); h != nil {
		return h, false, nil
	}
	f, err := s.openFile(create)
	if err != nil {
		return nil, false, err
	}
	h = &handle{file: f}
	h.users.Store(1)
	s.handle.Store(h)
	return h, true, nil
}

// tryAcquire takes the handle if the file is open. It never blocks.
func (s *segment) tryAcquire() *handle {
	h := s.handle.Load()
	if h == nil {
		return nil
	}
	if h.users.Add(1) <= 0 {
		h.users.Add(-1)
		return nil
	}
	if h.idle.Load() {
		h.idle.Store(false)
	}
	return h
}

func (s *segment) openFile(create bool) (file, error) {
	fs := s.layer.files.fs
	f, err := fs.Open(s.path(), !s.layer.sealed.Load())
	if err == nil {
		if err := s.check(f); err != nil {
			return nil, err
		}
		return f, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if !create {
		return nil, fmt.Errorf("data file %s is missing: %w", s.path(), ErrCorrupt)
	}
	if err := fs.Mkdir(s.layer.dir); err != nil {
		return nil, err
	}
	if f, err = fs.Create(s.path()); err != nil {
		return nil, err
	}
	if err := f.Truncate(segmentSize); err != nil {
		f.Close()
		return nil, errors.Join(err, fs.Remove(s.path()))
	}
	s.fresh.Store(true)
	return f, nil
}

// check refuses a file that was cut: all have full length. (A power loss may
// leave a file of length zero whose creation was never committed.)
func (s *segment) check(f file) error {
	size, err := f.Size()
	if err == nil && size == 0 {
		err = f.Truncate(segmentSize)
	} else if err == nil && size != segmentSize {
		err = fmt.Errorf("data file %s has %d bytes instead of %d: %w", s.path(), size, int64(segmentSize), ErrCorrupt)
	}
	if err != nil {
		f.Close()
	}
	return err
}

// closeIdle closes the file if nobody uses it. It reports whether it is closed.
func (s *segment) closeIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.handle.Load()
	if h == nil {
		return true
	}
	if !h.users.CompareAndSwap(0, closedHandle) {
		return false
	}
	// Only now: a write that came before has set unsynced, and none comes any
	// more. Who tried to use the handle meanwhile waits for mu.
	if s.unsynced.Load() {
		h.users.Add(-closedHandle)
		return false
	}
	s.handle.Store(nil)
	h.file.Close()
	return true
}

// with calls fn with the open file that holds offset off of the disk, and the
// offset in it. The file must exist.
func (l *layer) with(off int64, fn func(f file, at int64) error) error {
	s, at := l.segmentAt(off)
	h, err := s.acquire(false)
	if err != nil {
		return err
	}
	defer h.release()
	return fn(h.file, at)
}

// read fills p from the layer's data.
func (l *layer) read(p []byte, off int64) error {
	return l.with(off, func(f file, at int64) error { return f.ReadAt(p, at) })
}

// punch gives the room of a range back; it reads as zero then.
func (l *layer) punch(off, length int64) error {
	return l.with(off, func(f file, at int64) error { return f.Punch(at, length) })
}

// prefetch starts reading a range into the page cache.
func (l *layer) prefetch(off, length int64) error {
	return l.with(off, func(f file, at int64) error { return f.Prefetch(at, length) })
}

// tryRead is read for data that is in memory in a file that is open.
func (l *layer) tryRead(p []byte, off int64) bool {
	s, at := l.segmentAt(off)
	h := s.tryAcquire()
	if h == nil {
		return false
	}
	ok := h.file.TryReadAt(p, at)
	h.release()
	return ok
}

// pin is a segment whose file is held open until it was synced.
type pin struct {
	*segment
	handle *handle
}

// takeUnsynced pins the files of the layer that were written since it was last
// called. No write may run meanwhile.
func (l *layer) takeUnsynced() ([]pin, error) {
	var pins []pin
	for _, s := range l.known() {
		if !s.unsynced.Load() {
			continue
		}
		h, err := s.acquire(false) // the file is open: unsynced ones are never closed
		if err != nil {
			releasePins(pins)
			return nil, err
		}
		s.unsynced.Store(false)
		pins = append(pins, pin{s, h})
	}
	return pins, nil
}

// pinAll pins every file that the layer has on the disk.
func (l *layer) pinAll() ([]pin, error) {
	names, err := l.files.fs.List(l.dir)
	if err != nil {
		return nil, err
	}
	var pins []pin
	for _, name := range names {
		var i int
		if _, err := fmt.Sscanf(name, "%06d", &i); err != nil || i >= MaxSize>>segmentShift {
			continue
		}
		s, _ := l.segmentAt(int64(i) << segmentShift)
		h, err := s.acquire(false)
		if err != nil {
			releasePins(pins)
			return nil, err
		}
		s.fresh.Store(true)
		pins = append(pins, pin{s, h})
	}
	return pins, nil
}

func releasePins(pins []pin) {
	for _, p := range pins {
		p.handle.release()
	}
}

// syncPins makes the data of the files durable, and the names of new ones,
// and releases them.
func syncPins(pins []pin) error {
	defer releasePins(pins)
	for _, p := range pins {
		if err := p.handle.file.Datasync(); err != nil {
			return err
		}
		if !p.fresh.Load() {
			continue
		}
		fs := p.layer.files.fs
		if err := errors.Join(fs.SyncDir(p.layer.dir), fs.SyncDir(filepath.Dir(p.layer.dir))); err != nil {
			return err
		}
		p.fresh.Store(false)
	}
	return nil
}

// fileTable bounds how many segment files are open.
type fileTable struct {
	fs    hostFS
	limit int

	mu struct {
		sync.Mutex
		open []*segment // a clock: the hand moves over it
		hand int
	}
}

// add registers a segment whose file was just opened and closes others while
// there are too many. Files in use and unsynced ones are passed over, so the
// limit can be exceeded by as many.
func (t *fileTable) add(s *segment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.open = append(t.mu.open, s)
	for tries := 2 * len(t.mu.open); len(t.mu.open) > t.limit && tries > 0; tries-- {
		if t.mu.hand >= len(t.mu.open) {
			t.mu.hand = 0
		}
		victim := t.mu.open[t.mu.hand]
		if victim == s || !victim.evict() {
			t.mu.hand++
			continue
		}
		last := len(t.mu.open) - 1
		t.mu.open[t.mu.hand] = t.mu.open[last]
		t.mu.open = t.mu.open[:last]
	}
}

// evict closes a file that was not used since the hand came by last.
func (s *segment) evict() bool {
	h := s.handle.Load()
	if h != nil && !h.idle.Swap(true) {
		return false
	}
	return s.closeIdle()
}

// forget closes the files of a layer and takes them out of the table. Nobody
// may use the layer any more.
func (t *fileTable) forget(l *layer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.mu.open[:0]
	var err error
	for _, s := range t.mu.open {
		if s.layer != l {
			kept = append(kept, s)
			continue
		}
		s.unsynced.Store(false)
		if !s.closeIdle() {
			err = errors.Join(err, fmt.Errorf("data file %s is still in use", s.path()))
			kept = append(kept, s)
		}
	}
	clear(t.mu.open[len(kept):])
	t.mu.open = kept
	return err
}

// closeAll closes every file; the store is closing.
func (t *fileTable) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.mu.open {
		s.unsynced.Store(false)
		s.closeIdle()
	}
	t.mu.open = nil
}

// allocated returns the bytes that the layer's files take on the host's disk.
func (l *layer) allocated() (int64, error) { return allocatedIn(l.files.fs, l.dir) }
