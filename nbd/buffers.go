package nbd

import (
	"math/bits"
	"sync"
)

// Buffers carry one WRITE payload, one reply, or a batch of small replies.
// They come in size classes so that a pool's buffers fit any request of the
// class: powers of two from 512 bytes to maxPayload. More classes would waste less
// of a buffer, and leave more of them in pools that nobody uses just now.
// One for a reply has room for a header on top of its class's size, so that a
// reply is one piece of memory and a 4 KiB read does not need an 8 KiB buffer.
// One for a payload has not, and so is aligned to a page, or to its size if that
// is less: the memory of a payload has its page borders where the disk has its own
// (request.lead), as the block store wants it.
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
	b    []byte
	home *sync.Pool
}

// bufferPool is a set of pools by class; its zero value is ready.
type bufferPool struct {
	replies, payloads [classes]sync.Pool
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

// reply returns a buffer for n bytes of data and a reply header. Its content is
// arbitrary: bytes of other requests, possibly of other exports.
func (p *bufferPool) reply(n int) *buffer {
	class := classOf(n)
	return take(&p.replies[class], classBytes(class)+replyRoom)
}

// payload returns a buffer for n bytes, aligned.
func (p *bufferPool) payload(n int) *buffer {
	class := classOf(n)
	return take(&p.payloads[class], classBytes(class))
}

func take(home *sync.Pool, n int) *buffer {
	if b, ok := home.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, n), home: home}
}

// release gives back a buffer that nobody uses any more; nil is fine.
func (b *buffer) release() {
	if b != nil {
		b.home.Put(b)
	}
}

// pageSize is that of the host's memory and of the device's blocks, in bytes.
const pageSize = 4 << 10

// lead returns where in its buffer a payload of n bytes begins.
func (r request) lead(n int) int {
	lead := int(r.offset % pageSize)
	if lead+n <= pageSize || lead+n > maxPayload {
		return 0 // it lies within a page, or there is no such buffer
	}
	return lead
}

// payload returns the first n bytes of a WRITE's data.
func (j *job) payload(n int) []byte { return j.buf.b[j.lead(n):][:n] }
