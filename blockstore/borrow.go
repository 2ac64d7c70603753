package blockstore

import "context"

// descriptor is a file that can be given to system calls.
type descriptor interface{ Fd() uintptr }

// Borrow gives the open file that holds a range of a golden image or a snapshot,
// and where in it, for system calls that move data without a copy. The caller
// reads there only, and calls release when done, before Close. It gives nothing
// where the range comes from more than one place, or is zero: ReadAt reads that.
func (d *Disk) Borrow(_ context.Context, off, length int64) (fd uintptr, at int64, release func(), ok bool) {
	if d.v != nil || d.check("read", off, length) != nil {
		return 0, 0, nil, false
	}
	r := d.reader()
	own, base, err := r.pages(uint32(off >> regionShift))
	if err != nil || off>>regionShift != (off+length-1)>>regionShift {
		return 0, 0, nil, false
	}
	l, n := r.piece(own, base, off, int(length))
	if l == nil || int64(n) < length {
		return 0, 0, nil, false
	}
	s, at := l.segmentAt(off)
	h, err := s.acquire(false)
	if err != nil {
		return 0, 0, nil, false
	}
	f, isFile := h.file.(descriptor)
	if !isFile {
		h.release()
		return 0, 0, nil, false
	}
	return f.Fd(), at, h.release, true
}
