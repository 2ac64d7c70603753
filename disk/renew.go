package disk

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Renew gives the disk and all partitions new identities out of random, so that a
// clone is not taken for its image: GUIDs of version 4 (RFC 9562), or an MBR
// signature. Who mounts by PARTUUID must learn the new ones. [Table.Write] puts
// them on the disk.
func (t *Table) Renew(random io.Reader) error {
	if t.gpt == nil {
		return t.renewSignature(random)
	}
	disk, err := newGUID(random)
	if err != nil {
		return err
	}
	fresh := make([]GUID, len(t.Partitions))
	for i := range fresh {
		if fresh[i], err = newGUID(random); err != nil {
			return err
		}
	}
	t.GUID = disk
	for i, g := range fresh {
		t.Partitions[i].GUID = g
	}
	return nil
}

func newGUID(random io.Reader) (GUID, error) {
	var g GUID
	if _, err := io.ReadFull(random, g[:]); err != nil {
		return g, fmt.Errorf("make a GUID: %w", err)
	}
	g = g.swapped()
	g[7] = g[7]&0x0F | 0x40 // the third group is little-endian
	g[8] = g[8]&0x3F | 0x80
	return g, nil
}

// renewSignature avoids 0, which means none.
func (t *Table) renewSignature(random io.Reader) error {
	var b [4]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return fmt.Errorf("make a disk signature: %w", err)
	}
	t.Signature = max(binary.LittleEndian.Uint32(b[:]), 1)
	return nil
}
