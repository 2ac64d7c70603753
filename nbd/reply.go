package nbd

import (
	"sync"
	"sync/atomic"
	"time"
)

// Replies of a connection meet in a replyQueue. To write them is the business
// of whoever calls flush and finds nobody writing; it goes on while others
// append. So under load one system call carries many replies, and without
// load a reply leaves at once.
//
//	idle --flush--> writing --queue empty--> idle
//	                   |  socket full, may not wait
//	                   +--> owed: the caller sees to it that pump is called
//
// The queue counts the requests in flight: one is reserved before its payload
// is read and let go when its reply has left (or was thrown away, because the
// connection broke). The bytes of buffers are counted in the account, until
// the buffer is free again.

// maxPerWrite is about how many bytes one write takes from the queue, so that
// memory is let go in between.
const maxPerWrite = 1 << 20

// segment is a piece of memory to write, and what becomes free then.
type segment struct {
	buf  *buffer
	n    int   // bytes of buf to write
	reqs int   // requests that this answers
	cost int64 // what buf was charged with
	pipe *pipe // has the data that follows buf; or nil
}

// size is how many bytes are to be written.
func (s *segment) size() int {
	if s.pipe != nil {
		return s.n + s.pipe.held
	}
	return s.n
}

// replyQueue holds the replies of one connection.
type replyQueue struct {
	out     output
	pool    *bufferPool
	account *account
	maxReqs int
	// broke is called once, without locks, when writing failed.
	broke func(error)
	sent  atomic.Int64 // bytes written
	// patience, in nanoseconds, bounds each write once reading has ended; 0
	// is no bound. How long the device takes between two does not matter.
	patience atomic.Int64

	mu struct {
		sync.Mutex
		segs    []segment
		small   bool // the last of segs takes more small replies
		writing bool // somebody owns taken
		broken  error
		reqs    int
	}
	// room is signalled when something in flight ended. It is on mu.
	room *sync.Cond

	// taken belongs to whoever set writing.
	taken []segment
}

// tryReserve counts a request as in flight if there are not too many.
func (q *replyQueue) tryReserve() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.reserveLocked()
}

// reserve is tryReserve that waits.
func (q *replyQueue) reserve() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.reserveLocked() {
		q.room.Wait()
	}
}

func (q *replyQueue) reserveLocked() bool {
	if q.mu.reqs >= q.maxReqs {
		return false
	}
	q.mu.reqs++
	return true
}

// unreserve lets go of a request that will not be answered.
func (q *replyQueue) unreserve() {
	q.mu.Lock()
	q.mu.reqs--
	q.mu.Unlock()
	q.room.Broadcast()
}

// waitIdle waits until nothing is in flight.
func (q *replyQueue) waitIdle() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.mu.reqs > 0 {
		q.room.Wait()
	}
}

// inFlight returns how many requests are.
func (q *replyQueue) inFlight() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.reqs
}

// err returns why replies can no longer be written, or nil.
func (q *replyQueue) err() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.broken
}

// append queues s, which the queue owns from now on.
func (q *replyQueue) append(s segment) {
	q.mu.Lock()
	q.mu.segs = append(q.mu.segs, s)
	q.mu.small = false
	q.mu.Unlock()
}

// appendSmall queues a copy of a short reply to one request.
func (q *replyQueue) appendSmall(p []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.lastSmallLocked(len(p)); s != nil {
		s.n += copy(s.buf.b[s.n:], p)
		s.reqs++
		return
	}
	buf := q.pool.reply(len(p))
	q.mu.segs = append(q.mu.segs, segment{buf: buf, n: copy(buf.b, p), reqs: 1})
	q.mu.small = true
}

func (q *replyQueue) lastSmallLocked(n int) *segment {
	if !q.mu.small || len(q.mu.segs) == 0 {
		return nil
	}
	s := &q.mu.segs[len(q.mu.segs)-1]
	if len(s.buf.b)-s.n < n {
		return nil
	}
	return s
}

// flush writes what is queued, unless somebody does already. With wait false
// it stops when the peer takes no more; owed then tells the caller to have
// pump(true) called by a goroutine that may wait.
func (q *replyQueue) flush(wait bool) (owed bool) {
	return q.claim() && q.pump(wait)
}

// claim makes the caller the one who writes, if there is something to write
// and nobody does. It then owes a call of pump.
func (q *replyQueue) claim() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.writing || len(q.mu.segs) == 0 {
		return false
	}
	q.mu.writing = true
	return true
}

// pump writes until the queue is empty. Only who set writing, or was left it
// as owed, calls it.
func (q *replyQueue) pump(wait bool) (owed bool) {
	for len(q.taken) > 0 || q.take() {
		if p := q.patience.Load(); p > 0 {
			_ = q.out.nc.SetWriteDeadline(time.Now().Add(time.Duration(p)))
		}
		n, err := q.out.write(q.taken, wait)
		q.sent.Add(int64(n))
		if err == errWouldBlock {
			return true
		}
		if err != nil {
			q.fail(err)
		}
		q.letGo()
	}
	return false
}

// take moves about maxPerWrite bytes to taken. When there is nothing it ends
// the writing and returns false. A broken connection's replies are let go.
func (q *replyQueue) take() bool {
	q.mu.Lock()
	n, size := 0, 0
	for n < len(q.mu.segs) && n < maxVector && size < maxPerWrite {
		size += q.mu.segs[n].size()
		n++
	}
	q.taken = append(q.taken[:0], q.mu.segs[:n]...)
	rest := copy(q.mu.segs, q.mu.segs[n:])
	clear(q.mu.segs[rest:])
	q.mu.segs = q.mu.segs[:rest]
	if n == 0 {
		q.mu.writing = false
	}
	broken := q.mu.broken
	q.mu.Unlock()

	if n > 0 && broken != nil {
		q.letGo()
		return q.take()
	}
	return n > 0
}

// fail marks the connection as broken.
func (q *replyQueue) fail(err error) {
	q.mu.Lock()
	first := q.mu.broken == nil
	if first {
		q.mu.broken = err
	}
	q.mu.Unlock()
	if first {
		q.broke(err)
	}
}

// letGo frees what was taken.
func (q *replyQueue) letGo() {
	var reqs int
	var cost int64
	for i := range q.taken {
		s := &q.taken[i]
		reqs += s.reqs
		cost += s.cost
		s.buf.release()
		s.pipe.release()
		*s = segment{}
	}
	q.taken = q.taken[:0]

	if cost > 0 {
		q.account.release(cost)
	}
	q.mu.Lock()
	q.mu.reqs -= reqs
	q.mu.Unlock()
	q.room.Broadcast()
}
