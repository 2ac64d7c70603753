package daemon

import (
	"context"
	"io"
	"sync"

	"goldstream/nbd"
)

const (
	pieceLen    = 1 << 20 // bytes of one read
	depth       = 8       // reads in flight; qemu-nbd takes 16 per connection
	statusRange = 1 << 30 // bytes of the disk asked for with one block status
)

// remote is what readAhead needs of an NBD client.
type remote interface {
	Size() int64
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
	Extents(ctx context.Context, off, length int64) ([]nbd.Extent, error)
}

// readAhead reads a disk from its beginning to its end, several pieces at a
// time, and hands them out in order. Runs that the server knows to be zero are
// not read.
type readAhead struct {
	pieces chan *piece // in the order of the disk; closed at its end
	free   chan []byte
	cancel context.CancelFunc
	work   sync.WaitGroup
	now    *piece // being handed out
	left   int64  // of the disk, not yet handed out
}

// piece is a run of the disk: zeroes, or data once ready is closed.
type piece struct {
	length int64 // not yet handed out
	data   []byte
	buffer []byte // data's memory; nil for zeroes
	ready  chan struct{}
	err    error
}

func startReadAhead(ctx context.Context, r remote) *readAhead {
	a := &readAhead{pieces: make(chan *piece, depth), free: make(chan []byte, depth), left: r.Size()}
	for range depth {
		a.free <- nil // allocated when first needed
	}
	ctx, a.cancel = context.WithCancel(ctx)
	a.work.Go(func() { a.plan(ctx, r) })
	return a
}

// stop returns when no goroutine is left.
func (a *readAhead) stop() {
	a.cancel()
	a.work.Wait()
}

// plan walks the disk's extents and starts the reads.
func (a *readAhead) plan(ctx context.Context, r remote) {
	defer close(a.pieces)
	for off, size := int64(0), r.Size(); off < size; {
		extents, err := r.Extents(ctx, off, min(statusRange, size-off))
		if err != nil || len(extents) == 0 {
			a.send(ctx, failed(err))
			return
		}
		for _, e := range extents {
			if !a.planExtent(ctx, r, off, e) {
				return
			}
			off += e.Length
		}
	}
}

func (a *readAhead) planExtent(ctx context.Context, r remote, off int64, e nbd.Extent) bool {
	if e.Zero {
		return a.send(ctx, &piece{length: e.Length, ready: closed()})
	}
	for end := off + e.Length; off < end; {
		n := min(pieceLen, end-off)
		if !a.read(ctx, r, off, n) {
			return false
		}
		off += n
	}
	return true
}

// read waits for a free buffer: that bounds memory and what is in flight.
func (a *readAhead) read(ctx context.Context, r remote, off, n int64) bool {
	var buffer []byte
	select {
	case buffer = <-a.free:
	case <-ctx.Done():
		a.send(ctx, failed(ctx.Err()))
		return false
	}
	if buffer == nil {
		buffer = make([]byte, pieceLen)
	}
	p := &piece{length: n, data: buffer[:n], buffer: buffer, ready: make(chan struct{})}
	a.work.Go(func() {
		defer close(p.ready)
		_, p.err = r.ReadAt(ctx, p.data, off)
	})
	return a.send(ctx, p)
}

// send hands a piece on unless ctx ends first. It tries without looking at ctx
// so that an error which comes with the end of ctx is seen if there is room.
func (a *readAhead) send(ctx context.Context, p *piece) bool {
	select {
	case a.pieces <- p:
		return true
	default:
	}
	select {
	case a.pieces <- p:
		return true
	case <-ctx.Done():
		return false
	}
}

func failed(err error) *piece {
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return &piece{length: 1, ready: closed(), err: err}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// next has the contract of blockstore.Source.
func (a *readAhead) next(ctx context.Context, p []byte) (n int, zero bool, err error) {
	zero = true
	for n < len(p) {
		if err := a.advance(ctx); err == io.EOF && n > 0 {
			break
		} else if err != nil {
			return 0, false, err
		}
		k := int(min(int64(len(p)-n), a.now.length))
		zero = a.take(p, n, k, zero)
		n += k
	}
	return n, zero && n > 0, nil
}

// advance makes now a piece that has something left.
func (a *readAhead) advance(ctx context.Context) error {
	for a.now == nil || a.now.length == 0 {
		select {
		case p, more := <-a.pieces:
			if !more {
				return a.end()
			}
			a.now = p
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-a.now.ready:
		return a.now.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end tells the disk's end from that of the plan, which also ends with ctx.
func (a *readAhead) end() error {
	if a.left > 0 {
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}

// take puts k bytes of the current piece at p[n:]; p[:n] was not written if
// all of it is zero so far. It returns whether that still holds.
func (a *readAhead) take(p []byte, n, k int, zero bool) bool {
	now := a.now
	now.length -= int64(k)
	a.left -= int64(k)
	if now.data == nil {
		if !zero {
			clear(p[n : n+k])
		}
		return zero
	}
	if zero {
		clear(p[:n])
	}
	copy(p[n:n+k], now.data)
	now.data = now.data[k:]
	if now.length == 0 {
		a.free <- now.buffer
	}
	return false
}
