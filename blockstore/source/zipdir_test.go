package source_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/blockstore"
	"goldstream/blockstore/source"
)

func zipOf(t *testing.T, files int, nameLen int) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for i := range files {
		_, err := w.Create(fmt.Sprintf("%0*d/", nameLen, i))
		require.NoError(t, err)
	}
	f, err := w.Create("disk.raw")
	require.NoError(t, err)
	_, err = f.Write(disk(4096, 1))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// TestZipDirectoryIsBounded: neither what the end record says nor what the
// directory holds makes the reader allocate without a limit.
func TestZipDirectoryIsBounded(t *testing.T) {
	_, err := read(t, zipOf(t, 1023, 8))
	require.NoError(t, err, "directories of the archive are no files")
	for name, content := range map[string][]byte{
		"many entries": zipOf(t, 1024, 8),
		"long names":   zipOf(t, 100, 20_000),
		"wrapped": func() []byte { // 65536+1 entries that the record calls 1
			p := zipOf(t, 1<<16, 8)
			end := bytes.LastIndex(p, []byte("PK\x05\x06"))
			locator := end - 20
			offset := binary.LittleEndian.Uint64(p[locator-56+48:])
			copy(p[locator:], "xxxx")
			binary.LittleEndian.PutUint32(p[end+16:], uint32(offset))
			binary.LittleEndian.PutUint16(p[end+8:], 1)
			binary.LittleEndian.PutUint16(p[end+10:], 1)
			binary.LittleEndian.PutUint32(p[end+12:], 100)
			return p
		}(),
	} {
		_, err := read(t, content)
		require.ErrorIs(t, err, blockstore.ErrInvalid, name)
		require.ErrorContains(t, err, "one raw disk", name)
	}
}

// TestZip64ClaimOfEntries has a sparse file claim more entries than memory has
// room for.
func TestZip64ClaimOfEntries(t *testing.T) {
	le := binary.LittleEndian
	record := make([]byte, 56+20+22)
	copy(record, "PK\x06\x06")
	le.PutUint64(record[4:], 44)
	le.PutUint64(record[24:], 1<<33)
	le.PutUint64(record[32:], 1<<33)
	le.PutUint64(record[40:], 1000)
	copy(record[56:], "PK\x06\x07")
	const size = 1 << 40
	le.PutUint64(record[56+8:], size-uint64(len(record)))
	copy(record[76:], "PK\x05\x06\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
	f, err := os.Create(writeFile(t, nil))
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("PK\x03\x04"), 0)
	require.NoError(t, err)
	_, err = f.WriteAt(record, size-int64(len(record)))
	require.NoError(t, err)
	_, err = source.Open(f)
	require.ErrorIs(t, err, blockstore.ErrInvalid)
	require.ErrorContains(t, err, "8589934592 entries")
}
