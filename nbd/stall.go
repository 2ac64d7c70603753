package nbd

import (
	"context"
	"errors"
	"time"
)

// A device may have no room for a write and wait for some, a minute perhaps
// (Options.OnStall). Such a write stalls: it holds its data and its place
// among the connection's requests, but neither a slot nor a worker, so that
// everything else goes on.
//
//	running --the device calls stalled--> stalled --resume--> running
//	            slot and worker let go       |     waits for a slot again
//	                                         +--endStalls: the write fails and
//	                                            is not answered
//
// Stalls end when the connection's requests do, whatever ended them. A client
// that sees the connection close without an answer sends the write again on
// the next one; an error it would take as the disk's.

// errAbandoned is what ends a stalled write that shall not be answered.
var errAbandoned = errors.New("nbd: the connection ends while the write waits for room")

// stalls is what a connection knows of its stalled writes.
type stalls struct {
	// wait ends when no write shall wait any more; end ends it.
	wait context.Context
	end  context.CancelCauseFunc
	// For device calls by workers, by workers with a long slot, and by the
	// reader.
	worker, long, inline context.Context
}

func (c *conn) initStalls() {
	s := &c.stalls
	s.wait, s.end = context.WithCancelCause(c.ctx)
	s.worker, s.long, s.inline = c.ctx, c.ctx, c.ctx
	if on := c.srv.o.OnStall; on != nil {
		s.worker = on(c.ctx, func() (context.Context, func()) { return c.stalled(true, false) })
		s.long = on(c.ctx, func() (context.Context, func()) { return c.stalled(true, true) })
		s.inline = on(c.ctx, func() (context.Context, func()) { return c.stalled(false, false) })
	}
}

// endStalls ends the stalled writes, and those to come as soon as they stall.
func (c *conn) endStalls() { c.stalls.end(errAbandoned) }

// stalled lets go what a device call holds while it waits for room. The
// reader needs nothing: another one takes over from it.
func (c *conn) stalled(worker, long bool) (wait context.Context, resume func()) {
	c.stalling.Add(1)
	<-c.srv.slots
	if long {
		c.giveLong()
	}
	if worker && c.jobs.lend() {
		c.startWorker()
	}
	return c.stalls.wait, func() {
		if worker {
			c.jobs.takeBack()
		}
		if long {
			c.takeLong()
		}
		c.srv.slots <- struct{}{}
		c.stalling.Add(-1)
	}
}

// stallPoll is how often a reader that waits for stalled writes looks again.
const stallPoll = 10 * time.Millisecond

// awaitStalls waits, before the data of another write is read, while the
// connection has stalled ones and half of all connections' bytes are in use:
// stalled writes must not take what others need.
func (c *conn) awaitStalls() error {
	for c.stalling.Load() > 0 && c.srv.budget.held() > c.srv.o.MaxBytes/2 && c.stalls.wait.Err() == nil {
		c.flushBatch()
		select {
		case <-c.stalls.wait.Done():
		case <-time.After(stallPoll):
		}
	}
	return c.ctx.Err()
}
