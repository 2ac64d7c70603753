package nbd

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxSpans bounds the gaps that a server may leave while it answers a READ in
// pieces.
const maxSpans = 1024

// receive reads replies until the connection ends, and then ends all calls.
func (c *Client) receive() {
	defer close(c.done)
	err := c.receiveAll()
	if err == io.EOF {
		err = errors.New("the server closed the connection")
	}
	c.fail(fmt.Errorf("nbd: connection lost: %w", err))
	c.mu.Lock()
	defer c.mu.Unlock()
	for cookie, k := range c.mu.calls {
		delete(c.mu.calls, cookie)
		k.err = c.mu.err
		close(k.done)
	}
}

func (c *Client) receiveAll() error {
	for {
		b, err := c.in.next(4)
		if err != nil {
			return err
		}
		switch magic := be.Uint32(b); {
		case magic == magicSimple:
			err = c.simpleReply()
		case magic == magicChunk && c.structured:
			err = c.chunk()
		default:
			err = fmt.Errorf("bad magic %#x in a reply", magic)
		}
		if err != nil {
			return err
		}
	}
}

// find returns the call of a cookie.
func (c *Client) find(cookie uint64) (*call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.mu.calls[cookie]
	if k == nil {
		return nil, errors.New("reply to a request that was not made")
	}
	return k, nil
}

// end closes a call that is fully answered.
func (c *Client) end(cookie uint64, k *call) {
	c.mu.Lock()
	delete(c.mu.calls, cookie)
	c.mu.Unlock()
	close(k.done)
}

// simpleReply reads a simple reply after its magic.
func (c *Client) simpleReply() error {
	b, err := c.in.next(simpleSize - 4)
	if err != nil {
		return err
	}
	errno, cookie := be.Uint32(b), be.Uint64(b[4:])
	k, err := c.find(cookie)
	if err != nil {
		return err
	}
	switch {
	case k.kind == cmdRead && c.structured:
		return errors.New("simple reply to READ though structured replies were agreed on")
	case errno != 0:
		k.fail(errno, "")
	case k.kind == cmdBlockStatus:
		return errors.New("BLOCK_STATUS answered without extents")
	case k.kind == cmdRead:
		if err := c.fillData(k, k.data); err != nil {
			return err
		}
	}
	c.end(cookie, k)
	return nil
}

// chunk reads a structured reply chunk after its magic.
func (c *Client) chunk() error {
	b, err := c.in.next(chunkSize - 4)
	if err != nil {
		return err
	}
	flags, kind, cookie, length := be.Uint16(b), be.Uint16(b[2:]), be.Uint64(b[4:]), be.Uint32(b[12:])
	k, err := c.find(cookie)
	if err != nil {
		return err
	}
	if err := c.payload(k, kind, length); err != nil {
		return fmt.Errorf("%s: %w", commandName(k.kind), err)
	}
	if flags&chunkFlagDone == 0 {
		if kind == chunkNone {
			return errors.New("empty chunk that is not the last")
		}
		return nil
	}
	if k.err == nil && k.kind == cmdRead && !k.got.cover(k.length) {
		return errors.New("READ answered in part")
	}
	if k.err == nil && k.kind == cmdBlockStatus && len(k.extents) == 0 {
		return errors.New("BLOCK_STATUS answered without extents")
	}
	c.end(cookie, k)
	return nil
}

// payload reads what follows a chunk's header.
func (c *Client) payload(k *call, kind uint16, length uint32) error {
	switch {
	case kind == chunkNone && length == 0:
		return nil
	case kind == chunkOffsetData && length > 8 && k.kind == cmdRead:
		return c.offsetData(k, length-8)
	case kind == chunkOffsetHole && length == 12 && k.kind == cmdRead:
		return c.offsetHole(k)
	case kind == chunkBlockStatus && k.kind == cmdBlockStatus:
		return c.statusRuns(k, length)
	case kind&chunkErrorBit != 0:
		return c.errorChunk(k, length)
	}
	return fmt.Errorf("unexpected chunk of type %d with %d bytes", kind, length)
}

