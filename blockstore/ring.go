package blockstore

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// The intent ring of a volume says which blocks are about to change in its
// map. It is a small file, mapped shared: a store to it costs 0.1 us and
// outlives a kill of the process. It is never synced, for after a power loss
// only flushed writes are promised, and those stand in the map.
//
// Before a write that touches a block whose map state is not committed or
// will change, the volume appends an entry. An open after a kill looks, for
// each block, at the entries newer than the last committed one from the newest
// back: a zero entry holds; a data entry holds if the block in the layer's
// file has the checksum that the entry gives, else the next older entry is
// asked; if none holds, the committed state stands (recover.go).
//
//	offset 0   magic "gsring02", key 8 bytes (random)
//	from 16    "failed" once a sync of the volume has failed
//	from 64    entries, at multiples of 8, never around the end:
//	           0  crc32c over the rest of the entry and the key
//	           4  length of the entry in bytes, 2 bytes
//	           6  kind, 1 byte; 0
//	           8  sequence, 8 bytes
//	           16 first block of the disk, 8 bytes
//	           24 version of the layer, 4 bytes
//	           28 number of blocks, 4 bytes
//	           32 data entries only: crc32c of each block, 4 bytes each
//
// Entries are found by their checksum, wherever they begin: the key keeps a
// client from writing data whose checksums look like an entry. The ring is large
// enough for the first writes of some 13,000 blocks, which no disk syncs faster
// than they come. A volume that commits in time uses its first pages only, for
// an empty ring begins anew. Rings "gsring01", of 64 KiB, are still read.
const (
	ringSize   = 512 << 10
	ringStart  = 64
	ringMagic  = "gsring02"
	ringFailed = "failed"

	oldRingSize  = 64 << 10
	oldRingMagic = "gsring01"

	entryHead  = 32
	entryBlock = 4

	// maxIntent is the largest write that one entry covers, in blocks.
	maxIntent = 256
)

