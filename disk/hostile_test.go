package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"
)

// tinyGPT is a disk of 16 sectors with room for four entries.
func tinyGPT() []byte {
	d := make([]byte, 16*512)
	putEntry(d, 0, typeProtective, 1, 15)
	d[510], d[511] = 0x55, 0xAA
	for _, where := range []struct{ self, other, array uint64 }{{1, 15, 2}, {15, 1, 14}} {
		h := d[where.self*512:]
		copy(h, gptMagic)
		for at, v := range map[int]uint64{24: where.self, 32: where.other, 40: 3, 48: 13, 72: where.array} {
			binary.LittleEndian.PutUint64(h[at:], v)
		}
		for at, v := range map[int]uint32{8: 1 << 16, 12: gptHeader, 80: 4, 84: gptEntry} {
			binary.LittleEndian.PutUint32(h[at:], v)
		}
		putGPT(d[where.array*512:], 0, 3, 5)
		putGPT(d[where.array*512:], 2, 6, 9)
	}
	reseal(d)
	return d
}

func putGPT(array []byte, i int, first, last uint64) {
	e := array[i*gptEntry:][:gptEntry]
	e[0], e[16] = 1, byte(i+1)
	binary.LittleEndian.PutUint64(e[32:], first)
	binary.LittleEndian.PutUint64(e[40:], last)
}

func putEntry(sector []byte, i int, id byte, start, count uint32) {
	e := sector[entriesAt+i*mbrEntrySize:]
	e[4] = id
	binary.LittleEndian.PutUint32(e[8:], start)
	binary.LittleEndian.PutUint32(e[12:], count)
}

// reseal makes the checksums of both copies right, where that is possible.
func reseal(d []byte) {
	for _, at := range []int{512, len(d)/512*512 - 512} {
		if at < 512 || at+512 > len(d) {
			continue
		}
		h := d[at:][:512]
		start, n := binary.LittleEndian.Uint64(h[72:]), uint64(binary.LittleEndian.Uint32(h[80:]))*uint64(binary.LittleEndian.Uint32(h[84:]))
		if start < uint64(len(d)) && n <= uint64(len(d)) && start*512+n <= uint64(len(d)) {
			binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(d[start*512:][:n]))
		}
		if size := binary.LittleEndian.Uint32(h[12:]); size >= gptHeader && size <= 512 {
			binary.LittleEndian.PutUint32(h[16:], headerCRC(h[:size]))
		}
	}
}

func readBytes(d []byte) (*Table, error) { return Read(bytes.NewReader(d), int64(len(d))) }

func TestTinyGPT(t *testing.T) {
	got, err := readBytes(tinyGPT())
	require.NoError(t, err)
	require.NoError(t, got.Damage)
	require.Len(t, got.Partitions, 2)
	require.Equal(t, 3, got.Partitions[1].Number)
	require.EqualValues(t, 6*512, got.Partitions[1].Start)
	require.EqualValues(t, 10*512, got.Partitions[1].End())
}

