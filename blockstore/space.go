package blockstore

import (
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// space keeps the store from meeting a full disk. Of the host's file system a
// reserve is left alone: first writes of blocks wait when they come to it
// (stall.go), imports and clones are refused before (admit.go), so that
// metadata, which cannot wait, always has room.
//
//	free  ...floor.........reserve..........0
//	      |ok   |low               |full
//	      all   no clones, imports  first writes wait; overwrites, reads,
//	                                flushes, trims and deletes go on
//
// The host is asked now and then only: each answer gives an allowance that
// first writes use up. What they have taken and not yet written is
// outstanding, for the host does not know of it. (ext4 and XFS count a write as
// allocated when it is in the page cache.) The watcher takes the allowance back
// each second, since other programs use the disk too.
type space struct {
	fs  hostFS
	dir string
	o   *Options
	log *slog.Logger

	left        atomic.Int64 // may be taken before the host is asked again
	outstanding atomic.Int64 // taken, and not yet written or given back

	mu struct {
		sync.Mutex
		waiting []*waiter
		room    int64 // above the reserve, as of the last look
	}
	waiters atomic.Int32 // len(mu.waiting)

	ballast   ballast
	metaWaits atomic.Int32 // calls of Pebble's that wait for space

	wakeup chan struct{}
	quit   chan struct{} // closed: no wait for space goes on
	ended  sync.Once
	done   chan struct{} // the watcher has ended; nil if it never ran

	told struct {
		sync.Mutex
		state string // that was reported last
	}
}

const (
	// spaceStep is the largest allowance, in bytes.
	spaceStep = 64 << 20
	// maxPiece is the most that is taken at a time, in bytes.
	maxPiece = maxIntent << blockShift

	// watchIdle is how often the host is asked when nobody waits; stallTick
	// when somebody does.
	watchIdle = time.Second
	stallTick = 50 * time.Millisecond

	// noLeft sends everybody to ask. It is far from overflow.
	noLeft = math.MinInt64 / 2
)

func newSpace(fs hostFS, dir string, o *Options) *space {
	s := &space{fs: fs, dir: dir, o: o, log: o.Logger, wakeup: make(chan struct{}, 1), quit: make(chan struct{})}
	s.told.state = SpaceOK
	return s
}

// limits are what the options come to on a file system of some size, in bytes.
type limits struct {
	reserve int64 // free space that first writes leave alone
	floor   int64 // free space below which clones and imports are refused
}

func (s *space) limits(total int64) limits {
	l := limits{reserve: s.o.Reserve}
	if l.reserve == 0 {
		l.reserve = min(max(2<<30, total/50), total/16)
	}
	l.floor = max(total/100*int64(100-s.o.Watermark), l.reserve+l.reserve/2)
	return l
}

// host asks the host's file system.
func (s *space) host() (free, total int64, l limits, err error) {
	free, total, err = s.fs.Free(s.dir)
	return free, total, s.limits(total), err
}

// take asks for n bytes of the disk for a first write. They are outstanding
// until they are given back by gave, whether they were written or not.
// Errors: a shortage, and those of the host.
func (s *space) take(n int64) error {
	s.outstanding.Add(n)
	if s.left.Add(-n) >= 0 {
		return nil
	}
	err := s.ask(n)
	if err != nil {
		s.gave(n)
	}
	return err
}

func (s *space) gave(n int64) {
	if n != 0 {
		s.outstanding.Add(-n)
	}
}

// ask is take when the allowance is used up; n is outstanding already. Who
// waits for room comes first.
func (s *space) ask(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.diskWaitersLocked() {
		return &shortage{of: shortDisk, n: n}
	}
	if s.left.Add(-n) >= 0 {
		return nil // another one has asked
	}
	if err := s.refreshLocked(); err != nil {
		return err
	}
	if s.mu.room < 0 {
		return &shortage{of: shortDisk, n: n}
	}
	return nil
}

// refreshLocked asks the host and makes a new allowance. From the swap on
// everybody has to ask, and who took before it is outstanding. What is written
// between the two questions is counted twice rather than not at all.
func (s *space) refreshLocked() error {
	s.left.Swap(noLeft)
	outstanding := s.outstanding.Load()
	free, _, l, err := s.host()
	if err != nil {
		return err
	}
	s.mu.room = free - l.reserve - outstanding
	if s.mu.room >= 0 && !s.diskWaitersLocked() {
		s.left.Store(min(s.mu.room, spaceStep, max(l.reserve/8, maxPiece)))
	}
	return nil
}

// start begins to watch the host's disk.
func (s *space) start() {
	s.look()
	s.done = make(chan struct{})
	go s.watch()
}

func (s *space) watch() {
	defer close(s.done)
	for {
		pause := watchIdle
		if s.waiters.Load() > 0 {
			pause = stallTick
		}
		t := time.NewTimer(pause)
		select {
		case <-s.quit:
			t.Stop()
			return
		case <-s.wakeup:
			t.Stop()
		case <-t.C:
		}
		s.look()
	}
}

// wake has the watcher look now. It never blocks.
func (s *space) wake() {
	select {
	case s.wakeup <- struct{}{}:
	default:
	}
}

// look sees how full the disk is: it renews the allowance, lets go on who has
// room now, and tells of a new state.
func (s *space) look() {
	s.mu.Lock()
	if err := s.refreshLocked(); err != nil {
		s.mu.room = -1
	}
	s.resumeLocked()
	s.mu.Unlock()
	s.report()
}

// end ends all waiting for space, now and from now on.
func (s *space) end() { s.ended.Do(func() { close(s.quit) }) }

// stop ends the watcher too.
func (s *space) stop() {
	s.end()
	if s.done != nil {
		<-s.done
	}
}
