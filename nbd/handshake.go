package nbd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The handshake; proto: Fixed newstyle negotiation. The client sends options,
// one after the other; each is answered by one or more replies, or one error
// with a message for people. Whatever an option holds, the next is found by
// its length.

const (
	// maxOptionData is the longest data of an option that is looked at, and
	// maxOptionDrain the longest that is read and refused.
	maxOptionData  = readBufferSize
	maxOptionDrain = 16 << 20
	// maxOptions bounds a handshake. Listing tools send two for each export.
	maxOptions = 32 << 10
	// maxHandshake bounds it, in bytes of options.
	maxHandshake = 2 * maxOptionDrain
	// listsAtOnce bounds the lists of exports in the making.
	listsAtOnce = 4
)

// errAbort ends a handshake as the client wished.
var errAbort = errors.New("the client aborted")

// negotiate greets and handles options until one starts transmission. With an
// error the connection is to be closed.
func (c *conn) negotiate() error {
	ctx, err := c.beginHandshake()
	if err != nil {
		return err
	}
	defer c.phase.cutHandshake()
	if err := c.greet(); err != nil {
		return err
	}
	for range maxOptions {
		if c.draining.Load() {
			return errDraining
		}
		ready, err := c.nextOption(ctx)
		if err != nil {
			return err
		}
		if ready {
			return c.endHandshake()
		}
	}
	return fmt.Errorf("more than %d options", maxOptions)
}

// beginHandshake sets the deadlines, and makes the context that options wait
// with. That one ends earlier, so that the answer gets through.
func (c *conn) beginHandshake() (context.Context, error) {
	c.phase.Lock()
	defer c.phase.Unlock()
	if c.draining.Load() {
		return nil, errDraining
	}
	timeout := c.srv.o.HandshakeTimeout
	deadline := time.Now().Add(timeout)
	ctx, cancel := context.WithDeadline(c.ctx, deadline.Add(-timeout/8))
	c.phase.cutHandshake = cancel
	return ctx, c.sock.SetDeadline(deadline)
}

// endHandshake lifts the deadlines, unless drain was first.
func (c *conn) endHandshake() error {
	c.phase.Lock()
	defer c.phase.Unlock()
	if c.draining.Load() {
		return errDraining
	}
	c.phase.transmission = true
	return c.sock.SetDeadline(time.Time{})
}

// greet exchanges the handshake flags.
func (c *conn) greet() error {
	var p [greetingSize]byte
	be.PutUint64(p[:], magicGreeting)
	be.PutUint64(p[8:], magicOption)
	be.PutUint16(p[16:], flagFixedNewstyle|flagNoZeroes)
	if _, err := c.nc.Write(p[:]); err != nil {
		return err
	}
	b, err := c.in.next(4)
	if err != nil {
		return err
	}
	flags := be.Uint32(b)
	if flags&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return fmt.Errorf("unknown client flags %#x", flags)
	}
	c.fixed, c.noZeroes = flags&flagFixedNewstyle != 0, flags&flagNoZeroes != 0
	return nil
}

// nextOption reads and handles one option; ready starts transmission.
func (c *conn) nextOption(ctx context.Context) (ready bool, err error) {
	head, err := c.in.next(optionHeaderSize)
	if err != nil {
		return false, err
	}
	if be.Uint64(head) != magicOption {
		return false, errors.New("bad magic in an option")
	}
	option, length := be.Uint32(head[8:]), be.Uint32(head[12:])
	if c.said += optionHeaderSize + int64(length); c.said > maxHandshake {
		return false, fmt.Errorf("a handshake of more than %d bytes", maxHandshake)
	}
	if length > maxOptionData {
		return false, c.refuseLongOption(option, length)
	}
	data, err := c.in.next(int(length))
	if err != nil {
		return false, midway(err, 1)
	}
	switch option {
	case optExportName:
		return true, c.exportNameOption(ctx, data)
	case optStartTLS:
		return false, c.startTLS(data)
	}
	out := optionReply{option: option}
	ready, err = c.handleOption(ctx, &out, data)
	var refused *optionError
	if errors.As(err, &refused) {
		out.add(refused.kind, []byte(refused.msg))
		ready, err = false, nil
	}
	if _, werr := c.nc.Write(out.p); werr != nil && err == nil {
		err = werr
	}
	c.account.release(out.charged)
	return ready, err
}

