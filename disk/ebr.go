package disk

import (
	"fmt"
	"io"
)

const (
	firstLogical = 5
	// maxEBRs bounds the chain. Linux stops at 256 partitions; nobody has 128.
	maxEBRs = 128
)

// ebr is one link of the chain.
type ebr struct {
	lba    uint64
	sector [mbrSector]byte
	data   int // index of the logical partition's entry, -1: none
	link   int // index of the entry of the next EBR, -1: the last
	number int // of the logical partition
}

// readLogical follows the chain through the extended partition ext. Every EBR and
// every logical partition must lie inside of it and have its sectors alone, which
// also refuses loops.
func (t *Table) readLogical(r io.ReaderAt, ext mbrEntry) error {
	var spans []span
	number := firstLogical
	for at := ext.start; ; {
		if len(t.mbr.ebrs) == maxEBRs {
			return corruptf("the extended partition has a chain of more than %d, or a loop", maxEBRs)
		}
		x, err := t.readEBR(r, at, number)
		if err != nil || x == nil {
			return err
		}
		spans = append(spans, span{at, at + 1, fmt.Sprintf("the table in sector %d", at)})
		if x.data >= 0 {
			e := decodeEntry(&x.sector, x.data)
			s := span{at + e.start, at + e.start + e.count, fmt.Sprintf("partition %d", number)}
			if s.end > ext.start+ext.count {
				return corruptf("%s ends outside of the extended partition", s.what)
			}
			spans = append(spans, s)
			t.Partitions = append(t.Partitions, e.partition(number, at))
			number++
		}
		t.mbr.ebrs = append(t.mbr.ebrs, *x)
		if x.link < 0 {
			return checkOverlap(spans)
		}
		next := decodeEntry(&x.sector, x.link)
		if next.start >= ext.count {
			return corruptf("the table in sector %d links out of the extended partition", at)
		}
		at = ext.start + next.start
	}
}

// readEBR returns nil for an extended partition that nobody has put an EBR in.
func (t *Table) readEBR(r io.ReaderAt, at uint64, number int) (*ebr, error) {
	x := &ebr{lba: at, data: -1, link: -1, number: number}
	if err := readAt(r, x.sector[:], int64(at)*mbrSector); err != nil {
		return nil, err
	}
	if x.sector[510] != 0x55 || x.sector[511] != 0xAA {
		if len(t.mbr.ebrs) == 0 {
			return nil, nil
		}
		return nil, corruptf("the chain of logical partitions breaks in sector %d", at)
	}
	for i := range mbrEntries {
		switch e := decodeEntry(&x.sector, i); {
		case e.extended() && x.link < 0:
			x.link = i
		case e.empty():
		case e.extended() || x.data >= 0:
			return nil, corruptf("the table in sector %d has more than a partition and a link", at)
		default:
			x.data = i
		}
	}
	return x, nil
}
