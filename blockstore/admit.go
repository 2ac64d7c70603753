package blockstore

import "fmt"

// States of a store's space, SpaceInfo.State.
const (
	SpaceOK   = "ok"
	SpaceLow  = "low"  // clones and imports are refused
	SpaceFull = "full" // first writes of blocks wait
)

// admit refuses what will take space later, when little is left: its writes
// would be what fills the disk for all the others.
func (s *space) admit(what string) error {
	free, total, l, err := s.host()
	if err != nil {
		return err
	}
	if free >= l.floor {
		return nil
	}
	return errf(ErrNoSpace, "no new %s is made: the file system of %s has %s free of %s, and the last %s are kept for the volumes in use; delete volumes or images, free other space, or add a disk",
		what, s.dir, sizeText(free), sizeText(total), sizeText(l.floor))
}

// ImportRoom returns the bytes that imports may take: what is free above the
// watermark. It may be negative.
func (s *Store) ImportRoom() (int64, error) {
	free, _, l, err := s.space.host()
	return free - l.floor, err
}

// takeImport asks for n bytes for an import; they are outstanding until gave.
// An import stops where no new one would begin, and so never makes volumes
// wait.
func (s *space) takeImport(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	outstanding := s.outstanding.Load()
	free, _, l, err := s.host()
	if err != nil {
		return err
	}
	if free-outstanding-n < l.floor {
		return errf(ErrNoSpace, "no space left for the image: the file system of %s has %s free, of which an import leaves %s; nothing was imported: delete volumes or images, free other space, or add a disk",
			s.dir, sizeText(free), sizeText(l.floor))
	}
	s.outstanding.Add(n)
	return nil
}

// fullError says that the reserve was reached.
func (s *space) fullError() error {
	free, _, l, err := s.host()
	if err != nil {
		return err
	}
	return errf(ErrNoSpace, "no space left: the file system of %s has %s free, of which %s are reserved; free space or add a disk",
		s.dir, sizeText(free), sizeText(l.reserve))
}

// report tells of a new state, once. A better state has to be better by a
// sixteenth, so that one at the edge is not told again and again.
func (s *space) report() {
	s.told.Lock()
	defer s.told.Unlock()
	free, total, l, err := s.host()
	if err != nil {
		s.log.Warn("cannot tell how much space is left", "dir", s.dir, "err", err)
		return
	}
	s.keepBallast(free, total, l)
	state := s.stateOf(free, l)
	if worse(s.told.state, state) && s.stateOf(free-free/16, l) != state {
		return
	}
	if state == s.told.state {
		return
	}
	s.told.state = state
	attrs := []any{"dir", s.dir, "free", free, "total", total, "reserve", l.reserve, "refuseBelow", l.floor}
	switch state {
	case SpaceOK:
		s.log.Info("space: enough again", attrs...)
	case SpaceLow:
		s.log.Warn("space: low: no new volumes and images are made; delete some, free other space, or add a disk", attrs...)
	case SpaceFull:
		s.log.Warn("space: full: first writes of blocks wait for space; delete volumes or images, free other space, or add a disk", attrs...)
	}
}

// worse tells that state a is worse than b.
func worse(a, b string) bool {
	rank := map[string]int{SpaceOK: 0, SpaceLow: 1, SpaceFull: 2}
	return rank[a] > rank[b]
}

func (s *space) stateOf(free int64, l limits) string {
	switch {
	case free < l.reserve+maxPiece:
		return SpaceFull
	case free < l.floor:
		return SpaceLow
	}
	return SpaceOK
}

// sizeText writes bytes for people.
func sizeText(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}
