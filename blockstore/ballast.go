package blockstore

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// The reserve keeps the store itself from filling the disk. The ballast is for
// when another program does: a file of allocated blocks that nobody reads,
// given up the moment that metadata finds no room, and made again when there
// is plenty. It stays where it is while the store is closed, so that a store
// can be opened on a full disk.
//
// When the ballast is gone too, metadata waits (metafs.go) for as long as it
// takes: to Pebble a full disk is a slow one.
type ballast struct {
	mu   sync.Mutex
	size int64 // 0: there is none
	told bool  // that it cannot be made
}

func (s *space) ballastPath() string { return filepath.Join(s.dir, "ballast") }

// ballastSize is how large the ballast shall be, in bytes.
func (s *space) ballastSize(total int64) int64 {
	switch want := s.o.Ballast; {
	case want < 0:
		return 0
	case want > 0:
		return want
	}
	return min(256<<20, total/32&^(1<<20-1))
}

// findBallast looks for what an earlier process has left.
func (s *space) findBallast() error {
	f, err := s.fs.Open(s.ballastPath(), false)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.ballast.size, err = f.Size()
	return errors.Join(err, f.Close())
}

// keepBallast makes the ballast where it is missing or of another size, if
// first writes have room all the same.
func (s *space) keepBallast(free, total int64, l limits) {
	b := &s.ballast
	b.mu.Lock()
	defer b.mu.Unlock()
	want := s.ballastSize(total)
	if b.size == want || want > b.size && free-(want-b.size) < l.reserve+l.reserve/4+maxPiece {
		return
	}
	err := s.makeBallastLocked(want)
	if err != nil && !b.told {
		s.log.Warn("no ballast: metadata may have to wait when other programs fill the disk", "path", s.ballastPath(), "err", err)
	}
	b.told = err != nil
}

func (s *space) makeBallastLocked(size int64) error {
	if err := s.fs.Remove(s.ballastPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	s.ballast.size = 0
	if size == 0 {
		return nil
	}
	m, err := s.fs.Map(s.ballastPath(), int(size)) // allocates, unlike a file that is made longer
	if err == nil {
		err = m.Close()
	}
	if err != nil {
		return errors.Join(err, s.fs.Remove(s.ballastPath()))
	}
	s.ballast.size = size
	return nil
}

// relieve gives the ballast up and reports whether there was one.
func (s *space) relieve() bool {
	b := &s.ballast
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.size == 0 {
		return false
	}
	err := errors.Join(s.fs.Remove(s.ballastPath()), s.fs.SyncDir(s.dir)) // ext4 frees blocks with its next transaction
	if err != nil {
		s.log.Error("ballast cannot be given up", "path", s.ballastPath(), "err", err)
		return false
	}
	s.log.Warn("disk full: the ballast is given up, so that metadata has room", "dir", s.dir, "bytes", b.size)
	b.size = 0
	return true
}

func (s *space) ballastNow() int64 {
	s.ballast.mu.Lock()
	defer s.ballast.mu.Unlock()
	return s.ballast.size
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// withBallast runs fn, and again with the ballast given up if the disk was full.
func (s *space) withBallast(fn func() error) error {
	err := fn()
	if isFull(err) && s.relieve() {
		err = fn()
	}
	return err
}
