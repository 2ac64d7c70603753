package source

import (
	"bytes"
	"encoding/binary"
)

// Names of the formats this package reads, as Source.Format returns them.
const (
	formatRaw  = "raw"
	formatGzip = "gzip"
	formatXZ   = "xz"
	formatZstd = "zstd"
	formatZip  = "zip"
	formatTar  = "tar"
)

// SniffLen is how many bytes Detect wants to see.
const SniffLen = 512

// A magic is bytes at a fixed place that tell a format.
type magic struct {
	format string
	offset int
	bytes  string
}

// magics returns the formats and where each is documented: RFC 1952; the .xz
// format 2.1.1; RFC 8878; APPNOTE 4.3.7 and 4.3.16; qemu's block drivers for the
// disk formats, under the names qemu gives them; POSIX ustar.
func magics() []magic {
	return []magic{
		{formatGzip, 0, "\x1f\x8b"},
		{formatXZ, 0, "\xfd7zXZ\x00"},
		{formatZstd, 0, "\x28\xb5\x2f\xfd"},
		{formatZip, 0, "PK\x03\x04"},
		{formatZip, 0, "PK\x05\x06"}, // an archive without files
		{"qcow2", 0, "QFI\xfb\x00\x00\x00\x02"},
		{"qcow2", 0, "QFI\xfb\x00\x00\x00\x03"},
		{"qcow", 0, "QFI\xfb\x00\x00\x00\x01"},
		{"qcow2", 0, "QFI\xfb"}, // of a version to come
		{"qed", 0, "QED\x00"},
		{"vmdk", 0, "KDMV"},
		{"vmdk", 0, "COWD"},
		{"vmdk", 0, "# Disk DescriptorFile"},
		{"vhdx", 0, "vhdxfile"},
		{"vpc", 0, "conectix"}, // .vhd, dynamic; see isFixedVHD
		{"vdi", 0x40, "\x7f\x10\xda\xbe"},
		{formatTar, 257, "ustar"},
	}
}

// Detect names the format of an input from its first SniffLen bytes (fewer if
// the input is shorter). Whatever nothing recognises is a raw disk.
func Detect(head []byte) string {
	for _, m := range magics() {
		if len(head) >= m.offset && bytes.HasPrefix(head[m.offset:], []byte(m.bytes)) {
			return m.format
		}
	}
	if isSkippable(head) {
		return formatZstd
	}
	return formatRaw
}

// isSkippable recognises a zstd skippable frame (RFC 8878, 3.1.2), with which
// some tools begin their output.
func isSkippable(head []byte) bool {
	return len(head) >= 4 && binary.LittleEndian.Uint32(head)&^0xf == 0x184D2A50
}

// isFixedVHD recognises the footer of a .vhd of fixed size, the one disk format
// that has nothing at its start. All of cookie, disk type, size and checksum
// must fit, so that a raw disk is not taken for one by chance.
func isFixedVHD(footer []byte, fileSize int64) bool {
	const typeOffset, sizeOffset, sumOffset, fixed = 60, 48, 64, 2
	if len(footer) != 512 || !bytes.HasPrefix(footer, []byte("conectix")) {
		return false
	}
	var sum uint32
	for i, b := range footer {
		if i < sumOffset || i >= sumOffset+4 {
			sum += uint32(b)
		}
	}
	be := binary.BigEndian
	return be.Uint32(footer[sumOffset:]) == ^sum &&
		be.Uint32(footer[typeOffset:]) == fixed &&
		be.Uint64(footer[sizeOffset:]) == uint64(fileSize-512)
}

// refusal returns why a format cannot be read at all or not by this package,
// nil if it can.
func refusal(format string) error {
	switch format {
	case formatRaw, formatGzip, formatXZ, formatZstd, formatZip:
		return nil
	case formatTar:
		return &InputError{Format: formatTar, Offset: -1, What: "an archive of files, not a disk",
			Do: "unpack it and import the disk image inside"}
	}
	return &NeedsConverter{Format: format}
}

// innerRefusal returns why a decompressed disk that begins with head cannot be
// imported, nil if it can: only a raw disk may be inside.
func innerRefusal(outer string, head []byte) error {
	inner := Detect(head)
	if inner == formatRaw {
		return nil
	}
	return &InputError{Format: outer, Offset: -1,
		What: "what it holds is not a raw disk but " + inner,
		Do:   "decompress it first and import the " + inner + " file"}
}
