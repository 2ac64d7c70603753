package disk

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// Target is a disk to write to. Sync returns when all writes before it are
// durable.
type Target interface {
	io.WriterAt
	Sync() error
}

// Write puts the table on the disk, both copies of a GPT: so it also mends a damaged
// one. It writes nothing but the table's own sectors, and keeps what it does not
// know of. After an error the disk has the old table or the new one: read it again.
//
// A GPT MUST have a whole copy on the disk whenever the writing stops: the copy
// that the table was read from is written last, and synced writes stand between.
// Sectors of an MBR are each written as one; a container before what it holds.
func (t *Table) Write(w Target) error {
	if err := t.Resize(t.Size); err != nil {
		return err
	}
	steps := t.stepsMBR
	if t.gpt != nil {
		steps = t.stepsGPT
	}
	for _, s := range steps() {
		for _, p := range s {
			if _, err := w.WriteAt(p.data, p.off); err != nil {
				return fmt.Errorf("write partition table at byte %d: %w", p.off, err)
			}
		}
		if err := w.Sync(); err != nil {
			return fmt.Errorf("write partition table: %w", err)
		}
	}
	t.Damage, t.fromBackup = nil, false
	return nil
}

// patch is a piece to write; a step is patches with a sync after them.
type patch struct {
	off  int64
	data []byte
}

type step []patch

func (t *Table) stepsGPT() []step {
	t.encodeEntries()
	primary, backup := t.encodeCopy(1), t.encodeCopy(t.gpt.alternate)
	if t.fromBackup {
		return []step{primary, backup, {t.encodeProtective()}}
	}
	return []step{backup, primary, {t.encodeProtective()}}
}

// encodeEntries puts what may have changed into the array: the ends and GUIDs.
func (t *Table) encodeEntries() {
	for _, p := range t.Partitions {
		e := t.gpt.entries[uint64(p.Number-1)*t.gpt.entrySize:]
		copy(e[16:32], p.GUID[:])
		binary.LittleEndian.PutUint64(e[40:], uint64(p.End()/int64(t.SectorSize)-1))
	}
}

func (t *Table) encodeCopy(at uint64) step {
	c, le, ss := t.gpt, binary.LittleEndian, int64(t.SectorSize)
	other, array := c.alternate, c.array
	if at != 1 {
		other, array = 1, at-c.arraySectors(t.SectorSize)
	}
	h := make([]byte, ss)
	raw := h[:copy(h, c.raw)]
	le.PutUint64(raw[24:], at)
	le.PutUint64(raw[32:], other)
	le.PutUint64(raw[40:], c.first)
	le.PutUint64(raw[48:], c.last)
	copy(raw[56:72], t.GUID[:])
	le.PutUint64(raw[72:], array)
	le.PutUint32(raw[88:], crc32.ChecksumIEEE(c.entries))
	le.PutUint32(raw[16:], headerCRC(raw))
	return step{{int64(array) * ss, c.entries}, {int64(at) * ss, h}}
}

// encodeProtective makes the protective entry as long as the disk, or as long as
// it can be.
func (t *Table) encodeProtective() patch {
	for i := range mbrEntries {
		if e := decodeEntry(&t.mbr.sector, i); e.id == typeProtective && e.start == 1 {
			putCount(&t.mbr.sector, i, t.gpt.alternate)
		}
	}
	return patch{0, t.mbr.sector[:]}
}

func (t *Table) stepsMBR() []step {
	binary.LittleEndian.PutUint32(t.mbr.sector[signatureAt:], t.Signature)
	for _, p := range t.Partitions {
		if p.Number < firstLogical {
			putCount(&t.mbr.sector, p.Number-1, uint64(p.Size/mbrSector))
		}
	}
	steps := []step{{{0, t.mbr.sector[:]}}}
	for i := range t.mbr.ebrs {
		steps = append(steps, step{t.encodeEBR(i)})
	}
	return steps
}

// encodeEBR sets the size of the logical partition and that of the link, which
// spans the next EBR and its partition.
func (t *Table) encodeEBR(i int) patch {
	x := &t.mbr.ebrs[i]
	if x.data >= 0 {
		p, _ := t.Partition(x.number)
		putCount(&x.sector, x.data, uint64(p.Size/mbrSector))
	}
	if x.link >= 0 {
		next := t.mbr.ebrs[i+1]
		if p, ok := t.Partition(next.number); ok && next.data >= 0 {
			putCount(&x.sector, x.link, uint64(p.End()/mbrSector)-next.lba)
		}
	}
	return patch{int64(x.lba) * mbrSector, x.sector[:]}
}
