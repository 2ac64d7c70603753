package disk

import (
	"encoding/binary"
	"fmt"
	"math"
)

// alignment of the ends of grown partitions, bytes: what sfdisk and parted align
// to, and a multiple of every file system's block.
const alignment = 1 << 20

// Resize tells the table that the disk has size bytes now, no fewer than before:
// the backup of a GPT moves to the new end. [Table.Write] puts it on the disk.
func (t *Table) Resize(size int64) error {
	if size < t.Size {
		return fmt.Errorf("cannot shrink a partition table from %d to %d bytes", t.Size, size)
	}
	if t.gpt != nil {
		if err := t.placeGPT(size); err != nil {
			return err
		}
	}
	t.Size = size
	return nil
}

// placeGPT works out where everything of a GPT goes on a disk of size bytes.
func (t *Table) placeGPT(size int64) error {
	if t.mbr.hybrid() {
		return fmt.Errorf("the disk has a hybrid MBR, whose entries would no longer fit its GPT: make it a protective one with gdisk first")
	}
	c := *t.gpt
	end := uint64(size/int64(t.SectorSize)) - 1
	n := c.arraySectors(t.SectorSize)
	if end < n+c.first {
		return corruptf("a disk of %d bytes has no room for two copies of the table", size)
	}
	c.last = end - n - 1
	for _, p := range t.Partitions {
		if uint64(p.End()/int64(t.SectorSize)) > c.last+1 {
			return corruptf("partition %d leaves no room for the backup of the table", p.Number)
		}
	}
	if c.self != 1 {
		c.array = 2 // of the primary copy, which is damaged
	}
	if c.array+n > c.first {
		return corruptf("GPT entries in sector %d are not in front of the partitions", c.array)
	}
	c.self, c.alternate = 1, end
	t.gpt = &c
	return nil
}

// Grow makes a partition end where the next one begins, or at the end of the
// disk, rounded down to 1 MiB; one that ends there already stays as it is. A
// logical partition takes its extended one along. [Table.Write] puts it on the disk.
func (t *Table) Grow(number int) error {
	i := t.index(number)
	if i < 0 {
		return fmt.Errorf("there is no partition %d", number)
	}
	switch {
	case t.gpt != nil:
		t.growTo(i, t.roomGPT(t.Partitions[i]))
	case number < firstLogical:
		t.growTo(i, t.roomMBR(t.Partitions[i]))
	default:
		t.growLogical(i)
	}
	return nil
}

// growTo moves the end of partition i up to the aligned limit, never down.
func (t *Table) growTo(i int, limit int64) {
	p := &t.Partitions[i]
	if end := limit / alignment * alignment; end > p.End() {
		p.Size = end - p.Start
	}
}

func (t *Table) roomGPT(p Partition) int64 {
	limit := int64(t.gpt.last+1) * int64(t.SectorSize)
	for _, q := range t.Partitions {
		if q.Start > p.Start {
			limit = min(limit, q.Start)
		}
	}
	return limit
}

// roomMBR looks at primary partitions alone.
func (t *Table) roomMBR(p Partition) int64 {
	limit := min(t.Size, math.MaxUint32*mbrSector)
	for _, q := range t.Partitions {
		if q.Number < firstLogical && q.Start > p.Start {
			limit = min(limit, q.Start)
		}
	}
	return limit
}

// growLogical grows the extended partition if the logical one is its last, then
// the logical one up to what follows. EBRs need not be in the order of the disk.
func (t *Table) growLogical(i int) {
	p := t.Partitions[i]
	limit := int64(math.MaxInt64)
	for _, x := range t.mbr.ebrs {
		if at := int64(x.lba) * mbrSector; at > p.Start {
			limit = min(limit, at)
		}
	}
	for _, q := range t.Partitions {
		if q.Number >= firstLogical && q.Start > p.Start {
			limit = min(limit, q.Start)
		}
	}
	if limit == math.MaxInt64 {
		ext := t.extended()
		t.growTo(ext, t.roomMBR(t.Partitions[ext]))
		limit = t.Partitions[ext].End()
	}
	t.growTo(i, limit)
}

func (t *Table) extended() int {
	for i, p := range t.Partitions {
		if p.Extended() && p.Number < firstLogical {
			return i
		}
	}
	return -1
}

// Last is the partition that ends last and holds data: on most images the root.
func (t *Table) Last() (Partition, bool) {
	var last Partition
	for _, p := range t.Partitions {
		if !(t.Scheme == MBR && p.Extended()) && p.End() > last.End() {
			last = p
		}
	}
	return last, last.Size > 0
}

// hybrid tells of an MBR that shows partitions of a GPT to old systems.
func (m *mbr) hybrid() bool {
	for i := range mbrEntries {
		if e := decodeEntry(&m.sector, i); !e.empty() && e.id != typeProtective {
			return true
		}
	}
	return false
}

// putCount sets the length of an entry. If it changes, the cylinder, head and
// sector of the end say "too large for this", as every tool writes it.
func putCount(sector *[mbrSector]byte, i int, count uint64) {
	e := sector[entriesAt+i*mbrEntrySize:][:mbrEntrySize]
	n := uint32(min(count, math.MaxUint32))
	if n == binary.LittleEndian.Uint32(e[12:]) {
		return
	}
	binary.LittleEndian.PutUint32(e[12:], n)
	if e[4] != typeProtective {
		e[5], e[6], e[7] = 0xFE, 0xFF, 0xFF
	}
}