const (
	intentData = 1
	intentZero = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func blockSum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// ring is the intent ring of an open volume.
type ring struct {
	m      mapping
	b      []byte
	key    uint32 // seeds the entries' checksums
	failed bool   // a sync has failed, as an earlier process noted

	half atomic.Bool // more than half of it waits for a commit

	mu   sync.Mutex
	seq  uint64 // of the last entry
	head uint64 // where the next entry goes, counted on and on
	tail uint64 // entries before it are committed
}

// makeRing makes an empty ring of size bytes, whatever stands at path. Entries go
// on after seq.
func makeRing(fs hostFS, path string, size int, seq uint64) (*ring, error) {
	if err := fs.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	m, err := fs.Map(path, size)
	if err != nil {
		return nil, err
	}
	r := &ring{m: m, b: m.Bytes(), seq: seq}
	if err := r.begin(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return r, nil
}

// openRing maps a ring to read what it holds. Errors: os.ErrNotExist,
// ErrCorrupt (it is no ring).
func openRing(fs hostFS, path string, size int) (*ring, error) {
	r, err := openRingOf(fs, path, size, ringMagic)
	if errors.Is(err, ErrCorrupt) {
		if old, oldErr := openRingOf(fs, path, oldRingSize, oldRingMagic); oldErr == nil {
			return old, nil
		}
	}
	return r, err
}

func openRingOf(fs hostFS, path string, size int, magic string) (*ring, error) {
	m, err := fs.MapExisting(path, size)
	if err != nil {
		return nil, err
	}
	r := &ring{m: m, b: m.Bytes()}
	if err := r.readHead(path, magic); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return r, nil
}

func (r *ring) readHead(path, magic string) (err error) {
	defer catchFault(r.b, debug.SetPanicOnFault(true), &err)
	if string(r.b[:8]) != magic {
		return errf(ErrCorrupt, "%s is no intent ring", path)
	}
	r.key = crc32.Checksum(r.b[8:16], castagnoli)
	r.failed = string(r.b[16:][:len(ringFailed)]) == ringFailed
	return nil
}

// noteFailed leaves word that a sync has failed. It outlives the process, like
// all in the ring, also where the metadata cannot be written.
func (r *ring) noteFailed() (err error) {
	defer catchFault(r.b, debug.SetPanicOnFault(true), &err)
	copy(r.b[16:], ringFailed)
	return nil
}

// begin makes a ring of zeros, which it does not touch.
func (r *ring) begin() (err error) {
	defer catchFault(r.b, debug.SetPanicOnFault(true), &err)
	_, _ = rand.Read(r.b[8:16])
	copy(r.b, ringMagic)
	r.key = crc32.Checksum(r.b[8:16], castagnoli)
	return nil
}

// space is how many bytes of entries a ring holds.
func (r *ring) space() uint64 { return uint64(len(r.b) - ringStart) }

// entrySize returns the bytes of an entry, a multiple of 8.
func entrySize(kind byte, blocks int) int {
	if kind == intentZero {
		return entryHead
	}
	return entryHead + (blocks*entryBlock+7)&^7
}

// append adds an entry for blocks of the disk from block on; data is their
// content, or nil for zero. It reports false if the ring is full: a commit
// makes room. Error: errMapping; no write that needs an entry can be promised
// any more.
func (r *ring) append(kind byte, version uint32, block int64, blocks int, data []byte) (ok bool, err error) {
	size := entrySize(kind, blocks)
	r.mu.Lock()
	defer r.mu.Unlock()
	defer catchFault(r.b, debug.SetPanicOnFault(true), &err)
	skip := uint64(0)
	if left := r.space() - r.head%r.space(); left < uint64(size) {
		skip = left
	}
	if r.head+skip+uint64(size)-r.tail > r.space() {
		return false, nil
	}
	r.head += skip
	e := r.b[ringStart+int(r.head%r.space()):][:size]
	r.head += uint64(size)
	r.half.Store(r.head-r.tail > r.space()/2)
	r.seq++
	clear(e[:8]) // an entry cut short by a kill is none
	e[6] = kind
	binary.LittleEndian.PutUint64(e[8:], r.seq)
	binary.LittleEndian.PutUint64(e[16:], uint64(block))
	binary.LittleEndian.PutUint32(e[24:], version)
	binary.LittleEndian.PutUint32(e[28:], uint32(blocks))
	if kind == intentData {
		clear(e[len(e)-8:])
		for i := range blocks {
			binary.LittleEndian.PutUint32(e[entryHead+entryBlock*i:], blockSum(data[i<<blockShift:][:BlockSize]))
		}
	}
	binary.LittleEndian.PutUint16(e[4:], uint16(size))
	binary.LittleEndian.PutUint32(e, crc32.Update(r.key, castagnoli, e[4:]))
	return true, nil
}

// mark returns the state up to now, for committed.
func (r *ring) mark() (seq, head uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seq, r.head
}

// pending tells whether entries wait for a commit.
func (r *ring) pending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.head != r.tail
}

// committed gives back the room of all entries before head. What is older than
// the last committed entry is passed over by whoever reads the ring, so an
// empty one may begin anew.
func (r *ring) committed(head uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tail = head; r.head == head {
		r.head, r.tail = 0, 0
	}
	r.half.Store(r.head-r.tail > r.space()/2)
}

// intent is an entry as read back.
type intent struct {
	seq     uint64
	kind    byte
	version uint32
	block   int64
	sums    []uint32 // of a data entry
	blocks  int
}

// entries returns the whole entries newer than seq, in no order.
func (r *ring) entries(seq uint64) (found []intent, err error) {
	defer catchFault(r.b, debug.SetPanicOnFault(true), &err)
	body := r.b[ringStart:]
	for at := 0; at+entryHead <= len(body); at += 8 {
		if binary.LittleEndian.Uint64(body[at:]) == 0 {
			continue // most of a ring was never written
		}
		if e, ok := r.parse(body[at:]); ok && e.seq > seq {
			found = append(found, e)
		}
	}
	return found, nil
}

func (r *ring) parse(b []byte) (intent, bool) {
	size := int(binary.LittleEndian.Uint16(b[4:]))
	kind, blocks := b[6], int(binary.LittleEndian.Uint32(b[28:]))
	if size < entryHead || size > len(b) || (kind != intentData && kind != intentZero) ||
		blocks < 1 || blocks > regionBlocks || entrySize(kind, blocks) != size ||
		crc32.Update(r.key, castagnoli, b[4:size]) != binary.LittleEndian.Uint32(b) {
		return intent{}, false
	}
	e := intent{
		seq: binary.LittleEndian.Uint64(b[8:]), kind: kind, blocks: blocks,
		block: int64(binary.LittleEndian.Uint64(b[16:])), version: binary.LittleEndian.Uint32(b[24:]),
	}
	if kind == intentData {
		e.sums = make([]uint32, blocks)
		for i := range e.sums {
			e.sums[i] = binary.LittleEndian.Uint32(b[entryHead+entryBlock*i:])
		}
	}
	return e, true
}

func (r *ring) close() error { return r.m.Close() }
