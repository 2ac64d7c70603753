package nbd

// Replies are built here. proto: Simple reply message, Structured reply chunk
// message. With structured replies negotiated READ and BLOCK_STATUS are
// answered by chunks, and so is every error, for its message.

// putReadHeader writes the header before READ data at the start of p. The one
// chunk covers the whole range and is the last: data in memory cannot fail
// any more, which also satisfies DF.
func (c *conn) putReadHeader(p []byte, r request) {
	if !c.structured {
		putSimple(p, r.cookie, 0)
		return
	}
	putChunk(p, chunkFlagDone, chunkOffsetData, r.cookie, r.length+8)
	be.PutUint64(p[chunkSize:], r.offset)
}

// replyRead queues the data that a worker read.
func (c *conn) replyRead(j *job) {
	c.putReadHeader(j.buf.b, j.request)
	c.replyBuffer(j, c.readHeader+int(j.length))
}

// replyBuffer queues the first n bytes of the job's buffer.
func (c *conn) replyBuffer(j *job, n int) {
	c.replies.append(segment{buf: j.buf, n: n, reqs: 1, cost: j.cost})
}

// replyDone answers a request that succeeded and returns nothing.
func (c *conn) replyDone(r request) {
	if c.structured && r.kind == cmdRead {
		var p [chunkSize]byte
		putChunk(p[:], chunkFlagDone, chunkNone, r.cookie, 0)
		c.replies.appendSmall(p[:])
		return
	}
	var p [simpleSize]byte
	putSimple(p[:], r.cookie, 0)
	c.replies.appendSmall(p[:])
}

// replyError answers a request that failed.
func (c *conn) replyError(r request, e *wireError) {
	c.counters.errors.Add(1)
	if !c.structured {
		var p [simpleSize]byte
		putSimple(p[:], r.cookie, e.errno)
		c.replies.appendSmall(p[:])
		return
	}
	p := make([]byte, chunkSize, chunkSize+6+len(e.msg))
	putChunk(p, chunkFlagDone, chunkError, r.cookie, uint32(6+len(e.msg)))
	p = be.AppendUint32(p, e.errno)
	p = be.AppendUint16(p, uint16(len(e.msg)))
	c.replies.appendSmall(append(p, e.msg...))
}
