package nbd

import (
	"errors"
	"sync/atomic"
	"time"
)

// Most WRITEs end in a copy to the page cache. To hand each to a worker costs
// more than the write, so the reader does short ones itself. But a write can
// also stall: then another goroutine becomes the reader within two periods of
// a timer, and the stalled one ends as a worker would.
//
//	turn even              nobody writes on the reader
//	turn odd, in begin     the reader writes; end makes it even again
//	turn odd, two ticks    the timer makes it even and starts a new reader;
//	                       end then finds another value and knows
//
// The timer runs only while writes come, a thousand times a second at most.
// What the reader owns (conn.in, conn.batch, counts) passes on through turn.
const (
	takeoverPeriod = time.Millisecond
	// slowWrite is what writes may take before the next ones go to workers,
	// which do several at once; slowRest is how many go.
	slowWrite = 400 * time.Microsecond
	slowRest  = 64
)

// errReplaced ends a reader that another one has replaced.
var errReplaced = errors.New("another goroutine reads now")

// readerRole decides who is the reader of a connection.
type readerRole struct {
	turn  atomic.Uint64
	armed atomic.Bool // the timer is running
	timer *time.Timer
	seen  uint64 // turn at the last tick; the timer's

	// The reader's:
	slow int // slow writes in a row
	rest int // writes that still go to workers
}

// begin says that the reader starts a write.
func (r *readerRole) begin() (turn uint64) {
	turn = r.turn.Add(1)
	if !r.armed.Load() {
		r.armed.Store(true)
		r.timer.Reset(takeoverPeriod)
	}
	return turn
}

// end reports whether the caller is still the reader.
func (r *readerRole) end(turn uint64) bool { return r.turn.CompareAndSwap(turn, turn+1) }

// judge has the next writes go to workers after two slow ones in a row. One
// alone may be the scheduler's doing.
func (r *readerRole) judge(took time.Duration) {
	if took <= slowWrite {
		r.slow = 0
		return
	}
	if r.slow++; r.slow == 2 {
		r.slow, r.rest = 0, slowRest
	}
}

// tick reports whether the reader has stalled and was just deposed.
func (r *readerRole) tick() bool {
	turn := r.turn.Load()
	same := turn == r.seen
	r.seen = turn
	if same && turn%2 == 0 {
		r.armed.Store(false)
		if r.turn.Load() == turn || r.armed.Swap(true) {
			return false
		}
	}
	deposed := same && turn%2 == 1 && r.turn.CompareAndSwap(turn, turn+1)
	r.timer.Reset(takeoverPeriod)
	return deposed
}

// superviseReader is called by the timer.
func (c *conn) superviseReader() {
	if c.role.tick() {
		c.wg.Add(1) // the deposed reader keeps finish from waiting already
		go c.readOn()
	}
}

// readOn is the life of a reader that took over.
func (c *conn) readOn() {
	defer c.wg.Done()
	c.role.rest = slowRest
	if err := c.transmit(); err != errReplaced {
		c.endStalls() // the reader that was replaced may be in one
		c.ended <- err
	}
}

// writeInline does a write on the reader if it is likely to be quick. With
// ok false a worker shall do it. After errReplaced the caller must not touch
// what the reader owns.
func (c *conn) writeInline(j *job) (ok bool, err error) {
	if j.flags&cmdFlagFUA != 0 || j.length > maxInline {
		return false, nil
	}
	if c.role.rest > 0 {
		c.role.rest--
		return false, nil
	}
	select {
	case c.srv.slots <- struct{}{}:
	default:
		return false, nil
	}
	start := time.Now()
	turn := c.role.begin()
	c.runSlotted(c.stalls.inline, j)
	if !c.role.end(turn) {
		// Not a wait: serve may be the caller, and has to see how it ends.
		c.tryFlush()
		return true, errReplaced
	}
	c.role.judge(time.Since(start))
	return true, nil
}
