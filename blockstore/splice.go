package blockstore

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// splicePieces bounds how scattered a range may be that is spliced: past that,
// copying is as fast.
const splicePieces = 4

// splicePiece is a part of a range, in a file that is held open.
type splicePiece struct {
	handle *handle
	at     int64 // offset in the file
	off    int64 // of the disk
	n      int
	below  bool // it is not in the top
}

// TrySplice moves [off, off+length) into a pipe without a copy, if that needs
// neither the disk nor the metadata: the pipe then refers to the pages of the
// page cache. It has to have room. Reports whether it did; if not, moved tells
// how many bytes are in the pipe all the same, which are worth nothing.
//
// A page may change until the pipe's reader has copied it, as what is written
// while a read is under way may be read or not. What is written after the
// reader has the data is never seen.
func (d *Disk) TrySplice(pipe int, length, off int64) (moved int64, ok bool) {
	if d.check("read", off, length) != nil {
		return 0, false
	}
	r := d.reader()
	var room [splicePieces]splicePiece
	pieces, ok := r.splicePieces(&room, off, off+length)
	defer releaseSplice(pieces)
	for _, p := range pieces {
		f, isFile := p.handle.file.(descriptor)
		ok = ok && isFile && resident(f.Fd(), p.at, p.n) && upToDate(f.Fd(), p.at, p.n)
	}
	if !ok {
		return 0, false
	}
	for _, p := range pieces {
		done := spliceOut(p.handle.file.(descriptor).Fd(), p.at, pipe, p.n)
		if moved += int64(done); done < p.n {
			return moved, false
		}
	}
	for _, p := range pieces {
		if p.below && stale(r.top.cachedOwn(uint32(p.off>>regionShift)), p.off, p.n) {
			return moved, false
		}
	}
	return moved, !r.moved()
}

func releaseSplice(pieces []splicePiece) {
	for _, p := range pieces {
		p.handle.release()
	}
}

// splicePieces finds the files that [off, end) comes from, and holds them. It
// reports false if they are not known without waiting, or are too many.
func (r reader) splicePieces(room *[splicePieces]splicePiece, off, end int64) (pieces []splicePiece, ok bool) {
	if r.top != nil && r.top.lost.Load() != nil {
		return nil, false
	}
	pieces = room[:0]
	for off < end {
		region := uint32(off >> regionShift)
		base, own := r.base.cached(region), noOwn
		if r.top != nil {
			own = r.top.cachedOwn(region)
		}
		if base == nil || own == nil || len(pieces) == splicePieces {
			return pieces, false
		}
		l, n := r.piece(own, base, off, int(min(end-off, RegionSize-off&(RegionSize-1))))
		if l == nil {
			return pieces, false // zeros are in no page
		}
		s, at := l.segmentAt(off)
		h := s.tryAcquire()
		if h == nil {
			return pieces, false
		}
		pieces = append(pieces, splicePiece{handle: h, at: at, off: off, n: n, below: r.top != nil && l != r.top.layer})
		off += int64(n)
	}
	return pieces, true
}

// noCachestat is set once the kernel has said that it does not know the call.
var noCachestat atomic.Bool

// resident tells that all of a range of a file is in the page cache. It is
// cachestat(2), Linux 6.5; before that nothing is known.
func resident(fd uintptr, off int64, n int) bool {
	if noCachestat.Load() {
		return false
	}
	span := [2]uint64{uint64(off), uint64(n)}
	var stat struct{ cache, dirty, writeback, evicted, recentlyEvicted uint64 }
	_, _, errno := syscall.RawSyscall6(unix.SYS_CACHESTAT, fd, uintptr(unsafe.Pointer(&span)), uintptr(unsafe.Pointer(&stat)), 0, 0, 0)
	if errno != 0 {
		if errno == unix.ENOSYS {
			noCachestat.Store(true)
		}
		return false
	}
	page := int64(unix.Getpagesize())
	return int64(stat.cache) == (off+int64(n)+page-1)/page-off/page
}

// upToDate tells that pages of a range that is resident do not wait for the disk:
// those of a readahead under way do. It looks at the last page and some before,
// since a readahead fills whole stretches.
func upToDate(fd uintptr, off int64, n int) bool {
	const stretch = 64 << 10
	for at := off + int64(n) - 1; at >= off; at -= stretch {
		var b [1]byte
		iov := unix.Iovec{Base: &b[0], Len: 1}
		m, _, errno := syscall.RawSyscall6(unix.SYS_PREADV2, fd, uintptr(unsafe.Pointer(&iov)), 1, uintptr(at), 0, unix.RWF_NOWAIT)
		if errno != 0 || m != 1 {
			return false
		}
	}
	return true
}

// spliceOut moves n bytes of a file into a pipe and returns how many it did.
// What is in the page cache does not wait.
func spliceOut(fd uintptr, off int64, pipe, n int) (done int) {
	for done < n {
		m, _, errno := syscall.Syscall6(unix.SYS_SPLICE, fd, uintptr(unsafe.Pointer(&off)), uintptr(pipe), 0,
			uintptr(n-done), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 || m == 0 {
			return done
		}
		done += int(m)
	}
	return done
}
