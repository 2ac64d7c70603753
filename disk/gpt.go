package disk

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"unicode/utf16"
)

// A GPT header, in sector 1 and in the last one (little-endian):
//
//	0   "EFI PART"
//	8   revision (u32)
//	12  header size (u32), 92 or more
//	16  CRC-32 of the header, taken with this field zero
//	20  0
//	24  sector of this header (u64)
//	32  sector of the other header
//	40  first sector for partitions
//	48  last sector for partitions
//	56  GUID of the disk
//	72  first sector of the array of entries
//	80  number of entries (u32)
//	84  size of an entry (u32): 128 or a power of two above
//	88  CRC-32 of the array
//
// An entry:
//
//	0   type GUID, zero: unused
//	16  GUID
//	32  first sector (u64)
//	40  last sector
//	48  attributes
//	56  name, UTF-16, 36 units
const (
	gptMagic     = "EFI PART"
	gptHeader    = 92
	gptEntry     = 128
	maxGPTEntry  = 4096
	maxGPTArray  = 1 << 20 // bytes; 128 entries of 128 bytes are usual
	gptNameAt    = 56
	gptNameBytes = 72
)

// gptCopy is a header and its array.
type gptCopy struct {
	raw              []byte // header as read, of the header's size
	self, alternate  uint64
	first, last      uint64
	array            uint64
	count, entrySize uint64
	entries          []byte
}

func decodeHeader(b []byte) (*gptCopy, error) {
	le := binary.LittleEndian
	if !bytes.HasPrefix(b, []byte(gptMagic)) {
		return nil, errNoHeader
	}
	size := le.Uint32(b[12:])
	if size < gptHeader || int(size) > len(b) {
		return nil, corruptf("GPT header of %d bytes", size)
	}
	raw := bytes.Clone(b[:size])
	if le.Uint32(raw[16:]) != headerCRC(raw) {
		return nil, corruptf("GPT header has a wrong checksum")
	}
	return &gptCopy{
		raw:       raw,
		self:      le.Uint64(raw[24:]),
		alternate: le.Uint64(raw[32:]),
		first:     le.Uint64(raw[40:]),
		last:      le.Uint64(raw[48:]),
		array:     le.Uint64(raw[72:]),
		count:     uint64(le.Uint32(raw[80:])),
		entrySize: uint64(le.Uint32(raw[84:])),
	}, nil
}

func headerCRC(raw []byte) uint32 {
	b := bytes.Clone(raw)
	clear(b[16:20])
	return crc32.ChecksumIEEE(b)
}

// arraySectors is the length of the array.
func (c *gptCopy) arraySectors(sectorSize int) uint64 {
	return (c.count*c.entrySize + uint64(sectorSize) - 1) / uint64(sectorSize)
}

// check looks at the header alone: where was it found, is all inside of the disk.
// After it no sum of two positions overflows.
func (c *gptCopy) check(at, sectors uint64, sectorSize int) error {
	switch {
	case c.self != at || c.alternate == at:
		return corruptf("GPT header belongs in sector %d, the other in %d", c.self, c.alternate)
	case c.entrySize < gptEntry || c.entrySize > maxGPTEntry || c.entrySize&(c.entrySize-1) != 0:
		return corruptf("GPT entries of %d bytes", c.entrySize)
	case c.count == 0 || c.count*c.entrySize > maxGPTArray:
		return corruptf("GPT of %d entries", c.count)
	case c.first < 2 || c.first > c.last || c.last >= sectors:
		return corruptf("GPT for sectors %d to %d on a disk of %d", c.first, c.last, sectors)
	}
	n := c.arraySectors(sectorSize)
	if c.array < 2 || c.array >= sectors || c.array+n > sectors || c.array <= c.last && c.array+n > c.first {
		return corruptf("GPT entries in sectors %d and following, where they cannot be", c.array)
	}
	if c.array <= at && at < c.array+n || at >= c.first && at <= c.last {
		return corruptf("GPT header in sector %d, where partitions or entries are", at)
	}
	return nil
}

// partitions decodes the array and checks that no two partitions overlap.
func (c *gptCopy) partitions(sectorSize int) ([]Partition, error) {
	var list []Partition
	var spans []span
	for i := range c.count {
		e := c.entries[i*c.entrySize:][:gptEntry]
		p := decodeGPTEntry(e, int(i)+1)
		if p.Type == (GUID{}) {
			continue
		}
		start, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		if start < c.first || start > last || last > c.last {
			return nil, corruptf("partition %d has sectors %d to %d, the table %d to %d", p.Number, start, last, c.first, c.last)
		}
		p.Start, p.Size = int64(start)*int64(sectorSize), int64(last-start+1)*int64(sectorSize)
		list = append(list, p)
		spans = append(spans, span{start, last + 1, partitionName(p.Number)})
	}
	return list, checkOverlap(spans)
}

func decodeGPTEntry(e []byte, number int) Partition {
	return Partition{
		Number:     number,
		Type:       GUID(e[0:16]),
		GUID:       GUID(e[16:32]),
		Attributes: binary.LittleEndian.Uint64(e[48:]),
		Name:       decodeName(e[gptNameAt:][:gptNameBytes]),
	}
}

func decodeName(b []byte) string {
	var units []uint16
	for ; len(b) > 0; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
