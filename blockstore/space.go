package blockstore

import (
	"sync"
	"sync/atomic"
)

// space keeps imports and first writes from taking the last of the host's
// disk, which the metadata needs. It asks the host only now and then: each
// answer gives an allowance that is used up.
type space struct {
	fs      hostFS
	dir     string
	reserve int64

	left atomic.Int64 // may be used before the host is asked again
	mu   sync.Mutex   // asking
}

// spaceStep is the largest allowance, in bytes.
const spaceStep = 64 << 20

func newSpace(fs hostFS, dir string, reserve int64) *space {
	return &space{fs: fs, dir: dir, reserve: reserve}
}

// take asks for n bytes of the disk. Error: ErrNoSpace.
func (s *space) take(n int64) error {
	if s.left.Add(-n) >= 0 {
		return nil
	}
	return s.ask(n)
}

func (s *space) ask(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	free, _, err := s.fs.Free(s.dir)
	if err != nil {
		return err
	}
	left := min(free-s.reserve, spaceStep) - n
	s.left.Store(left)
	if left < 0 {
		return errf(ErrNoSpace, "no space left: the file system of %s has %d MiB free, of which %d MiB are reserved; free space or add a disk",
			s.dir, free>>20, s.reserve>>20)
	}
	return nil
}
