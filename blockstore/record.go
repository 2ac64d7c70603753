package blockstore

import (
	"encoding/binary"
	"fmt"
	"sync"
)

// A map record says for one region where its blocks come from.
//
//	byte      format 1 in the high nibble; low nibble 0 delta, 1 full
//	uvarint   number of layers; for each: lineage 8 bytes LE, uvarint version
//	uvarint   number of runs; for each, ordered, not overlapping:
//	          uvarint blocks since the end of the run before,
//	          uvarint length in blocks,
//	          uvarint source: 0 zero, n the n-th layer
//
// Blocks that no run covers are zero in a full record and left as they are
// (older records, then the parent lineage) in a delta.
const (
	recordFormat = 1 << 4
	recordDelta  = 0
	recordFull   = 1
)

// Sources in a composer: an index into layers plus one, or one of these.
const (
	sourceZero  = 0
	sourceUnset = 0xffff
	maxSources  = 0xfffe
)

// composer lays map records over one another, oldest first.
type composer struct {
	layers []layerID
	cells  [regionBlocks]uint16
	full   bool // a full record lies below
}

var composers = sync.Pool{New: func() any { return new(composer) }}

func newComposer() *composer {
	c := composers.Get().(*composer)
	c.layers = c.layers[:0]
	c.full = false
	c.fill(0, regionBlocks, sourceUnset)
	return c
}

func (c *composer) release() { composers.Put(c) }

func (c *composer) fill(start, end int, src uint16) {
	cells := c.cells[start:end]
	for i := range cells {
		cells[i] = src
	}
}

// source returns the index of a layer, adding it if it is new.
func (c *composer) source(id layerID) (uint16, error) {
	for i := len(c.layers) - 1; i >= 0; i-- {
		if c.layers[i] == id {
			return uint16(i + 1), nil
		}
	}
	if len(c.layers) >= maxSources-1 {
		return 0, fmt.Errorf("map record with more than %d layers: %w", maxSources-1, ErrCorrupt)
	}
	c.layers = append(c.layers, id)
	return uint16(len(c.layers)), nil
}

// apply lays rec over what stands. It trusts nothing in rec.
func (c *composer) apply(rec []byte) error {
	d := decoder{b: rec}
	head := d.byte()
	if d.bad || head&0xf0 != recordFormat || head&0x0f > recordFull {
		return fmt.Errorf("map record of unknown form %#x: %w", head, ErrCorrupt)
	}
	if head&0x0f == recordFull {
		c.full = true
		c.fill(0, regionBlocks, sourceZero)
	}
	sources := []uint16{sourceZero}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		src, err := c.source(layerID{d.uint64(), uint32(d.uvarint())})
		if err != nil {
			return err
		}
		sources = append(sources, src)
	}
	at := uint64(0)
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		gap, length, src := d.uvarint(), d.uvarint(), d.uvarint()
		if d.bad || gap > regionBlocks || length == 0 || length > regionBlocks || at+gap+length > regionBlocks || src >= uint64(len(sources)) {
			d.bad = true
			break
		}
		at += gap
		c.fill(int(at), int(at+length), sources[src])
		at += length
	}
	if d.bad || len(d.b) != 0 {
		return fmt.Errorf("map record is damaged: %w", ErrCorrupt)
	}
	return nil
}

// encode writes what stands as one record: full if a full record was applied.
func (c *composer) encode() []byte {
	kind, skip := byte(recordDelta), uint16(sourceUnset)
	if c.full {
		kind, skip = recordFull, sourceZero
	}
	index := make([]uint64, len(c.layers)+1) // composer's source -> record's
	var used []layerID
	runs, count := []byte(nil), uint64(0)
	end := 0
	for i := 0; i < regionBlocks; {
		src, j := c.cells[i], i+1
		for j < regionBlocks && c.cells[j] == src {
			j++
		}
		if src != skip {
			if src != sourceZero && index[src] == 0 {
				used = append(used, c.layers[src-1])
				index[src] = uint64(len(used))
			}
			runs = binary.AppendUvarint(runs, uint64(i-end))
			runs = binary.AppendUvarint(runs, uint64(j-i))
			runs = binary.AppendUvarint(runs, index[src])
			count++
			end = j
		}
		i = j
	}
	out := make([]byte, 0, 1+2+len(used)*10+3+len(runs))
	out = append(out, recordFormat|kind)
	out = binary.AppendUvarint(out, uint64(len(used)))
	for _, id := range used {
		out = binary.LittleEndian.AppendUint64(out, id.lineage)
		out = binary.AppendUvarint(out, uint64(id.version))
	}
	out = binary.AppendUvarint(out, count)
	return append(out, runs...)
}

// decoder reads a record; bad stays set after the first fault.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) < 1 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint64() uint64 {
	if len(d.b) < 8 {
		d.bad = true
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}
