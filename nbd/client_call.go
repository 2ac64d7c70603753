package nbd

import (
	"context"
	"fmt"
	"syscall"
)

// call is a request under way. It belongs to the caller until it is in
// Client.mu.calls, then to the receiver until done is closed.
type call struct {
	kind   uint16
	offset int64
	length uint32
	data   []byte // WRITE: what to send; READ: where to put it

	extents []Extent
	err     error
	done    chan struct{}

	got spans // READ: what has come
	// Guarded by Client.mu:
	busy      bool // the receiver is writing to data
	abandoned bool // the caller is gone; data must not be touched
}

// RequestError is a server's error reply.
type RequestError struct {
	Command string // READ, WRITE …
	Offset  int64  // of the request
	Length  int64
	Errno   syscall.Errno
	Text    string // the server's words; empty with simple replies
}

// Error says what failed, why, and the server's words.
func (e *RequestError) Error() string {
	s := fmt.Sprintf("nbd: %s of %d bytes at %d: %v", e.Command, e.Length, e.Offset, e.Errno)
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Unwrap gives the errno, for errors.Is.
func (e *RequestError) Unwrap() error { return e.Errno }

func (k *call) fail(errno uint32, text string) {
	if k.err == nil {
		k.err = &RequestError{Command: commandName(k.kind), Offset: k.offset,
			Length: int64(k.length), Errno: syscall.Errno(errno), Text: text}
	}
}

// do sends k and waits for its end. After it k.data is the caller's again.
func (c *Client) do(ctx context.Context, k *call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k.done = make(chan struct{})
	cookie := c.cookie.Add(1)
	if err := c.register(cookie, k); err != nil {
		return err
	}
	if err := c.send(ctx, cookie, k); err != nil {
		c.fail(err)
	}
	select {
	case <-k.done:
		return k.err
	case <-ctx.Done():
		return c.abandon(ctx, k)
	}
}

func (c *Client) register(cookie uint64, k *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.err != nil {
		return c.mu.err
	}
	c.mu.calls[cookie] = k
	return nil
}

// send writes the request. If ctx ends while half of it is written the
// connection is useless, and closed.
func (c *Client) send(ctx context.Context, cookie uint64, k *call) error {
	var p [requestSize]byte
	putRequest(p[:], request{kind: k.kind, cookie: cookie, offset: uint64(k.offset), length: k.length})
	c.wmu.Lock()
	defer c.wmu.Unlock()
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	defer stop()
	if _, err := c.nc.Write(p[:]); err != nil {
		return err
	}
	if k.kind == cmdWrite {
		_, err := c.nc.Write(k.data)
		return err
	}
	return nil
}

// abandon ends a call whose caller waits no longer. If the receiver is just
// filling its data the connection is given up, for that may last.
func (c *Client) abandon(ctx context.Context, k *call) error {
	c.mu.Lock()
	k.abandoned = true
	busy := k.busy
	c.mu.Unlock()
	if busy {
		c.fail(context.Cause(ctx))
		<-k.done
	}
	return ctx.Err()
}

// fail ends the connection; the first reason stays.
func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.mu.err == nil {
		c.mu.err = err
	}
	c.mu.Unlock()
	_ = c.nc.Close()
}
