package nbd

import (
	"math/bits"
	"sync"
)

// Buffers carry one WRITE payload, one reply, or a batch of small replies.
// They come in size classes so that a pool's buffers fit any request of the
// class: powers of two from 4 KiB to 1 MiB, then whole MiB up to maxPayload.
// Each has room for a reply header on top of its class's size, so that a
// reply is one piece of memory and a 4 KiB read does not need an 8 KiB buffer.
const (
	minClassBits = 12
	maxPow2Bits  = 20
	pow2Classes  = maxPow2Bits - minClassBits + 1
	classes      = pow2Classes + maxPayload>>maxPow2Bits - 1

	// replyRoom holds the longest header before data (dataChunkSize), rounded
	// up to keep the data's alignment.
	replyRoom = 32
)

// buffer is a pooled piece of memory. b has the class's full length.
type buffer struct {
	b     []byte
	class int
}

// bufferPool is a set of pools by class; its zero value is ready.
type bufferPool struct {
	pools [classes]sync.Pool
}

// classOf returns the smallest class for n payload bytes, n <= maxPayload.
func classOf(n int) int {
	if n <= 1<<minClassBits {
		return 0
	}
	if n <= 1<<maxPow2Bits {
		return bits.Len(uint(n-1)) - minClassBits
	}
	return pow2Classes - 2 + (n+1<<maxPow2Bits-1)>>maxPow2Bits
}

// classBytes is the payload that buffers of a class hold.
func classBytes(class int) int {
	if class < pow2Classes {
		return 1 << (minClassBits + class)
	}
	return (class - pow2Classes + 2) << maxPow2Bits
}

// get returns a buffer for n payload bytes and a reply header. Its content is
// arbitrary: bytes of other requests, possibly of other exports.
func (p *bufferPool) get(n int) *buffer {
	class := classOf(n)
	if b, ok := p.pools[class].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, classBytes(class)+replyRoom), class: class}
}

// put takes back a buffer that nobody uses any more; nil is fine.
func (p *bufferPool) put(b *buffer) {
	if b != nil {
		p.pools[b.class].Put(b)
	}
}
