package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// The directory of a zip archive is its author's word for how much memory a
// reader shall allocate: archive/zip makes room for as many entries as the end
// record says, and reads on as long as there are some. So the end record is
// looked at first, and what is read for the directory is bounded.
//
//	end record (APPNOTE 4.3.16)        ZIP64 end record (4.3.14)
//	0   PK 5 6                         0   PK 6 6
//	10  entries, 2 bytes               32  entries, 8 bytes
//	12  size of the directory, 4       40  size of the directory, 8
//	20  length of the comment, 2
//
// The ZIP64 locator (4.3.15) stands in the 20 bytes before the end record: PK 6
// 7, and at 8 the offset of the ZIP64 end record.
const (
	maxZipFiles     = 1024
	maxZipDirectory = 1 << 20
	zipEndLen       = 22
	zip64LocatorLen = 20
	zip64EndLen     = 56
	zipTail         = 256 << 10 // bytes that archive/zip reads beside the directory, and more
)

var errZipDirectory = errors.New("the archive's directory is too large")

func zipTooLarge(what string) error {
	return &InputError{Format: formatZip, Offset: -1, What: what + "; a golden image is a zip with one raw disk in it",
		Do: "unpack it and import the disk image"}
}

func checkZipDirectory(f *os.File, size int64) error {
	tailAt := max(0, size-zipEndLen-1<<16)
	tail, err := readUpTo(f, int(size-tailAt), tailAt)
	if err != nil {
		return err
	}
	end := findZipEnd(tail)
	if end < 0 {
		return nil // archive/zip refuses it, in its own words
	}
	le := binary.LittleEndian
	files, length := uint64(le.Uint16(tail[end+10:])), uint64(le.Uint32(tail[end+12:]))
	if files64, length64, ok := zip64End(f, tailAt+int64(end)); ok {
		files, length = files64, length64
	}
	if files > maxZipFiles || length > maxZipDirectory {
		return zipTooLarge(fmt.Sprintf("its directory has %d entries and %d bytes", files, length))
	}
	return nil
}

// findZipEnd returns where the end record is, as archive/zip finds it: the last
// one.
func findZipEnd(tail []byte) int {
	for i := len(tail) - zipEndLen; i >= 0; i-- {
		if bytes.HasPrefix(tail[i:], []byte("PK\x05\x06")) {
			return i
		}
	}
	return -1
}

func zip64End(f *os.File, end int64) (files, length uint64, ok bool) {
	locator, err := readUpTo(f, zip64LocatorLen, end-zip64LocatorLen)
	if err != nil || !bytes.HasPrefix(locator, []byte("PK\x06\x07")) || len(locator) < zip64LocatorLen {
		return 0, 0, false
	}
	record, err := readUpTo(f, zip64EndLen, int64(binary.LittleEndian.Uint64(locator[8:])&(1<<62-1)))
	if err != nil || !bytes.HasPrefix(record, []byte("PK\x06\x06")) || len(record) < zip64EndLen {
		return 0, 0, false
	}
	le := binary.LittleEndian
	return le.Uint64(record[32:]), le.Uint64(record[40:]), true
}

// boundedReaderAt reads no more than left bytes in all; -1 is no limit.
type boundedReaderAt struct {
	r    *os.File
	left int64
}

func (b *boundedReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if b.left < 0 {
		return b.r.ReadAt(p, off)
	}
	if int64(len(p)) > b.left {
		return 0, errZipDirectory
	}
	b.left -= int64(len(p))
	return b.r.ReadAt(p, off)
}
