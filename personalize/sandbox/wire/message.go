package wire

import (
	"encoding/binary"
	"fmt"
)

// Message is a Request or a Result, over one or several frames. For a Request,
// Code is an Op; for a Result, an errno, 0 for success, and the first of Args is
// the error's text. An Op's comment names its Args.
//
//	offset  size
//	0       2     code
//	2       2     number of args
//	4             each arg: 4 bytes length, then the bytes
type Message struct {
	Code uint16
	Args []string
}

// MaxArgs bounds the args of a message.
const MaxArgs = 1024

// Encode makes the message's bytes.
func (m Message) Encode() ([]byte, error) {
	if len(m.Args) > MaxArgs {
		return nil, fmt.Errorf("%d arguments are too many: %d are possible", len(m.Args), MaxArgs)
	}
	b := binary.LittleEndian.AppendUint16(nil, m.Code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(m.Args)))
	for _, a := range m.Args {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(a)))
		b = append(b, a...)
		if len(b) > MaxMessage {
			return nil, fmt.Errorf("the arguments are too long: %d bytes are possible", MaxMessage)
		}
	}
	return b, nil
}

// DecodeMessage reads what Encode made.
func DecodeMessage(b []byte) (Message, error) {
	if len(b) < 4 || len(b) > MaxMessage {
		return Message{}, fmt.Errorf("%w: a message of %d bytes", ErrProtocol, len(b))
	}
	m := Message{Code: binary.LittleEndian.Uint16(b)}
	n := int(binary.LittleEndian.Uint16(b[2:]))
	if n > MaxArgs {
		return Message{}, fmt.Errorf("%w: a message of %d arguments", ErrProtocol, n)
	}
	for b = b[4:]; n > 0; n-- {
		if len(b) < 4 {
			return Message{}, fmt.Errorf("%w: a message is cut short", ErrProtocol)
		}
		size := int64(binary.LittleEndian.Uint32(b))
		if b = b[4:]; size > int64(len(b)) {
			return Message{}, fmt.Errorf("%w: a message is cut short", ErrProtocol)
		}
		m.Args, b = append(m.Args, string(b[:size])), b[size:]
	}
	if len(b) > 0 {
		return Message{}, fmt.Errorf("%w: %d bytes after a message", ErrProtocol, len(b))
	}
	return m, nil
}
