package nbd

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// The reader's side of transmission. It does not wait for the peer to take
// replies, nor for a disk (short WRITEs aside: takeover.go); it waits for
// requests, for a WRITE's payload, and, over the limits, for others to be
// answered.

const (
	// maxInline is the longest READ, in bytes, that the reader answers itself
	// from memory, and the size of its batch of replies.
	maxInline = 256 << 10
	// maxBatch is how many replies the reader gathers before it sends them: a
	// client with a full queue works on these while the reader does the next.
	maxBatch = 8
	// maxDrain is the longest payload of an oversize WRITE, in bytes, that is
	// read and refused; beyond, the connection is closed.
	maxDrain = 64 << 20
)

// Ends of transmission that are no failures.
var (
	errDisconnect = errors.New("the client disconnected")
	errDraining   = errors.New("the server is shutting down")
)

// Answers that need no device. Some stand for more than one mistake.
var (
	refuseReadOnly   = &wireError{errnoPerm, "the export is read-only"}
	refuseUnknown    = &wireError{errnoInval, "unknown command"}
	refuseFlags      = &wireError{errnoInval, "a command flag is unknown, does not belong to this command, or was not advertised"}
	refuseTooLong    = &wireError{errnoInval, "the payload is longer than 32 MiB; split the request"}
	refuseBeyond     = &wireError{errnoInval, "the range ends past the end of the export"}
	refuseBeyondFull = &wireError{errnoNoSpace, "the range ends past the end of the export"}
	refuseNoContext  = &wireError{errnoInval, "no meta context was selected for this export"}
	refuseEmpty      = &wireError{errnoInval, "the length is zero"}
	refuseFastPart   = &wireError{errnoNotSup, "zeroing a part of a block would not be fast"}
	refuseFastNoHole = &wireError{errnoNotSup, "zeroing without making a hole would not be fast"}
)

// transmit handles requests until the client ends, the server drains, or
// something breaks. It always returns an error that says which.
func (c *conn) transmit() error {
	err := c.handleRequests()
	if err != errReplaced {
		c.noteEnd(err)
	}
	return err
}

func (c *conn) handleRequests() error {
	for {
		r, err := c.nextRequest()
		if err != nil {
			return err
		}
		if r.kind == cmdDisc {
			return errDisconnect
		}
		if err := c.dispatch(r); err != nil {
			return err
		}
	}
}

// nextRequest returns the next header. What is buffered is taken without a
// system call; before waiting for more, the replies to it are sent.
func (c *conn) nextRequest() (request, error) {
	if c.in.buffered() < requestSize {
		c.flushBatch()
		if err := c.awaitRequest(); err != nil {
			return request{}, c.readError(err)
		}
	}
	r, ok := parseRequest(c.in.take(requestSize))
	if !ok {
		return r, errors.New("bad magic in a request")
	}
	return r, nil
}

