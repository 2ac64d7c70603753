package nbd

// BLOCK_STATUS for base:allocation. The reply is one chunk:
//
//	chunk header (20), context id u32, then {length u32, state u32} …
//
// Fewer runs than asked for are a legal answer; the client asks again from
// where they end. proto: Block status chunk, "base:allocation".

const (
	statusHeader  = chunkSize + 4
	statusRunSize = 8
	// maxRuns bounds the runs of one answer, and so the time and the memory
	// that one request takes: a buffer of 32 KiB.
	maxRuns = (32<<10 - statusHeader) / statusRunSize
)

// runList gathers runs, joining neighbours of the same state.
type runList struct {
	p     []byte // ends after the last run
	start int    // where the first run begins
	limit int    // runs at most
}

// add appends a run; false means that it does not fit.
func (l *runList) add(length int64, state uint32) bool {
	if n := len(l.p); n > l.start && be.Uint32(l.p[n-4:]) == state {
		last := l.p[n-statusRunSize:]
		be.PutUint32(last, be.Uint32(last)+uint32(length))
		return true
	}
	if (len(l.p)-l.start)/statusRunSize == l.limit {
		return false
	}
	l.p = be.AppendUint32(l.p, uint32(length))
	l.p = be.AppendUint32(l.p, state)
	return true
}

// blockStatus makes j.buf with the whole reply.
func (c *conn) blockStatus(j *job) error {
	room := statusRoom(j.request)
	j.buf = c.srv.buffers.get(room)
	runs := runList{p: j.buf.b[:statusHeader], start: statusHeader, limit: (room - statusHeader) / statusRunSize}
	if err := c.collect(j.request, &runs); err != nil {
		return err
	}
	c.shrink(j, len(runs.p))
	payload := uint32(len(runs.p) - chunkSize)
	putChunk(j.buf.b, chunkFlagDone, chunkBlockStatus, j.cookie, payload)
	be.PutUint32(j.buf.b[chunkSize:], contextID)
	return nil
}

// statusRoom is how long the reply may become.
func statusRoom(r request) int {
	if r.flags&cmdFlagReqOne != 0 {
		return statusHeader + statusRunSize
	}
	return statusHeader + maxRuns*statusRunSize
}

// shrink moves the first n bytes of the job's buffer to one that is no larger
// than need be: the client may take its time with the reply.
func (c *conn) shrink(j *job, n int) {
	cost := costOf(n)
	if cost == j.cost {
		return
	}
	small := c.srv.buffers.get(n)
	copy(small.b, j.buf.b[:n])
	c.free(j.buf, j.cost-cost)
	j.buf, j.cost = small, cost
}

// collect asks the device. Runs are cut at the requested range, so that no
// length can overflow.
func (c *conn) collect(r request, runs *runList) error {
	left := int64(r.length)
	err := c.dev.Extents(c.ctx, int64(r.offset), left, func(length int64, zero, _ bool) bool {
		length = min(length, left)
		if length <= 0 {
			return left > 0
		}
		if !runs.add(length, state(zero)) {
			return false
		}
		left -= length
		return left > 0
	})
	if err == nil && len(runs.p) == runs.start {
		// At least one run is due. State 0, "may be data", is always true.
		runs.add(int64(r.length), 0)
	}
	return err
}

// state never promises that a write cannot run out of space (HOLE clear on a
// zero run): blocks come from a pool that all share.
func state(zero bool) uint32 {
	if zero {
		return stateHole | stateZero
	}
	return 0
}

// statusLength is the length of the reply that blockStatus left in b.
func (c *conn) statusLength(b *buffer) int {
	return chunkSize + int(be.Uint32(b.b[16:]))
}
