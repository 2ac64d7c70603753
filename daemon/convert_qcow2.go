package daemon

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// qcow2 is what we read of a header (qemu's docs/interop/qcow2.txt). All
// numbers are big-endian:
//
//	 8 backing file's place   16 its name's length   20 log2 of a cluster
//	24 disk's size            32 encryption          36 entries of L1
//	40 place of L1            72 features that a reader must know (version 3)
//
// An L1 entry holds, in bits 9-55, the place of an L2 table of one cluster.
// An L2 entry maps one cluster: bits 9-55 its place, bit 0 "reads as zero",
// bit 62 "compressed": then place and length in sectors share the bits below.
// With extended L2 entries a second word has a bit for each of 32 subclusters
// that is allocated.
type qcow2 struct {
	clusterBits uint
	size        int64
	l1, l1Len   int64 // place, entries
	extended    bool
}

const (
	qcow2Place      = 0x00fffffffffffe00
	qcow2Compressed = 1 << 62
	qcow2Zero       = 1

	featureCorrupt  = 1 << 1
	featureData     = 1 << 2
	featureExtended = 1 << 4
	featuresKnown   = 1<<5 - 1

	maxL1 = 32 << 20 / 8 // entries; qemu's own limit
)

func (c *converter) parseQcow2(h []byte) (q qcow2, err error) {
	if len(h) < 72 {
		return q, c.short()
	}
	be := binary.BigEndian
	version := be.Uint32(h[4:])
	var features uint64
	if version >= 3 {
		if len(h) < 104 {
			return q, c.short()
		}
		features = be.Uint64(h[72:])
	}
	if off := be.Uint64(h[8:]); off != 0 {
		return q, c.backing(h, off, uint64(be.Uint32(h[16:])))
	}
	if err := c.checkQcow2Features(version, be.Uint32(h[32:]), features); err != nil {
		return q, err
	}
	q = qcow2{
		clusterBits: uint(be.Uint32(h[20:])),
		size:        int64(be.Uint64(h[24:])),
		l1:          int64(be.Uint64(h[40:])),
		l1Len:       int64(be.Uint32(h[36:])),
		extended:    features&featureExtended != 0,
	}
	return q, c.checkQcow2Bounds(q)
}

func (c *converter) checkQcow2Features(version, crypt uint32, features uint64) error {
	switch {
	case version != 2 && version != 3:
		return c.refuse(fmt.Sprintf("version %d of the format is not known", version), "convert it with the program that made it", nil)
	case crypt != 0:
		return c.refuse("encrypted", doDecrypt, nil)
	case features&featureData != 0:
		return c.refuse("its data is in another file (external data file)", doFlatten, nil)
	case features&featureCorrupt != 0:
		return c.refuse("marked as damaged by the program that wrote it", "repair it with qemu-img check -r all", nil)
	case features&^featuresKnown != 0:
		return c.refuse(fmt.Sprintf("it needs features that are not known (%#x)", features&^featuresKnown),
			"convert it with the program that made it", nil)
	}
	return nil
}

func (c *converter) checkQcow2Bounds(q qcow2) error {
	if q.clusterBits < 9 || q.clusterBits > 21 {
		return c.refuse(fmt.Sprintf("its header claims clusters of 2^%d bytes", q.clusterBits), fetchAgain, nil)
	}
	if q.size < 0 || q.size > maxConverted {
		return c.refuse(fmt.Sprintf("its header claims a disk of %d bytes", uint64(q.size)), "check where it comes from", nil)
	}
	if q.l1Len > maxL1 || q.l1Len < q.l1Needed() || q.l1 < 0 {
		return c.refuse("its L1 table does not fit the disk", fetchAgain, nil)
	}
	if q.l1 > c.size || q.l1+8*q.l1Len > c.size {
		return c.truncated(0, q.l1+8*q.l1Len)
	}
	return nil
}

func (q qcow2) cluster() int64 { return 1 << q.clusterBits }

func (q qcow2) entryLen() int64 {
	if q.extended {
		return 16
	}
	return 8
}

// perL2 is how much of the disk one L2 table maps, in bytes.
func (q qcow2) perL2() int64    { return q.cluster() / q.entryLen() * q.cluster() }
func (q qcow2) l1Needed() int64 { return (q.size + q.perL2() - 1) / q.perL2() }

// walkQcow2 follows every table and makes sure that what it maps is there.
func (c *converter) walkQcow2(ctx context.Context) error {
	header, err := c.readUpTo(headerLen, 0)
	if err != nil {
		return err
	}
	q, err := c.parseQcow2(header)
	if err != nil {
		return err
	}
	l1, err := c.readUpTo(int(8*q.l1Needed()), q.l1)
	if err != nil {
		return err
	}
	// No two entries may share a table; so there cannot be more of them than
	// clusters in the file. This bounds the work that a small file can cause.
	tables := c.size >> q.clusterBits
	for i := int64(0); i < q.l1Needed() && 8*i+8 <= int64(len(l1)); i++ {
		place := int64(binary.BigEndian.Uint64(l1[8*i:]) & qcow2Place)
		if place == 0 {
			continue
		}
		if tables--; tables < 0 {
			return c.refuse("its L1 table uses the same L2 tables again and again", fetchAgain, nil)
		}
		if err := errorOf(ctx, c.walkL2(q, place, i*q.perL2())); err != nil {
			return err
		}
	}
	return nil
}

func errorOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *converter) walkL2(q qcow2, place, start int64) error {
	if place+q.cluster() > c.size {
		return c.truncated(start, place+q.cluster())
	}
	table, err := c.readUpTo(int(q.cluster()), place)
	if err != nil {
		return err
	}
	for at := start; len(table) >= int(q.entryLen()) && at < q.size; at += q.cluster() {
		if end := q.end(table, q.size-at); end > c.size {
			return c.truncated(at, end)
		}
		table = table[q.entryLen():]
	}
	return nil
}

// end returns where in the file the bytes end that the first entry of table
// maps, 0 if none; left is how much of the disk there is from here on.
func (q qcow2) end(table []byte, left int64) int64 {
	entry := binary.BigEndian.Uint64(table)
	if entry&qcow2Compressed != 0 {
		return q.compressedEnd(entry)
	}
	used := q.cluster()
	if q.extended {
		allocated := uint32(binary.BigEndian.Uint64(table[8:]))
		used = int64(32-bits.LeadingZeros32(allocated)) * (q.cluster() / 32)
	} else if entry&qcow2Zero != 0 {
		used = 0
	}
	place := int64(entry & qcow2Place)
	if place == 0 || used == 0 {
		return 0
	}
	return place + min(used, left)
}

// compressedEnd leaves out the last sector but its first byte: it is counted
// in full even if the file ends inside it.
func (q qcow2) compressedEnd(entry uint64) int64 {
	shift := 62 - (q.clusterBits - 8)
	place := int64(entry & (1<<shift - 1))
	more := int64(entry>>shift) & (1<<(q.clusterBits-8) - 1) // sectors after the first
	return max(place, place&^511+more*512) + 1
}
