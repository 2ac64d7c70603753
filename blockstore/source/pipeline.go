package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"goldstream/blockstore"
)

const (
	blockSize  = 1 << 20 // decoded at once
	blockCount = 4       // in flight: one being filled, one being read, two between
)

// pipeline decodes ahead of its reader. One goroutine (run) takes empty blocks
// from free, fills them and sends them to full; the reader sends them back. The
// last block carries the error that ended the input, io.EOF if all was well.
type pipeline struct {
	format string
	size   int64
	dec    io.Reader
	in     *meter
	closer io.Closer

	free chan []byte
	full chan block
	stop chan struct{} // closed by Close
	done chan struct{} // closed by run

	// The reader's side.
	cur    block
	off    int // into cur.data
	ended  error
	closed sync.Once
}

// A block is decoded data, all zero if zero is set, and what came after it.
type block struct {
	data []byte
	zero bool
	err  error
}

func startPipeline(format string, size int64, dec io.Reader, in *meter, closer io.Closer) blockstore.Source {
	s := &pipeline{format: format, size: size, dec: dec, in: in, closer: closer,
		free: make(chan []byte, blockCount), full: make(chan block, blockCount),
		stop: make(chan struct{}), done: make(chan struct{})}
	go s.run()
	return s
}

func (s *pipeline) Size() int64              { return s.size }
func (s *pipeline) Format() string           { return s.format }
func (s *pipeline) Consumed() (int64, int64) { return s.in.done.Load(), s.in.total }

// Close stops decoding, closes the input and waits for the goroutine. The
// decoder is closed last, when nobody is inside it.
func (s *pipeline) Close() (err error) {
	s.closed.Do(func() {
		close(s.stop)
		if s.closer != nil {
			err = s.closer.Close()
		}
		<-s.done
		if c, ok := s.dec.(interface{ Close() }); ok {
			c.Close()
		}
	})
	return err
}

// Next implements blockstore.Source. Any error is final, that of ctx too: what
// was put together for p until then is lost.
func (s *pipeline) Next(ctx context.Context, p []byte) (int, bool, error) {
	if s.ended != nil {
		return 0, false, s.ended
	}
	n, zero, err := fill(p, waiter{s, ctx})
	s.ended = err
	return n, zero, err
}

// waiter is the reader's end for one call of Next.
type waiter struct {
	s   *pipeline
	ctx context.Context
}

func (w waiter) piece(p []byte) (int, bool, error) {
	s := w.s
	for s.off == len(s.cur.data) {
		if err := s.advance(w.ctx); err != nil {
			return 0, false, err
		}
	}
	n := min(len(p), len(s.cur.data)-s.off)
	if !s.cur.zero {
		copy(p, s.cur.data[s.off:s.off+n])
	}
	s.off += n
	return n, s.cur.zero, nil
}

// advance gives the block that was read back and takes the next one.
func (s *pipeline) advance(ctx context.Context) error {
	if s.cur.err != nil {
		return s.cur.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if cap(s.cur.data) > 0 {
		s.free <- s.cur.data[:cap(s.cur.data)] // never blocks: there is room for all
		s.cur, s.off = block{}, 0
	}
	select {
	case s.cur = <-s.full:
		return nil
	case <-s.stop:
		return fmt.Errorf("reading a closed source: %w", blockstore.ErrClosed)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run fills blocks until the input ends, fails, or Close is called.
func (s *pipeline) run() {
	defer close(s.done)
	var total int64
	for made := 0; ; {
		p, ok := s.empty(&made)
		if !ok {
			return
		}
		b := s.decode(p, &total)
		s.full <- b // never blocks: there are no more blocks than places
		if b.err != nil {
			return
		}
	}
}

// empty returns a block to fill, a new one only if none came back and not all
// are made: a small input needs only one. It returns false after Close.
func (s *pipeline) empty(made *int) ([]byte, bool) {
	select {
	case p := <-s.free:
		return p, true
	default:
	}
	if *made < blockCount {
		*made++
		return make([]byte, blockSize), true
	}
	select {
	case p := <-s.free:
		return p, true
	case <-s.stop:
		return nil, false
	}
}

func (s *pipeline) decode(p []byte, total *int64) block {
	first := *total == 0
	n, err := s.readFull(p)
	*total += int64(n)
	b := block{data: p[:n], zero: allZero(p[:n])}
	if first && (err == nil || errors.Is(err, io.EOF)) {
		if bad := s.checkInner(p[:min(n, SniffLen)]); bad != nil {
			return block{err: bad}
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		b.err = io.EOF
		if bad := checkSize(s.format, *total); bad != nil {
			b.err = bad
		}
	case err != nil:
		b.err = explain(s.format, s.in.offset(), err)
	}
	return b
}

// checkInner looks at the begin of what a compressed input holds; a raw one was
// checked when it was opened.
func (s *pipeline) checkInner(head []byte) error {
	if s.format == formatRaw {
		return nil
	}
	if err := innerRefusal(s.format, head); err != nil || s.size < 0 {
		return err
	}
	return checkSize(s.format, s.size)
}

// readFull fills p from the decoder. A decoder that panics has met an input its
// author did not think of: that is the input's fault for everyone else.
func (s *pipeline) readFull(p []byte) (n int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the decoder gave up: %v", r)
		}
	}()
	for n < len(p) && err == nil {
		select {
		case <-s.stop:
			return n, blockstore.ErrClosed
		default:
		}
		var m int
		m, err = s.dec.Read(p[n:])
		n += m
	}
	return n, err
}

// allZero compares against a block that nobody writes to, at memory speed.
func allZero(p []byte) bool {
	return len(p) == 0 || p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}