// handleOption does one option. What it adds to out is sent even with an
// error; an optionError is added by the caller.
func (c *conn) handleOption(ctx context.Context, out *optionReply, data []byte) (ready bool, err error) {
	if c.tlsDue(out.option) {
		return false, tlsRequired
	}
	switch out.option {
	case optGo:
		return true, c.infoOption(ctx, out, data)
	case optInfo:
		return false, c.infoOption(ctx, out, data)
	case optList:
		return false, c.listOption(ctx, out, data)
	case optStructuredReply:
		return false, c.structuredOption(out, data)
	case optListMeta, optSetMeta:
		return false, c.metaOption(ctx, out, data)
	case optAbort:
		out.ack()
		return false, errAbort
	}
	return false, &optionError{repErrUnsup, "this server does not have the option"}
}

func (c *conn) refuseLongOption(option, length uint32) error {
	if length > maxOptionDrain || option == optExportName {
		return fmt.Errorf("option %d with %d bytes of data", option, length)
	}
	if err := c.in.discard(int64(length)); err != nil {
		return err
	}
	if option == optSetMeta {
		c.forgetContexts() // as every SET does, even one that fails
	}
	refusal := &optionError{repErrTooBig, "the option's data is longer than 64 KiB"}
	if c.tlsDue(option) {
		refusal = tlsRequired
	}
	out := optionReply{option: option}
	out.add(refusal.kind, []byte(refusal.msg))
	_, err := c.nc.Write(out.p)
	return err
}

// structuredOption turns on structured replies; asking again changes nothing.
func (c *conn) structuredOption(out *optionReply, data []byte) error {
	if len(data) != 0 {
		return invalid("STRUCTURED_REPLY takes no data")
	}
	c.structured = true
	out.ack()
	return nil
}

// listOption names the exports; proto: NBD_OPT_LIST. There may be many: the
// answer is charged like a reply, but not waited for.
func (c *conn) listOption(ctx context.Context, out *optionReply, data []byte) error {
	if len(data) != 0 {
		return invalid("LIST takes no data")
	}
	if c.from.o.Grants != nil {
		out.ack()
		return nil
	}
	select {
	case c.srv.listing <- struct{}{}:
		defer func() { <-c.srv.listing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	exports, err := c.srv.exports.List(ctx)
	if err != nil {
		c.srv.warn("nbd: cannot list exports", "remote", c.remote, "err", err)
		return &optionError{repErrPolicy, "the exports cannot be listed now; the server's log has the cause"}
	}
	exports = slices.DeleteFunc(exports, func(e ExportInfo) bool { return !validString(e.Name) })
	size := optionReplySize
	for _, e := range exports {
		size += optionReplySize + 4 + len(e.Name) + len(e.Description)
	}
	if !c.account.try(int64(size)) {
		return &optionError{repErrPolicy, "the list of exports is long and the server busy; try again, or name an export"}
	}
	out.charged = int64(size)
	out.p = make([]byte, 0, size)
	var p []byte
	for _, e := range exports {
		p = append(be.AppendUint32(p[:0], uint32(len(e.Name))), e.Name...)
		if validString(e.Description) {
			p = append(p, e.Description...)
		}
		out.add(repServer, p)
	}
	out.ack()
	return nil
}

// optionReply gathers the replies to one option, to send them in one write.
type optionReply struct {
	option  uint32
	p       []byte
	charged int64 // for p
}

func (o *optionReply) add(kind uint32, payload []byte) {
	var head [optionReplySize]byte
	putOptionReply(head[:], o.option, kind, uint32(len(payload)))
	o.p = append(append(o.p, head[:]...), payload...)
}

func (o *optionReply) ack() { o.add(repAck, nil) }