// awaitRequest waits for a whole header. There is no idle timeout: a deadline
// left over from a payload is lifted.
func (c *conn) awaitRequest() error {
	for {
		if c.draining.Load() {
			return errDraining
		}
		err := c.in.fill(requestSize)
		c.arrived = c.srv.clock()
		if !errors.Is(err, os.ErrDeadlineExceeded) || c.payloadDeadline.IsZero() {
			return err
		}
		if err := c.setReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
}

// setReadDeadline sets the reader's own deadline, unless the connection is to
// end: that has set one in the past, or is about to.
func (c *conn) setReadDeadline(at time.Time) error {
	c.payloadDeadline = at
	if err := c.sock.SetReadDeadline(at); err != nil {
		return err
	}
	if c.draining.Load() {
		return errDraining
	}
	return c.ctx.Err()
}

// readError tells a read that Shutdown, or a failed write of replies, ended
// from one that failed by itself.
func (c *conn) readError(err error) error {
	if c.draining.Load() {
		return errDraining
	}
	if broken := c.replies.err(); broken != nil {
		return fmt.Errorf("writing replies: %w", broken)
	}
	return err
}

func (c *conn) dispatch(r request) error {
	if r.kind == cmdWrite {
		return c.takeWrite(r)
	}
	if refusal := c.check(r); refusal != nil {
		return c.refuse(r, refusal)
	}
	if r.kind == cmdRead {
		return c.takeRead(r)
	}
	c.reserve()
	if r.length == 0 && r.kind != cmdFlush {
		c.replyDone(r)
		return nil
	}
	if modifies(r.kind) && !c.beginModifying() {
		c.replies.unreserve()
		return errLeft
	}
	j := job{request: r, at: c.arrived}
	if r.kind == cmdBlockStatus {
		j.cost = costOf(c.statusRoom(r))
		if err := c.charge(j.cost); err != nil {
			c.replies.unreserve()
			return err
		}
	}
	c.submit(j)
	return nil
}

// refuse answers a request that reaches no device.
func (c *conn) refuse(r request, refusal *wireError) error {
	c.reserve()
	c.replyError(r, refusal)
	return nil
}

// takeRead answers from memory if that works, and else asks a worker.
func (c *conn) takeRead(r request) error {
	c.reserve()
	n := int(r.length)
	if n == 0 {
		c.replyDone(r)
		return nil
	}
	cost := costOf(n)
	if c.splicer != nil && n >= minSplice && n <= maxInline && c.readSpliced(r) {
		return nil
	}
	if n <= maxInline {
		if ok, err := c.readInline(r); ok || err != nil {
			return err
		}
	}
	if err := c.charge(cost); err != nil {
		c.replies.unreserve()
		return err
	}
	c.submit(job{request: r, cost: cost, at: c.arrived, buf: c.srv.buffers.reply(n)})
	return nil
}

// readInline adds the reply to the batch if the data is in memory.
func (c *conn) readInline(r request) (ok bool, err error) {
	p, err := c.batchRoom(c.readHeader + int(r.length))
	if err != nil {
		c.replies.unreserve()
		return false, err
	}
	if !c.dev.TryReadAt(p[c.readHeader:], int64(r.offset)) {
		return false, nil
	}
	c.putReadHeader(p, r)
	c.batch.n += len(p)
	c.batchBytes += int64(r.length)
	if c.batch.reqs++; c.batch.reqs == maxBatch {
		c.flushBatch()
	}
	return true, nil
}

// batchRoom returns n bytes at the end of the batch, n <= maxInline + reply
// header, sending the batch first if it has not as many.
func (c *conn) batchRoom(n int) ([]byte, error) {
	if c.batch.buf != nil && len(c.batch.buf.b)-c.batch.n < n {
		c.flushBatch()
	}
	if c.batch.buf == nil {
		if err := c.newBatch(n); err != nil {
			return nil, err
		}
	}
	return c.batch.buf.b[c.batch.n : c.batch.n+n], nil
}

// newBatch gets a buffer for as much as the requests at hand may need, if that
// needs no waiting, or else for the one reply of n bytes.
func (c *conn) newBatch(n int) error {
	n = min(n, maxInline) // there is room for a header beyond
	size := min(maxInline, n*(1+c.in.buffered()/requestSize))
	if !c.account.try(costOf(size)) {
		size = n
		if err := c.charge(costOf(size)); err != nil {
			return err
		}
	}
	c.batch.buf, c.batch.cost = c.srv.buffers.reply(size), costOf(size)
	return nil
}

// flushBatch sends what the reader has answered itself, without waiting: if
// the socket is full a goroutine of its own does the rest.
func (c *conn) flushBatch() {
	if c.batch.n > 0 {
		c.counters.took(sortRead, int64(c.batch.reqs), c.batchBytes, c.srv.clock()-c.arrived)
		c.batchBytes = 0
		c.replies.append(c.batch)
	} else if c.batch.buf != nil {
		c.free(c.batch.buf, c.batch.cost)
	}
	c.batch = segment{}
	c.tryFlush()
}

// tryFlush writes what the socket takes and leaves the rest to a goroutine.
func (c *conn) tryFlush() {
	if c.replies.flush(false) {
		c.wg.Add(1)
		go c.pumpFn()
	}
}

// pumpRest writes what somebody claimed and may not wait for.
func (c *conn) pumpRest() {
	defer c.wg.Done()
	c.replies.pump(true)
}

// reserve counts a request as in flight, first waiting if there are too many.
// What could end the waiting is sent before.
func (c *conn) reserve() {
	if c.replies.tryReserve() {
		return
	}
	c.flushBatch()
	c.reading.Store(false)
	c.replies.reserve()
	c.readOnAfterWait()
}

// charge takes bytes of the budget, likewise.
func (c *conn) charge(cost int64) error {
	if c.account.try(cost) {
		return nil
	}
	c.flushBatch()
	c.reading.Store(false)
	defer c.readOnAfterWait()
	return c.account.acquire(c.ctx, cost)
}

// free gives back a buffer and what it was charged with.
func (c *conn) free(buf *buffer, cost int64) {
	buf.release()
	if cost > 0 {
		c.account.release(cost)
	}
}

// readOnAfterWait looks whether the peer has left meanwhile: then what is to
// be read may be old.
func (c *conn) readOnAfterWait() {
	if c.leaving() {
		c.peer.CompareAndSwap(peerThere, peerGone)
	}
	c.reading.Store(true)
}

// takeWrite reads the payload, whatever is to be answered: the next request
// begins after it.
func (c *conn) takeWrite(r request) error {
	if r.length > maxPayload {
		return c.refuseOversize(r)
	}
	if err := c.awaitStalls(); err != nil {
		return err
	}
	c.reserve()
	j, err := c.takePayload(r)
	if err != nil {
		c.replies.unreserve()
		return c.readError(err)
	}
	if refusal := c.check(r); refusal != nil || r.length == 0 {
		c.free(j.buf, j.cost)
		if refusal != nil {
			c.replyError(r, refusal)
		} else {
			c.replyDone(r)
		}
		return nil
	}
	j.at = c.srv.clock()
	if !c.beginModifying() {
		c.drop(&j)
		return errLeft
	}
	if ok, err := c.writeInline(&j); ok {
		return err
	}
	c.submit(j)
	return nil
}

// takePayload returns r with its payload. A long one gets its memory only once
// the start of it is there: a header alone holds no more than smallRequest.
// That start is charged no longer while it waits for the rest of the memory,
// or those who wait could keep each other waiting.
func (c *conn) takePayload(r request) (job, error) {
	n := int(r.length)
	j, err := c.fillPayload(r, min(n, smallRequest), nil)
	if err != nil || n <= smallRequest {
		return j, err
	}
	start := j
	c.account.release(j.cost)
	j, err = c.fillPayload(r, n, start.payload(smallRequest))
	start.buf.release()
	return j, err
}

// fillPayload gets memory for n bytes of the payload, of which the first are
// there, and reads the others.
func (c *conn) fillPayload(r request, n int, first []byte) (job, error) {
	room := r.lead(n) + n
	j := job{request: r, cost: costOf(room)}
	if err := c.charge(j.cost); err != nil {
		return j, err
	}
	j.buf = c.srv.buffers.payload(room)
	p := j.payload(n)
	if err := c.readPayload(p[copy(p, first):]); err != nil {
		c.free(j.buf, j.cost)
		return j, err
	}
	return j, nil
}

// readPayload reads a payload. One that does not come holds memory that
// others may wait for, so it has a deadline. To set it costs as much as a
// short write: it is set for several payloads at once.
func (c *conn) readPayload(p []byte) error {
	if err := c.awaitPayload(len(p)); err != nil {
		return err
	}
	return c.in.full(p)
}

// awaitPayload gets ready to read n bytes of a payload.
func (c *conn) awaitPayload(n int) error {
	if c.in.buffered() >= n {
		return nil
	}
	c.flushBatch()
	timeout, now := c.srv.o.PayloadTimeout, time.Now()
	if !c.payloadDeadline.Before(now.Add(timeout)) {
		return nil
	}
	return c.setReadDeadline(now.Add(timeout + timeout/4))
}

func (c *conn) refuseOversize(r request) error {
	if r.length > maxDrain {
		return fmt.Errorf("WRITE of %d bytes, at most %d are accepted", r.length, maxPayload)
	}
	if err := c.awaitPayload(int(r.length)); err != nil {
		return c.readError(err)
	}
	if err := c.in.discard(int64(r.length)); err != nil {
		return c.readError(err)
	}
	return c.refuse(r, refuseTooLong)
}

// submit hands j to a worker.
func (c *conn) submit(j job) {
	if c.jobs.push(j) {
		c.startWorker()
	}
}
