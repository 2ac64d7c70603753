package nbd

// BLOCK_STATUS. The reply is one chunk for each context that the client chose,
// the last with DONE:
//
//	chunk header (20), context id u32, then {length u32, value u32} …
//
// Fewer runs than asked for are a legal answer; the client asks again from
// where they end. proto: Block status chunk.

const (
	statusHeader  = chunkSize + 4
	statusRunSize = 8
	// maxRuns bounds the runs of one chunk, and so the time and the memory
	// that one request takes: a buffer of 32 KiB for each context.
	maxRuns = (32<<10 - statusHeader) / statusRunSize
)

// runList gathers the runs of one context, joining neighbours of the same value.
type runList struct {
	p     []byte // ends after the last run
	limit int    // runs at most
}

// add appends a run; false means that it does not fit.
func (l *runList) add(length int64, value uint32) bool {
	if n := len(l.p); n > statusHeader && be.Uint32(l.p[n-4:]) == value {
		last := l.p[n-statusRunSize:]
		be.PutUint32(last, be.Uint32(last)+uint32(length))
		return true
	}
	if (len(l.p)-statusHeader)/statusRunSize == l.limit {
		return false
	}
	l.p = be.AppendUint32(l.p, uint32(length))
	l.p = be.AppendUint32(l.p, value)
	return true
}

// runLists are those of all contexts; the ones that were not chosen have no p.
type runLists [len(metaContexts)]runList

// add appends a run to each list, until one is full.
func (ls *runLists) add(length int64, zero, own bool) bool {
	values := [...]uint32{allocation(zero), depth(zero, own)}
	for i := range ls {
		if ls[i].p != nil && !ls[i].add(length, values[i]) {
			return false
		}
	}
	return true
}

// empty reports whether a context has no run yet.
func (ls *runLists) empty() bool {
	for i := range ls {
		if len(ls[i].p) == statusHeader {
			return true
		}
	}
	return false
}

// blockStatus makes j.buf with the whole reply. Each context's runs are gathered
// in a part of the buffer of its own, and then moved together.
func (c *conn) blockStatus(j *job) error {
	j.buf = c.srv.buffers.reply(c.statusRoom(j.request))
	part := chunkRoom(j.request)
	var runs runLists
	at := 0
	for i, m := range &metaContexts {
		if c.contexts&m.set != 0 {
			runs[i] = runList{p: j.buf.b[at : at+statusHeader : at+part], limit: (part - statusHeader) / statusRunSize}
			at += part
		}
	}
	if err := c.collect(j.request, &runs); err != nil {
		return err
	}
	c.shrink(j, putStatus(j, &runs))
	return nil
}

// putStatus makes chunks of the lists, one after the other from the start of the
// buffer, and returns where the last one ends.
func putStatus(j *job, runs *runLists) (end int) {
	last := 0
	for i, l := range runs {
		if l.p == nil {
			continue
		}
		last = end
		n := copy(j.buf.b[end:], l.p)
		putChunk(j.buf.b[end:], 0, chunkBlockStatus, j.cookie, uint32(n-chunkSize))
		be.PutUint32(j.buf.b[end+chunkSize:], metaContexts[i].id)
		end += n
	}
	be.PutUint16(j.buf.b[last+4:], chunkFlagDone)
	return end
}

// chunkRoom is how long the chunk of one context may become, and statusRoom
// the reply.
func chunkRoom(r request) int {
	if r.flags&cmdFlagReqOne != 0 {
		return statusHeader + statusRunSize
	}
	return statusHeader + maxRuns*statusRunSize
}

func (c *conn) statusRoom(r request) int { return c.contexts.count() * chunkRoom(r) }

// shrink moves the first n bytes of the job's buffer to one that is no larger
// than need be: the client may take its time with the reply.
func (c *conn) shrink(j *job, n int) {
	cost := costOf(n)
	if cost == j.cost {
		return
	}
	small := c.srv.buffers.reply(n)
	copy(small.b, j.buf.b[:n])
	c.free(j.buf, j.cost-cost)
	j.buf, j.cost = small, cost
}

// collect asks the device. Runs are cut at the requested range, so that no
// length can overflow.
func (c *conn) collect(r request, runs *runLists) error {
	left := int64(r.length)
	err := c.dev.Extents(c.ctx, int64(r.offset), left, func(length int64, zero, own bool) bool {
		length = min(length, left)
		if length <= 0 {
			return left > 0
		}
		if !runs.add(length, zero, own) {
			return false
		}
		left -= length
		return left > 0
	})
	if err == nil && runs.empty() {
		// At least one run is due. "May be data", of its own, is always true.
		runs.add(int64(r.length), false, true)
	}
	return err
}

// statusLength is the length of the reply that blockStatus left in b.
func statusLength(b *buffer) (n int) {
	for {
		flags, payload := be.Uint16(b.b[n+4:]), int(be.Uint32(b.b[n+16:]))
		if n += chunkSize + payload; flags&chunkFlagDone != 0 {
			return n
		}
	}
}
