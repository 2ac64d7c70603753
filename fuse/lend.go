package fuse

import (
	"context"
	"syscall"

	gofuse "github.com/hanwen/go-fuse/v2/fuse"
)

// lender is a Disk that lends the file behind a range, so that the kernel moves
// its pages without a copy through this process. What is lent is given back by
// release, before Close.
type lender interface {
	Borrow(ctx context.Context, off, length int64) (fd uintptr, at int64, release func(), ok bool)
}

// minLent is the least that is worth a splice, bytes.
const minLent = 32 << 10

// lent is what go-fuse splices from.
type lent struct {
	fd   uintptr
	at   int64
	size int
	done func()
}

var _ gofuse.ReadResult = (*lent)(nil)

// Seekable is how go-fuse finds the file.
func (l *lent) Seekable() (fd uintptr, off int64, sz int) { return l.fd, l.at, l.size }

func (l *lent) Size() int { return l.size }
func (l *lent) Done()     { l.done() }

// Bytes is for where splicing does not work.
func (l *lent) Bytes(buf []byte) ([]byte, gofuse.Status) {
	buf = buf[:min(len(buf), l.size)]
	for n := 0; n < len(buf); {
		got, err := syscall.Pread(int(l.fd), buf[n:], l.at+int64(n))
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return nil, gofuse.ToStatus(err)
		case got == 0:
			return nil, gofuse.EIO
		default:
			n += got
		}
	}
	return buf, gofuse.OK
}
