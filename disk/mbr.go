package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// An MBR, and an EBR of an extended partition:
//
//	0    boot code (440 bytes)
//	440  disk signature (u32; MBR only)
//	446  four entries of 16 bytes:
//	       0   0x80 active, 0 not; anything else is no partition table
//	       1   first sector as cylinder, head, sector: ignored
//	       4   type
//	       5   last sector, likewise ignored
//	       8   start (u32 sectors)
//	       12  count (u32 sectors)
//	510  55 AA
//
// All numbers are little-endian. In an EBR the start of the logical partition
// counts from that EBR, the start of the link from the extended partition.
const (
	signatureAt    = 440
	entriesAt      = 446
	mbrEntrySize   = 16
	mbrEntries     = 4
	typeProtective = 0xEE
)

type mbr struct {
	sector [mbrSector]byte
	ebrs   []ebr
}

type mbrEntry struct {
	active       bool
	id           byte
	start, count uint64 // sectors
}

func (e mbrEntry) empty() bool { return e.id == 0 || e.count == 0 }

func (e mbrEntry) extended() bool {
	return e.count > 0 && Partition{ID: e.id}.Extended()
}

func readMBR(r io.ReaderAt) (*mbr, error) {
	m := new(mbr)
	if err := readAt(r, m.sector[:], 0); err != nil {
		return nil, err
	}
	return m, m.check()
}

// check tells an MBR from a boot sector of a file system, which has the same
// signature, as Linux does.
func (m *mbr) check() error {
	if m.sector[510] != 0x55 || m.sector[511] != 0xAA {
		return fmt.Errorf("%w: no signature in the first sector", ErrNoTable)
	}
	used := false
	for i := range mbrEntries {
		if m.sector[entriesAt+i*mbrEntrySize]&0x7F != 0 {
			return fmt.Errorf("%w: the first sector is boot code", ErrNoTable)
		}
		used = used || !decodeEntry(&m.sector, i).empty()
	}
	if !used && m.fileSystem() {
		return fmt.Errorf("%w: a file system fills the disk", ErrNoTable)
	}
	return nil
}

func (m *mbr) fileSystem() bool {
	s := m.sector[:]
	return bytes.HasPrefix(s[54:], []byte("FAT")) || bytes.HasPrefix(s[82:], []byte("FAT32")) ||
		bytes.HasPrefix(s[3:], []byte("NTFS    ")) || bytes.HasPrefix(s[3:], []byte("EXFAT   "))
}

func (m *mbr) protective() bool {
	for i := range mbrEntries {
		if decodeEntry(&m.sector, i).id == typeProtective {
			return true
		}
	}
	return false
}

func decodeEntry(sector *[mbrSector]byte, i int) mbrEntry {
	b := sector[entriesAt+i*mbrEntrySize:][:mbrEntrySize]
	return mbrEntry{
		active: b[0] == 0x80,
		id:     b[4],
		start:  uint64(binary.LittleEndian.Uint32(b[8:])),
		count:  uint64(binary.LittleEndian.Uint32(b[12:])),
	}
}

func (e mbrEntry) partition(number int, base uint64) Partition {
	return Partition{
		Number: number,
		Start:  int64(base+e.start) * mbrSector,
		Size:   int64(e.count) * mbrSector,
		ID:     e.id,
		Active: e.active,
	}
}

func (t *Table) readPartitionsMBR(r io.ReaderAt) error {
	t.Scheme, t.SectorSize = MBR, mbrSector
	t.Signature = binary.LittleEndian.Uint32(t.mbr.sector[signatureAt:])
	sectors := uint64(t.Size / mbrSector)
	var spans []span
	var extended *mbrEntry
	for i := range mbrEntries {
		e := decodeEntry(&t.mbr.sector, i)
		if e.empty() {
			continue
		}
		s := span{e.start, e.start + e.count, fmt.Sprintf("partition %d", i+1)}
		if e.start == 0 || s.end > sectors {
			return corruptf("%s has sectors %d to %d, the disk 1 to %d", s.what, s.start, s.end-1, sectors-1)
		}
		if e.extended() && extended != nil {
			return corruptf("%s is a second extended partition", s.what)
		}
		if e.extended() {
			extended = &e
		}
		spans = append(spans, s)
		t.Partitions = append(t.Partitions, e.partition(i+1, 0))
	}
	if err := checkOverlap(spans); err != nil || extended == nil {
		return err
	}
	return t.readLogical(r, *extended)
}
