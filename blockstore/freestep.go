package blockstore

import (
	"io"
	"time"
)

// freeStep is how much of a file is freed at a time: the punch takes the longer
// the more extents it frees, of which a range of a sparse file may have none or
// very many, and the more bytes, which may stand anywhere on the disk. It adapts
// so that a punch takes about stepTime: neighbours' flushes wait for it.
type freeStep struct {
	bytes   int64 // of data, at most
	extents int   // at most
	// Which of the two ended the step that was taken last.
	byBytes, byExtents bool
}

const (
	firstBytes    = 64 << 20
	leastBytes    = 1 << 20
	mostBytes     = 64 << 30
	firstExtents  = 256
	leastExtents  = 16
	mostExtents   = 16 << 10
	stepTime      = 10 * time.Millisecond
	growBelowTime = stepTime / 2
)

func newFreeStep() freeStep { return freeStep{bytes: firstBytes, extents: firstExtents} }

// next returns the range to free next from an offset on, or io.EOF.
func (s *freeStep) next(f file, off int64) (start, end int64, err error) {
	start, end, err = f.NextData(off)
	if err != nil {
		return 0, 0, err
	}
	s.byBytes, s.byExtents = false, false
	data := end - start
	for n := 1; data < s.bytes; n++ {
		if s.byExtents = n == s.extents; s.byExtents {
			return start, end, nil
		}
		from, to, err := f.NextData(end)
		if err == io.EOF {
			return start, end, nil
		}
		if err != nil {
			return 0, 0, err
		}
		data += to - from
		end = to
	}
	s.byBytes = true
	return start, end - (data - s.bytes), nil // the last run may be longer
}

// took adapts to how long the step has taken.
func (s *freeStep) took(t time.Duration) {
	switch {
	case t > stepTime:
		s.bytes, s.extents = max(s.bytes/2, leastBytes), max(s.extents/2, leastExtents)
	case t > growBelowTime:
	case s.byBytes:
		s.bytes = min(s.bytes*2, mostBytes)
	case s.byExtents:
		s.extents = min(s.extents*2, mostExtents)
	}
}
