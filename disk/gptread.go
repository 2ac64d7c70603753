package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

var sectorSizes = []int{512, 4096}

func partitionName(number int) string { return fmt.Sprintf("partition %d", number) }

// readGPT takes the first copy that is whole: primary ones before backups, since a
// backup may be left from an older table.
func (t *Table) readGPT(r io.ReaderAt) error {
	t.Scheme = GPT
	var first error
	for _, find := range []func(io.ReaderAt, int) (*gptCopy, error){t.primary, t.backup} {
		for _, size := range sectorSizes {
			c, err := find(r, size)
			if err == nil {
				return t.useGPT(r, c, size, first)
			}
			if !errors.Is(err, ErrCorrupt) {
				return err
			}
			// What stands where no table was expected says less.
			if first == nil || errors.Is(first, errNoHeader) {
				first = err
			}
		}
	}
	return first
}

// useGPT fills the table from c and looks at the other copy. Damage of the primary
// one is given.
func (t *Table) useGPT(r io.ReaderAt, c *gptCopy, sectorSize int, damage error) (err error) {
	t.gpt, t.SectorSize = c, sectorSize
	t.GUID = GUID(c.raw[56:72])
	if t.Partitions, err = c.partitions(sectorSize); err != nil {
		return err
	}
	if c.self != 1 {
		t.Damage, t.fromBackup = fmt.Errorf("primary table: %w", damage), true
		return nil
	}
	other, err := t.copyAt(r, c.alternate, sectorSize)
	switch {
	case errors.Is(err, ErrCorrupt):
		t.Damage = fmt.Errorf("backup table: %w", err)
	case err != nil:
		return err
	case !bytes.Equal(other.entries, c.entries):
		t.Damage = fmt.Errorf("backup table: %w", corruptf("it differs from the primary one"))
	}
	return nil
}

func (t *Table) primary(r io.ReaderAt, sectorSize int) (*gptCopy, error) {
	return t.copyAt(r, 1, sectorSize)
}

// backup looks in the last sector, then where the primary header points to even
// if that is damaged: the backup of a disk that has grown is not at the end, and
// proves itself.
func (t *Table) backup(r io.ReaderAt, sectorSize int) (*gptCopy, error) {
	c, err := t.copyAt(r, uint64(t.Size/int64(sectorSize))-1, sectorSize)
	if err == nil || !errors.Is(err, ErrCorrupt) {
		return c, err
	}
	head := make([]byte, gptHeader)
	if int64(sectorSize+len(head)) > t.Size {
		return nil, err
	}
	if e := readAt(r, head, int64(sectorSize)); e != nil {
		return nil, e
	}
	if c, e := t.copyAt(r, binary.LittleEndian.Uint64(head[32:]), sectorSize); e == nil || !errors.Is(e, ErrCorrupt) {
		return c, e
	}
	return nil, err
}

// copyAt reads a header and its array and checks both.
func (t *Table) copyAt(r io.ReaderAt, at uint64, sectorSize int) (*gptCopy, error) {
	sectors := uint64(t.Size / int64(sectorSize))
	if at == 0 || at >= sectors {
		return nil, errNoHeader
	}
	b := make([]byte, sectorSize)
	if err := readAt(r, b, int64(at)*int64(sectorSize)); err != nil {
		return nil, err
	}
	c, err := decodeHeader(b)
	if err != nil {
		return nil, err
	}
	if err := c.check(at, sectors, sectorSize); err != nil {
		return nil, err
	}
	c.entries = make([]byte, c.count*c.entrySize)
	if err := readAt(r, c.entries, int64(c.array)*int64(sectorSize)); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(c.entries) != binary.LittleEndian.Uint32(c.raw[88:]) {
		return nil, corruptf("GPT entries have a wrong checksum")
	}
	return c, nil
}
