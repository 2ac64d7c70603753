package nbd

// work is a worker's life: jobs until there are none.
func (c *conn) work() {
	defer c.wg.Done()
	var j job
	for c.jobs.pop(&j) {
		c.run(&j)
		// A worker waits here if the peer takes no replies, holding none of
		// the server's I/O slots.
		c.replies.flush(true)
	}
}

// run does one job and queues its reply. The slot bounds the threads that
// wait for disks over the whole server.
func (c *conn) run(j *job) {
	c.srv.slots <- struct{}{}
	err := c.perform(j)
	<-c.srv.slots

	if err != nil {
		c.srv.buffers.put(j.buf)
		c.replyError(j.request, j.cost, c.deviceError(j.request, err))
		return
	}
	switch j.kind {
	case cmdRead:
		c.replyRead(j)
	case cmdBlockStatus:
		c.replyBuffer(j, c.statusLength(j.buf))
	default:
		c.srv.buffers.put(j.buf)
		c.replyDone(j.request, j.cost)
	}
}

// perform calls the device. Limits were checked by the reader.
func (c *conn) perform(j *job) error {
	if err := c.ctx.Err(); err != nil {
		return err // the connection is dead: nobody waits for this
	}
	off, length := int64(j.offset), int64(j.length)
	fua := j.flags&cmdFlagFUA != 0
	switch j.kind {
	case cmdRead:
		return c.dev.ReadAt(c.ctx, j.buf.b[c.readHeader:c.readHeader+int(length)], off)
	case cmdWrite:
		return c.dev.WriteAt(c.ctx, j.buf.b[:length], off, fua)
	case cmdFlush:
		return c.dev.Flush(c.ctx)
	case cmdTrim:
		return c.dev.Trim(c.ctx, off, length, fua)
	case cmdCache:
		return c.dev.Prefetch(c.ctx, off, length)
	case cmdWriteZeroes:
		return c.dev.WriteZeroes(c.ctx, off, length, j.flags&cmdFlagNoHole != 0, fua)
	case cmdBlockStatus:
		return c.blockStatus(j)
	}
	return refuseUnknown
}
