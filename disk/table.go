package disk

import (
	"cmp"
	"fmt"
	"io"
	"slices"
)

// Scheme is the kind of a table.
type Scheme string

// Schemes.
const (
	GPT Scheme = "gpt"
	MBR Scheme = "mbr"
)

const mbrSector = 512 // also the size of an EBR

// Partition is one partition.
type Partition struct {
	Number      int   // as in /dev/sdaN
	Start, Size int64 // bytes

	// Of GPT.

	Type       GUID
	GUID       GUID
	Name       string // at most 36 UTF-16 units on disk
	Attributes uint64 // UEFI table 5.8; bit 2 is "legacy BIOS bootable"

	// Of MBR.

	ID     byte // type
	Active bool
}

// End is the byte after the partition.
func (p Partition) End() int64 { return p.Start + p.Size }

// Extended tells whether a partition of an MBR holds logical ones and no data.
func (p Partition) Extended() bool { return p.ID == 0x05 || p.ID == 0x0F || p.ID == 0x85 }

// Table is a partition table. It is not safe for concurrent use.
type Table struct {
	Scheme     Scheme
	Size       int64       // of the disk, bytes
	SectorSize int         // bytes
	GUID       GUID        // of a GPT disk
	Signature  uint32      // of an MBR disk: first half of its PARTUUIDs
	Partitions []Partition // by number

	// Damage says which of the two copies of a GPT is unusable and why; the
	// table was read from the other one.
	Damage error

	gpt *gptCopy
	mbr *mbr

	fromBackup bool // the only whole copy on the disk is the backup
}

// Read reads the table of a disk of size bytes. It fails with [ErrNoTable],
// [ErrCorrupt] or the error of r. It does not change the disk, even if damaged.
func Read(r io.ReaderAt, size int64) (*Table, error) {
	if size < mbrSector {
		return nil, fmt.Errorf("%w: the disk has %d bytes", ErrNoTable, size)
	}
	m, err := readMBR(r)
	if err != nil {
		return nil, err
	}
	t := &Table{Size: size, mbr: m}
	if m.protective() {
		err = t.readGPT(r)
	} else {
		err = t.readPartitionsMBR(r)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Partition returns the partition of a number.
func (t *Table) Partition(number int) (Partition, bool) {
	i := t.index(number)
	if i < 0 {
		return Partition{}, false
	}
	return t.Partitions[i], true
}

func (t *Table) index(number int) int {
	return slices.IndexFunc(t.Partitions, func(p Partition) bool { return p.Number == number })
}

// span is a part of the disk in sectors, with its owner's name.
type span struct {
	start, end uint64 // end is the sector after it
	what       string
}

// checkOverlap tells of the first two spans that share a sector. It sorts spans.
func checkOverlap(spans []span) error {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(spans); i++ {
		if before := spans[i-1]; spans[i].start < before.end {
			return corruptf("%s overlaps %s", spans[i].what, before.what)
		}
	}
	return nil
}

func readAt(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read partition table at byte %d: %w", off, err)
}