// place checks a piece of a READ and returns where it goes.
func (k *call) place(offset uint64, length uint32) ([]byte, error) {
	start := offset - uint64(k.offset) // wraps to huge if before
	if length == 0 || start > uint64(k.length) || uint64(length) > uint64(k.length)-start {
		return nil, errors.New("data outside the requested range")
	}
	if err := k.got.add(uint32(start), length); err != nil {
		return nil, err
	}
	return k.data[start : start+uint64(length)], nil
}

func (c *Client) offsetData(k *call, length uint32) error {
	b, err := c.in.next(8)
	if err != nil {
		return err
	}
	p, err := k.place(be.Uint64(b), length)
	if err != nil {
		return err
	}
	return c.fillData(k, p)
}

func (c *Client) offsetHole(k *call) error {
	b, err := c.in.next(12)
	if err != nil {
		return err
	}
	p, err := k.place(be.Uint64(b), be.Uint32(b[8:]))
	if err != nil {
		return err
	}
	if c.setBusy(k, true) {
		clear(p)
		c.setBusy(k, false)
	}
	return nil
}

// fillData reads into p, or past it if the caller is gone.
func (c *Client) fillData(k *call, p []byte) error {
	if !c.setBusy(k, true) {
		return c.in.discard(int64(len(p)))
	}
	err := c.in.full(p)
	c.setBusy(k, false)
	return err
}

// setBusy claims the call's data, or gives it back; false means that the
// caller is gone.
func (c *Client) setBusy(k *call, busy bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if busy && k.abandoned {
		return false
	}
	k.busy = busy
	return true
}

func (c *Client) statusRuns(k *call, length uint32) error {
	if length < 4+statusRunSize || (length-4)%statusRunSize != 0 || length > maxStatusPayload {
		return errors.New("malformed extents")
	}
	if len(k.extents) > 0 {
		return errors.New("extents sent twice")
	}
	b, err := c.in.next(4)
	if err != nil {
		return err
	}
	if be.Uint32(b) != c.contextID {
		return errors.New("extents of a meta context that was not selected")
	}
	for left := length - 4; left > 0; left -= statusRunSize {
		if b, err = c.in.next(statusRunSize); err != nil {
			return err
		}
		e := Extent{Length: int64(be.Uint32(b)), Zero: be.Uint32(b[4:])&stateZero != 0}
		if e.Length == 0 {
			return errors.New("empty extent")
		}
		k.extents = append(k.extents, e)
	}
	return nil
}

// errorChunk reads ERROR, ERROR_OFFSET and error types not yet invented,
// which all begin alike.
func (c *Client) errorChunk(k *call, length uint32) error {
	if length < 6 || length > 6+maxString+8 {
		return errors.New("malformed error")
	}
	b, err := c.in.next(int(length))
	if err != nil {
		return err
	}
	n := int(be.Uint16(b[4:]))
	if n > len(b)-6 || be.Uint32(b) == 0 {
		return errors.New("malformed error")
	}
	k.fail(be.Uint32(b), strings.ToValidUTF8(string(b[6:6+n]), "?"))
	return nil
}

// spans are the parts of a READ that have come: sorted, apart, not touching.
type spans []span

type span struct{ start, end uint32 }

// add notes a part; overlapping one that has come is an error.
func (s *spans) add(start, length uint32) error {
	end := start + length
	i, _ := slices.BinarySearchFunc(*s, start, func(x span, at uint32) int {
		if x.end <= at {
			return -1
		}
		return 1
	})
	if i < len(*s) && (*s)[i].start < end {
		return errors.New("data sent twice")
	}
	if i > 0 && (*s)[i-1].end == start {
		(*s)[i-1].end = end
	} else {
		*s = slices.Insert(*s, i, span{start, end})
		i++
	}
	if i < len(*s) && (*s)[i].start == end {
		(*s)[i-1].end = (*s)[i].end
		*s = slices.Delete(*s, i, i+1)
	}
	if len(*s) > maxSpans {
		return errors.New("data sent in too many pieces")
	}
	return nil
}

// cover reports whether all of length has come.
func (s spans) cover(length uint32) bool {
	return len(s) == 1 && s[0] == span{0, length}
}
