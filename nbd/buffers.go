package nbd

import (
	"math/bits"
	"sync"
)

// Buffers carry one WRITE payload, one reply, or a batch of small replies.
// They come in size classes so that a pool's buffers fit any request of the
// class: powers of two from 512 bytes to maxPayload. More classes would waste less
// of a buffer, and leave more of them in pools that nobody uses just now.
// Each has room for a reply header on top of its class's size, so that a
// reply is one piece of memory and a 4 KiB read does not need an 8 KiB buffer.
const (
	minClassBits = 9
	maxClassBits = 25
	classes      = maxClassBits - minClassBits + 1

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
	return bits.Len(uint(n-1)) - minClassBits
}

// classBytes is the payload that buffers of a class hold.
func classBytes(class int) int { return 1 << (minClassBits + class) }

// costOf is what a buffer for n payload bytes is charged with; nothing for 0,
// which needs none.
func costOf(n int) int64 {
	if n == 0 {
		return 0
	}
	return int64(classBytes(classOf(n)))
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
