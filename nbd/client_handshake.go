package nbd

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// maxOptionReplies bounds the replies to one option, and maxReplyData the
	// data of one, in bytes.
	maxOptionReplies = 64
	maxReplyData     = 16 << 10
)

// OptionError is a server's refusal in the handshake.
type OptionError struct {
	Option uint32 // number of the option, as in the protocol
	Type   uint32 // reply type, as in the protocol
	Text   string // the server's words; may be empty
}

// Error says what was refused and the server's words.
func (e *OptionError) Error() string {
	text := e.Text
	if text == "" {
		text = "no reason given"
	}
	return fmt.Sprintf("the server refused option %d with error %d: %s", e.Option, e.Type&^repErrBit, text)
}

// negotiate does the client's side of the handshake; see handshake.go.
func (c *Client) negotiate(export string) error {
	if len(export) > maxString {
		return errors.New("the export name is longer than 4096 bytes")
	}
	if err := c.greet(); err != nil {
		return err
	}
	structured, err := c.agreed(c.option(optStructuredReply, nil, nil))
	if err != nil {
		return err
	}
	c.structured = structured
	if structured {
		if _, err := c.agreed(c.option(optSetMeta, metaQuery(export), c.takeContext)); err != nil {
			return err
		}
	}
	return c.goOption(export)
}

func (c *Client) greet() error {
	b, err := c.in.next(greetingSize)
	if err != nil {
		return err
	}
	if be.Uint64(b) != magicGreeting || be.Uint64(b[8:]) != magicOption {
		return errors.New("this is no NBD server, or one older than newstyle")
	}
	flags := be.Uint16(b[16:])
	if flags&flagFixedNewstyle == 0 {
		return errors.New("the server does not speak fixed newstyle")
	}
	_, err = c.nc.Write(be.AppendUint32(nil, uint32(flags&(flagFixedNewstyle|flagNoZeroes))))
	return err
}

// agreed makes false of a refusal: the option is one we can do without.
func (c *Client) agreed(err error) (bool, error) {
	var refused *OptionError
	if errors.As(err, &refused) {
		return false, nil
	}
	return err == nil, err
}

// option sends an option and gives each reply before the ACK to take.
func (c *Client) option(option uint32, data []byte, take func(kind uint32, p []byte) error) error {
	p := be.AppendUint64(nil, magicOption)
	p = be.AppendUint32(p, option)
	p = be.AppendUint32(p, uint32(len(data)))
	if _, err := c.nc.Write(append(p, data...)); err != nil {
		return err
	}
	for range maxOptionReplies {
		kind, payload, err := c.optionReply(option)
		if err != nil {
			return err
		}
		if kind == repAck {
			return nil
		}
		if take == nil {
			return fmt.Errorf("unexpected reply of type %d to option %d", kind, option)
		}
		if err := take(kind, payload); err != nil {
			return err
		}
	}
	return fmt.Errorf("more than %d replies to option %d", maxOptionReplies, option)
}

// optionReply reads one reply. The payload is valid until the next read.
func (c *Client) optionReply(option uint32) (kind uint32, payload []byte, err error) {
	head, err := c.in.next(optionReplySize)
	if err != nil {
		return 0, nil, err
	}
	kind = be.Uint32(head[12:])
	length := be.Uint32(head[16:])
	if be.Uint64(head) != magicOptionReply || be.Uint32(head[8:]) != option || length > maxReplyData {
		return 0, nil, fmt.Errorf("malformed reply to option %d", option)
	}
	payload, err = c.in.next(int(length))
	if err == nil && kind&repErrBit != 0 {
		text := strings.ToValidUTF8(string(payload[:min(len(payload), maxString)]), "?")
		err = &OptionError{Option: option, Type: kind, Text: text}
	}
	return kind, payload, err
}

// metaQuery is the data of SET_META_CONTEXT for base:allocation.
func metaQuery(export string) []byte {
	p := appendString(nil, export)
	p = be.AppendUint32(p, 1)
	return appendString(p, baseAllocation)
}

func appendString(p []byte, s string) []byte {
	return append(be.AppendUint32(p, uint32(len(s))), s...)
}

func (c *Client) takeContext(kind uint32, p []byte) error {
	if kind != repMetaContext || len(p) < 4 {
		return fmt.Errorf("unexpected reply of type %d to SET_META_CONTEXT", kind)
	}
	if string(p[4:]) == baseAllocation {
		c.allocation, c.contextID = true, be.Uint32(p)
	}
	return nil
}

// goOption starts transmission.
func (c *Client) goOption(export string) error {
	data := appendString(nil, export)
	data = be.AppendUint16(data, 1)
	data = be.AppendUint16(data, infoBlockSize)
	seen := false
	err := c.option(optGo, data, func(kind uint32, p []byte) error {
		if kind != repInfo || len(p) < 2 {
			return fmt.Errorf("unexpected reply of type %d to GO", kind)
		}
		switch be.Uint16(p) {
		case infoExport:
			seen = true
			return c.takeExport(p)
		case infoBlockSize:
			return c.takeBlockSize(p)
		}
		return nil
	})
	if err == nil && !seen {
		err = errors.New("the server did not tell the export's size")
	}
	return err
}

func (c *Client) takeExport(p []byte) error {
	if len(p) != 12 {
		return errors.New("malformed export information")
	}
	size := be.Uint64(p[2:])
	if size > 1<<62 {
		return fmt.Errorf("impossible export size %d", size)
	}
	c.size, c.flags = int64(size), be.Uint16(p[10:])
	return nil
}

// takeBlockSize keeps the most that one request may carry. Ranges are not
// aligned to a minimum: a server that insists answers EINVAL.
func (c *Client) takeBlockSize(p []byte) error {
	if len(p) != 14 {
		return errors.New("malformed block size information")
	}
	preferred, most := be.Uint32(p[6:]), be.Uint32(p[10:])
	if most < 512 || most < preferred {
		return fmt.Errorf("impossible block sizes: preferred %d, maximum %d", preferred, most)
	}
	c.maxBlock = int(min(most&^511, maxPayload))
	return nil
}
