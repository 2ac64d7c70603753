package nbd

import (
	"context"
	"errors"
)

// work is a worker's life: jobs until there are none.
func (c *conn) work() {
	defer c.wg.Done()
	var j job
	for first := true; ; first = false {
		ok, start := c.jobs.pop(&j, first)
		if !ok {
			return
		}
		if start {
			c.startWorker()
		}
		c.run(&j)
		c.sendReplies()
	}
}

func (c *conn) startWorker() {
	c.wg.Add(1)
	c.srv.crew.send(c)
}

// sendReplies has the replies so far written. With more jobs waiting another
// goroutine does it: by the time it runs there may be more replies, and this
// one must not keep a reply back over a job that may be slow. A worker that
// waits for the peer to take replies holds none of the server's I/O slots.
func (c *conn) sendReplies() {
	if !c.jobs.waiting() {
		c.replies.flush(true)
		return
	}
	if c.replies.claim() {
		c.wg.Add(1)
		go c.pumpFn()
	}
}

// run does one job and queues its reply. The slot bounds the threads that
// wait for disks over the whole server.
func (c *conn) run(j *job) {
	ctx := c.stalls.worker
	if mayBeLong(j) {
		c.takeLong()
		defer c.giveLong()
		ctx = c.stalls.long
	}
	c.srv.slots <- struct{}{}
	if modifies(j.kind) && !c.mayModify() {
		<-c.srv.slots
		c.modifying.Add(-1)
		c.drop(j)
		return
	}
	c.runSlotted(ctx, j)
}

// takeLong waits until the export may have another long call, and the server.
func (c *conn) takeLong() {
	c.long <- struct{}{}
	c.srv.longSlots <- struct{}{}
}

func (c *conn) giveLong() {
	<-c.srv.longSlots
	<-c.long
}

// mayBeLong says of which device calls one export may have half of all, and
// all exports three quarters: those that wait for the disk itself, or for
// up to 4 GiB in one request. So the reads of others go on, and mostly their
// flushes too.
func mayBeLong(j *job) bool {
	switch j.kind {
	case cmdFlush, cmdTrim, cmdCache, cmdWriteZeroes:
		return true
	}
	return j.kind == cmdWrite && j.flags&cmdFlagFUA != 0
}

// runSlotted is run for who has a slot; it gives the slot back.
func (c *conn) runSlotted(ctx context.Context, j *job) {
	err := c.perform(ctx, j)
	<-c.srv.slots
	if modifies(j.kind) {
		c.modifying.Add(-1)
	}

	if errors.Is(err, errAbandoned) {
		c.drop(j)
		return
	}
	c.completed(j, err)
	if err != nil {
		c.free(j.buf, j.cost)
		c.replyError(j.request, c.deviceError(j.request, err))
		return
	}
	switch j.kind {
	case cmdRead:
		c.replyRead(j)
	case cmdBlockStatus:
		c.replyBuffer(j, statusLength(j.buf))
	default:
		c.free(j.buf, j.cost)
		c.replyDone(j.request)
	}
}

// maxPrefetch is how much of one CACHE is done, in bytes. It is only a hint.
const maxPrefetch = 32 << 20

// perform calls the device. Limits were checked by the reader.
func (c *conn) perform(ctx context.Context, j *job) error {
	if err := ctx.Err(); err != nil {
		return err // the connection is dead: nobody waits for this
	}
	off, length := int64(j.offset), int64(j.length)
	fua := j.flags&cmdFlagFUA != 0
	switch j.kind {
	case cmdRead:
		return c.dev.ReadAt(ctx, j.buf.b[c.readHeader:c.readHeader+int(length)], off)
	case cmdWrite:
		return c.dev.WriteAt(ctx, j.payload(int(length)), off, fua)
	case cmdFlush:
		return c.dev.Flush(ctx)
	case cmdTrim:
		return c.dev.Trim(ctx, off, length, fua)
	case cmdCache:
		return c.dev.Prefetch(ctx, off, min(length, maxPrefetch))
	case cmdWriteZeroes:
		return c.dev.WriteZeroes(ctx, off, length, j.flags&cmdFlagNoHole != 0, fua)
	case cmdBlockStatus:
		return c.blockStatus(j)
	}
	return refuseUnknown
}
