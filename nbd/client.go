package nbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClientClosed is what calls on a Client return after Close.
var ErrClientClosed = errors.New("nbd: client closed")

// Client is a connection to an export of some NBD server. Its methods may be
// called from many goroutines at once; their requests share the connection
// and are answered in any order.
//
// The server is not trusted: whatever it sends costs bounded memory, and what
// breaks the protocol ends the connection with an error that says how.
type Client struct {
	nc net.Conn
	in reader

	// From the handshake; only read afterwards.
	size       int64
	flags      uint16
	maxBlock   int // bytes that one READ or WRITE may carry
	structured bool
	allocation bool
	contextID  uint32

	cookie atomic.Uint64
	// wmu is held while a request is written, so that requests do not mix.
	wmu sync.Mutex

	mu struct {
		sync.Mutex
		calls map[uint64]*call
		err   error // why the connection ended
	}
	done chan struct{} // closed when the receiver has ended
}

// Dial connects to the export at a TCP or Unix address and negotiates
// structured replies and base:allocation if the server has them.
func Dial(ctx context.Context, network, address, export string) (*Client, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("nbd: connect: %w", err)
	}
	c, err := newClient(ctx, nc, export)
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("nbd: handshake with %s for export %q: %w", address, export, err)
	}
	return c, nil
}

// newClient does the handshake on nc, which stays the caller's to close if it
// fails.
func newClient(ctx context.Context, nc net.Conn, export string) (*Client, error) {
	c := &Client{nc: nc, maxBlock: maxPayload}
	c.in.init(nc)
	c.mu.calls = make(map[uint64]*call)
	c.done = make(chan struct{})
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	err := c.negotiate(export)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	go c.receive()
	return c, nil
}

// Size returns the export's size in bytes.
func (c *Client) Size() int64 { return c.size }

// ReadOnly reports whether the server takes no writes.
func (c *Client) ReadOnly() bool { return c.flags&flagReadOnly != 0 }

// ReadAt fills p from offset off. Like io.ReaderAt it fills p or fails, with
// io.EOF if the export ends inside.
func (c *Client) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("nbd: negative offset")
	}
	short := off > c.size || int64(len(p)) > c.size-off
	if short {
		p = p[:max(0, c.size-off)]
	}
	n := 0
	for n < len(p) {
		part := p[n:min(len(p), n+c.maxBlock)]
		err := c.do(ctx, &call{kind: cmdRead, offset: off + int64(n), length: uint32(len(part)), data: part})
		if err != nil {
			return n, err
		}
		n += len(part)
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes p at offset off.
func (c *Client) WriteAt(ctx context.Context, p []byte, off int64) (int, error) {
	if err := c.checkRange(off, int64(len(p))); err != nil {
		return 0, err
	}
	n := 0
	for n < len(p) {
		part := p[n:min(len(p), n+c.maxBlock)]
		err := c.do(ctx, &call{kind: cmdWrite, offset: off + int64(n), length: uint32(len(part)), data: part})
		if err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// Flush makes durable what was written before.
func (c *Client) Flush(ctx context.Context) error {
	if c.flags&flagFlush == 0 {
		return nil // the protocol's way to say that writes are durable anyway
	}
	return c.do(ctx, &call{kind: cmdFlush})
}

// maxStep is the longest range of one TRIM or BLOCK_STATUS, in bytes; a
// multiple of any block size, below 4 GiB.
const maxStep = 1 << 31

// Trim tells the server that a range is no longer needed. Without support on
// the other side it does nothing.
func (c *Client) Trim(ctx context.Context, off, length int64) error {
	if err := c.checkRange(off, length); err != nil {
		return err
	}
	if c.flags&flagTrim == 0 {
		return nil
	}
	for length > 0 {
		step := min(length, maxStep)
		if err := c.do(ctx, &call{kind: cmdTrim, offset: off, length: uint32(step)}); err != nil {
			return err
		}
		off += step
		length -= step
	}
	return nil
}

func (c *Client) checkRange(off, length int64) error {
	if off < 0 || length < 0 || off > c.size || length > c.size-off {
		return fmt.Errorf("nbd: range of %d bytes at %d is outside the export of %d bytes", length, off, c.size)
	}
	return nil
}

// goodbyeTimeout is how long Close waits for a server that takes no requests.
const goodbyeTimeout = time.Second

// Close says goodbye to the server and ends the connection. Calls under way
// fail.
func (c *Client) Close() error {
	c.mu.Lock()
	alive := c.mu.err == nil
	c.mu.Unlock()
	if alive && c.wmu.TryLock() {
		var p [requestSize]byte
		putRequest(p[:], request{kind: cmdDisc})
		_ = c.nc.SetWriteDeadline(time.Now().Add(goodbyeTimeout))
		_, _ = c.nc.Write(p[:])
		c.wmu.Unlock()
	}
	c.fail(ErrClientClosed)
	<-c.done
	return nil
}