// Each case breaks both copies alike and makes the checksums right again.
func TestHostileGPT(t *testing.T) {
	header64 := func(at int, v uint64) func(d []byte) {
		return func(d []byte) {
			binary.LittleEndian.PutUint64(d[512+at:], v)
			binary.LittleEndian.PutUint64(d[15*512+at:], v)
		}
	}
	header32 := func(at int, v uint32) func(d []byte) {
		return func(d []byte) {
			binary.LittleEndian.PutUint32(d[512+at:], v)
			binary.LittleEndian.PutUint32(d[15*512+at:], v)
		}
	}
	entry := func(i int, first, last uint64) func(d []byte) {
		return func(d []byte) { putGPT(d[2*512:], i, first, last); putGPT(d[14*512:], i, first, last) }
	}
	for name, c := range map[string]struct {
		breakIt func(d []byte)
		want    string
	}{
		"header elsewhere":        {header64(24, 7), "belongs in sector 7"},
		"usable beyond the disk":  {header64(48, 16), "on a disk of 16"},
		"usable without end":      {header64(48, 1<<63), "on a disk of 16"},
		"usable backwards":        {header64(40, 14), "sectors 14 to 13"},
		"usable over the MBR":     {header64(40, 0), "sectors 0 to 13"},
		"array among partitions":  {header64(72, 5), "where they cannot be"},
		"array over the MBR":      {header64(72, 0), "where they cannot be"},
		"array beyond the disk":   {header64(72, 1<<60), "where they cannot be"},
		"array that wraps":        {header64(72, ^uint64(0)), "where they cannot be"},
		"four billion entries":    {header32(80, 0xFFFFFFFF), "4294967295 entries"},
		"no entries":              {header32(80, 0), "0 entries"},
		"tiny entries":            {header32(84, 64), "64 bytes"},
		"odd entries":             {header32(84, 129), "129 bytes"},
		"huge entries":            {header32(84, 1<<31), "2147483648 bytes"},
		"tiny header":             {header32(12, 20), "header of 20 bytes"},
		"huge header":             {header32(12, 1<<30), "header of"},
		"negative header":         {header32(12, 1<<31), "header of"},
		"partition over array":    {entry(0, 2, 5), "partition 1 has sectors 2 to 5"},
		"partition beyond":        {entry(2, 6, 14), "partition 3 has sectors 6 to 14"},
		"partition backwards":     {entry(2, 9, 6), "partition 3 has sectors 9 to 6"},
		"partition without end":   {entry(2, 6, ^uint64(0)), "partition 3"},
		"partitions overlap":      {entry(2, 5, 9), "partition 3 overlaps partition 1"},
		"partition inside of one": {entry(1, 7, 8), "partition 2 overlaps partition 3"},
		"no copy at all":          {func(d []byte) { clear(d[512:1024]); clear(d[15*512:]) }, "no GPT header"},
	} {
		t.Run(name, func(t *testing.T) {
			d := tinyGPT()
			c.breakIt(d)
			reseal(d)
			_, err := readBytes(d)
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// chain is a disk of 64 sectors: a primary partition, then an extended one of
// sectors 16 to 63 with EBRs in 16, 32 and 48.
func chain() []byte {
	d := make([]byte, 64*512)
	putEntry(d, 0, 0x83, 1, 15)
	putEntry(d, 1, 0x05, 16, 48)
	for _, at := range []uint32{0, 16, 32, 48} {
		s := d[at*512:]
		s[510], s[511] = 0x55, 0xAA
		if at > 0 {
			putEntry(s, 0, 0x83, 1, 15)
		}
		if at == 16 || at == 32 {
			putEntry(s, 1, 0x05, at, 16)
		}
	}
	return d
}

func TestChain(t *testing.T) {
	got, err := readBytes(chain())
	require.NoError(t, err)
	require.Len(t, got.Partitions, 5)
	require.Equal(t, Partition{Number: 7, Start: 49 * 512, Size: 15 * 512, ID: 0x83}, got.Partitions[4])
}

func TestHostileMBR(t *testing.T) {
	for name, c := range map[string]struct {
		breakIt func(d []byte)
		want    string
	}{
		"partition over the table":   {func(d []byte) { putEntry(d, 0, 0x83, 0, 15) }, "sectors 0 to 14"},
		"partition beyond":           {func(d []byte) { putEntry(d, 1, 0x05, 16, 49) }, "partition 2"},
		"partition without end":      {func(d []byte) { putEntry(d, 1, 0x05, 16, 0xFFFFFFFF) }, "partition 2"},
		"overlap":                    {func(d []byte) { putEntry(d, 0, 0x83, 1, 16) }, "overlaps"},
		"two extended":               {func(d []byte) { putEntry(d, 0, 0x0F, 1, 15) }, "second extended"},
		"loop of one":                {func(d []byte) { putEntry(d[16*512:], 1, 0x05, 0, 16) }, "loop"},
		"loop of three":              {func(d []byte) { putEntry(d[48*512:], 1, 0x05, 0, 16) }, "loop"},
		"link out":                   {func(d []byte) { putEntry(d[48*512:], 1, 0x05, 48, 16) }, "links out"},
		"link far out":               {func(d []byte) { putEntry(d[48*512:], 1, 0x05, 0xFFFFFFFF, 16) }, "links out"},
		"link to no table":           {func(d []byte) { putEntry(d[48*512:], 1, 0x05, 40, 8) }, "breaks in sector 56"},
		"logical over its table":     {func(d []byte) { putEntry(d[32*512:], 0, 0x83, 0, 15) }, "overlaps"},
		"logical over the next one":  {func(d []byte) { putEntry(d[32*512:], 0, 0x83, 1, 17) }, "overlaps"},
		"logical out":                {func(d []byte) { putEntry(d[48*512:], 0, 0x83, 1, 16) }, "ends outside"},
		"logical far out":            {func(d []byte) { putEntry(d[48*512:], 0, 0x83, 0xFFFFFFFF, 0xFFFFFFFF) }, "ends outside"},
		"two partitions in one link": {func(d []byte) { putEntry(d[32*512:], 2, 0x83, 1, 1) }, "more than a partition"},
		"two links":                  {func(d []byte) { putEntry(d[32*512:], 2, 0x05, 1, 1) }, "more than a partition"},
	} {
		t.Run(name, func(t *testing.T) {
			d := chain()
			c.breakIt(d)
			_, err := readBytes(d)
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestNoTable(t *testing.T) {
	fat := make([]byte, 1024)
	copy(fat[54:], "FAT16")
	fat[510], fat[511] = 0x55, 0xAA
	code := make([]byte, 1024)
	code[510], code[511], code[entriesAt] = 0x55, 0xAA, 0x42
	for name, d := range map[string][]byte{"short": make([]byte, 100), "zeros": make([]byte, 4096), "fat": fat, "boot code": code} {
		_, err := readBytes(d)
		require.ErrorIs(t, err, ErrNoTable, name)
		require.NotErrorIs(t, err, ErrCorrupt, name)
	}
}

type failing struct {
	*bytes.Reader
	at int64
}

var errMedium = errors.New("medium error")

func (f failing) ReadAt(b []byte, off int64) (int, error) {
	if off == f.at {
		return 0, errMedium
	}
	return f.Reader.ReadAt(b, off)
}

// An error of the disk is no reason to believe the other copy.
func TestErrorOfTheDisk(t *testing.T) {
	for _, at := range []int64{0, 512, 1024, 14 * 512, 15 * 512} {
		d := tinyGPT()
		_, err := Read(failing{bytes.NewReader(d), at}, int64(len(d)))
		require.ErrorIs(t, err, errMedium, "byte %d", at)
	}
	d := chain()
	_, err := Read(failing{bytes.NewReader(d), 32 * 512}, int64(len(d)))
	require.ErrorIs(t, err, errMedium)
	_, err = Read(bytes.NewReader(d[:32*512]), int64(len(d)))
	require.ErrorContains(t, err, "unexpected EOF")
}

func TestGUID(t *testing.T) {
	const esp = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	g, err := ParseGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	require.NoError(t, err)
	require.Equal(t, esp, g.String())
	require.Equal(t, byte(0x28), g[0])
	for _, bad := range []string{"", "x", esp[1:], esp + "0", "C12A7328F81F-11D2-BA4B-00A0C93EC93B-"} {
		_, err := ParseGUID(bad)
		require.Error(t, err, bad)
	}
}
