package nbd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// finishTimeout is how long the peer has to take the last replies, those
	// of one write each time.
	finishTimeout = 30 * time.Second
	// lingerTimeout is how long a closing connection waits for the peer's
	// end of file, and lingerBytes what it reads meanwhile.
	lingerTimeout = time.Second
	lingerBytes   = 4 << 20
)

// conn is one client's connection. Its goroutines are the reader, which
// starts and ends all others, the workers, and at times one that writes.
//
//	handshake -> transmission -> finish (answer what was read) -> closed
//
// Fields without a remark are set before transmission and then only read.
type conn struct {
	srv    *Server
	from   *listener
	sock   net.Conn // what was accepted; deadlines and Close are its
	nc     net.Conn // what is spoken through: sock or, after STARTTLS, TLS on it
	remote string
	host   string // address without port, "" on a Unix socket
	log    *slog.Logger
	in     reader // the reader's

	// ctx is cancelled when the connection is dead, to end device calls that
	// nobody waits for. It is not cancelled by Shutdown.
	ctx    context.Context
	cancel context.CancelFunc
	// draining is set by Shutdown; the reader stops at the next point where
	// it would wait.
	draining atomic.Bool
	// phase guards the deadlines where drain and the handshake both set them.
	phase struct {
		sync.Mutex
		transmission bool
		cutHandshake context.CancelFunc // ends what an option waits for
	}
	// peer is what is known of the other side, one of peer…; reading says that
	// the reader is on its way to the end of what came; modifying counts the
	// modifying requests begun and not ended (leaving.go).
	peer      atomic.Int32
	reading   atomic.Bool
	modifying atomic.Int64
	hangup    hangup
	// done is closed when nothing of the connection is left.
	done chan struct{}

	// What the handshake agreed on.
	said       int64 // bytes of options so far
	fixed      bool  // the client speaks fixed newstyle
	noZeroes   bool
	encrypted  bool
	structured bool
	metaExport string // the export that SET_META_CONTEXT named
	metaChosen contextSet

	// The export. dev is nil until an option names one.
	export     string
	asked      string        // the name that opened it; a secret where there are Grants
	grant      string        // id of the grant, or ""; under Server.mu
	long       chan struct{} // use.long of the export
	dev        Device
	size       int64
	readOnly   bool
	contexts   contextSet // those that BLOCK_STATUS reports
	readHeader int        // bytes before READ data
	splicer    Splicer    // dev, if data can go to the socket without a copy; or nil

	account *account
	replies replyQueue
	jobs    jobQueue
	batch   segment // the reader's own replies, not yet queued
	role    readerRole
	ended   chan error // from a reader that took over: why transmission ended
	wg      sync.WaitGroup
	pumpFn  func() // c.pumpRest, made once so that starting it allocates nothing

	stalls          stalls
	stalling        atomic.Int64 // requests that wait for room
	payloadDeadline time.Time    // the reader's deadline; zero if there is none
	failures        atomic.Int64
	shaking         bool // counted in Server.mu.handshakes; under Server.mu
	counters        counters
	serves          atomic.Pointer[served] // set once transmission begins
	// arrived is when the reader last got something from the socket, by
	// Server.clock; batchBytes what the READs in batch returned. The reader's.
	arrived    time.Duration
	batchBytes int64
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{srv: s, sock: nc, nc: nc, log: s.o.Logger, remote: remoteName(nc), host: hostOf(nc), done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.phase.cutHandshake = func() {}
	c.account = newAccount(s.budget, s.o.MaxInFlightBytes)
	c.in.init(nc)
	c.hangup.init(c.in.raw)
	c.initStalls()
	return c
}

func remoteName(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil && a.String() != "" && a.String() != "@" {
		return a.String()
	}
	return "unix"
}

// serve is the connection's life, from greeting to close.
func (c *conn) serve() {
	defer close(c.done)
	defer func() { c.in.forget(); c.in.release() }()
	defer c.sock.Close()
	defer c.cancel()
	defer c.closeDevice()

	if err := c.negotiate(); err != nil {
		c.log.Debug("nbd: handshake ended", "remote", c.remote, "reason", err)
		c.linger()
		return
	}
	c.srv.shaken(c)
	start := time.Now()
	c.log.Info("nbd: export opened", "export", c.export, "remote", c.remote, "read_only", c.readOnly)
	c.begin()
	reason := c.transmit()
	if reason == errReplaced {
		reason = <-c.ended
	}
	c.role.timer.Stop()
	c.finish(reason)
	c.log.Info("nbd: export closed", "export", c.export, "remote", c.remote, "reason", reason,
		"requests", c.counters.requests(), "received_bytes", c.counters.sorts[sortWrite].bytes.Load(), "sent_bytes", c.replies.sent.Load(),
		"errors", c.failures.Load(), "duration", time.Since(start))
}

// begin makes ready for transmission.
func (c *conn) begin() {
	o := &c.srv.o
	c.readHeader = simpleSize
	if c.structured {
		c.readHeader = dataChunkSize
	}
	q := &c.replies
	q.out.init(c.nc)
	if q.out.raw != nil {
		c.splicer, _ = c.dev.(Splicer)
	}
	q.pool, q.account = &c.srv.buffers, c.account
	q.maxReqs = o.MaxInFlight
	q.room = sync.NewCond(&q.mu)
	q.broke = c.broke
	c.jobs.init(o.ConnectionWorkers)
	c.pumpFn = c.pumpRest
	c.ended = make(chan error, 1)
	c.role.timer = time.AfterFunc(time.Hour, c.superviseReader)
	c.role.timer.Stop()
	c.reading.Store(true)
	c.serves.Store(&served{c.export, time.Now(), c.readOnly, c.encrypted})
}

// broke is called when replies can no longer be written: it ends the device
// calls and wakes the reader.
func (c *conn) broke(error) {
	c.cancel()
	_ = c.sock.SetReadDeadline(time.Unix(1, 0))
}

// finish ends transmission: what was read is answered, then, if the server
// shuts down, made durable, and the connection is closed.
func (c *conn) finish(reason error) {
	c.endStalls()
	if !orderly(reason) {
		c.replies.fail(reason) // cancels; what is in flight is not answered
	}
	c.replies.patience.Store(int64(c.srv.finishTimeout))
	_ = c.sock.SetWriteDeadline(time.Now().Add(c.srv.finishTimeout)) // for the write under way
	c.flushBatch()
	c.replies.waitIdle()
	c.wg.Wait()
	if errors.Is(reason, errDraining) && !c.readOnly {
		if err := c.dev.Flush(c.ctx); err != nil {
			c.log.Warn("nbd: flush at shutdown failed; writes that no client flushed may be lost",
				"export", c.export, "remote", c.remote, "err", err)
		}
	}
	c.closeDevice()
	if orderly(reason) {
		c.linger()
	}
}

// orderly reports whether the client can still take replies. An end of file
// between requests counts: the client may have closed only its half.
func orderly(reason error) bool {
	return errors.Is(reason, errDisconnect) || errors.Is(reason, errDraining) ||
		errors.Is(reason, io.EOF) || errors.Is(reason, errLeft)
}

// linger lets the last replies arrive. Closing a socket with unread input
// resets the connection, and a reset can destroy what the peer has not read.
func (c *conn) linger() {
	if !c.closeWrite() {
		return
	}
	_ = c.sock.SetReadDeadline(time.Now().Add(lingerTimeout))
	left := lingerBytes
	for left > 0 {
		c.in.forget()
		if c.in.fill(1) != nil {
			return
		}
		left -= c.in.buffered()
	}
}

// drain asks the reader to stop at the next point where it would wait. A
// handshake is cut, whatever it waits for.
func (c *conn) drain() {
	c.phase.Lock()
	defer c.phase.Unlock()
	c.draining.Store(true)
	c.endStalls()
	if c.phase.transmission {
		_ = c.sock.SetReadDeadline(time.Unix(1, 0))
		return
	}
	_ = c.sock.SetDeadline(time.Unix(1, 0))
	c.phase.cutHandshake()
}

// kill ends the connection at once; what is in flight is not answered.
func (c *conn) kill() {
	_ = c.sock.Close() // first: a cancelled call must not become an EIO on the wire
	c.cancel()
}
