package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame, numbers in little endian:
//
//	offset  size
//	0       1     kind
//	1       1     flags: Last, Abort, Stderr
//	2       2     n, length of the payload
//	4       4     CRC-32C of bytes 0-3 and the payload
//	8       n     payload
const headerSize = 8

// Window is how many bytes, frames with their headers, the host may have sent
// without an Ack. The kernel's terminal stops its input at 3968 (n_tty.c).
const Window = 3840

const (
	// MaxToGuest lets three frames into the window.
	MaxToGuest = Window/3 - headerSize
	// MaxFromGuest is the longest payload from the guest.
	MaxFromGuest = 16 << 10
	// MaxMessage bounds a Request or Result over all its frames.
	MaxMessage = 64 << 10
)

// Kind says what a frame is.
type Kind byte

// The kinds; the comment says who sends it.
const (
	Hello   Kind = 1 + iota // guest: protocol version
	Ack                     // guest: bytes read so far
	Disk                    // guest: the disk is there; 1: for reading alone
	Request                 // host
	Data                    // both
	Result                  // guest
)

// Flags of a frame.
const (
	Last   = 1 << iota // of its message or stream
	Abort              // the sender of the stream failed; implies Last
	Stderr             // Data of a program's standard error
)

// Version is what Hello carries.
const Version = 2

// ErrProtocol is a peer that does not keep the protocol.
var ErrProtocol = errors.New("the sandbox's guest does not keep the protocol")

// Frame is one frame.
type Frame struct {
	Kind    Kind
	Flags   byte
	Payload []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Size is how long the frame is on the line.
func (f Frame) Size() int { return headerSize + len(f.Payload) }

// Append appends the frame as it goes over the line.
func (f Frame) Append(b []byte) []byte {
	head := [4]byte{byte(f.Kind), f.Flags}
	binary.LittleEndian.PutUint16(head[2:], uint16(len(f.Payload)))
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, f.Payload)
	b = append(b, head[:]...)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return append(b, f.Payload...)
}

// ReadFrame reads one frame with a payload of at most limit bytes. The payload
// is the caller's.
func ReadFrame(r io.Reader, limit int) (Frame, error) {
	var head [headerSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	n := int(binary.LittleEndian.Uint16(head[2:]))
	if n > limit {
		return Frame{}, fmt.Errorf("%w: a frame of %d bytes, %d are allowed", ErrProtocol, n, limit)
	}
	f := Frame{Kind: Kind(head[0]), Flags: head[1], Payload: make([]byte, n)}
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		return Frame{}, noEOF(err)
	}
	sum := crc32.Update(crc32.Checksum(head[:4], castagnoli), castagnoli, f.Payload)
	if sum != binary.LittleEndian.Uint32(head[4:]) {
		return Frame{}, fmt.Errorf("%w: wrong checksum of a frame of kind %d", ErrProtocol, f.Kind)
	}
	if f.Kind < Hello || f.Kind > Result {
		return Frame{}, fmt.Errorf("%w: a frame of kind %d", ErrProtocol, f.Kind)
	}
	return f, nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Number is the payload of Hello and Ack.
func Number(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// ParseNumber reads what Number made.
func ParseNumber(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: a number of %d bytes", ErrProtocol, len(b))
	}
	return binary.LittleEndian.Uint64(b), nil
}
