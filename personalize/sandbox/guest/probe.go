package guest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Types of content that are no file system, as blkid names them.
const (
	typeLVM     = "LVM2_member"
	typeLUKS    = "crypto_LUKS"
	typeSwap    = "swap"
	typeUnknown = "unknown"
)

// content is what a device holds, by its superblock.
type content struct{ kind, label, uuid string }

// probeSize covers the superblocks: that of btrfs is at 64 KiB.
const probeSize = 68 << 10

func probe(r io.ReaderAt) (content, error) {
	head := make([]byte, probeSize)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return content{}, err
	}
	return identify(head[:n]), nil
}

// identify goes by magic numbers. One superblock may be left over below another:
// those that stand where others do not reach come last.
func identify(b []byte) content {
	head := make([]byte, probeSize)
	copy(head, b)
	switch {
	case has(head, 0, "LUKS\xba\xbe"):
		return content{typeLUKS, "", text(head[168:208])}
	case has(head, 0, "XFSB"):
		return content{"xfs", text(head[108:120]), uuid(head[32:48])}
	case hasLVMLabel(head):
		return content{kind: typeLVM}
	case has(head, 4086, "SWAPSPACE2"):
		return content{typeSwap, text(head[1052:1068]), uuid(head[1036:1052])}
	case has(head, 1024+0x38, "\x53\xef"):
		return content{ext(head[1024:]), text(head[1024+0x78 : 1024+0x88]), uuid(head[1024+0x68 : 1024+0x78])}
	case has(head, 64<<10+0x40, "_BHRfS_M"):
		return content{"btrfs", text(head[64<<10+0x12b : 64<<10+0x22b]), uuid(head[64<<10+0x20 : 64<<10+0x30])}
	case has(head, 3, "NTFS    "):
		return content{kind: "ntfs", uuid: strings.ToUpper(hex.EncodeToString(head[72:80]))}
	case has(head, 32769, "CD001"):
		return content{"iso9660", text(head[32808:32840]), ""}
	case has(head, 0, "hsqs"):
		return content{kind: "squashfs"}
	case has(head, 510, "\x55\xaa") && has(head, 82, "FAT32"):
		return content{"vfat", text(head[71:82]), serial(head[67:71])}
	case has(head, 510, "\x55\xaa") && has(head, 54, "FAT"):
		return content{"vfat", text(head[43:54]), serial(head[39:43])}
	}
	return content{kind: typeUnknown}
}

func has(b []byte, at int, magic string) bool { return string(b[at:at+len(magic)]) == magic }

// hasLVMLabel looks in the first four sectors (label.h).
func hasLVMLabel(b []byte) bool {
	for at := 0; at < 2048; at += 512 {
		if has(b, at, "LABELONE") && has(b, at+24, "LVM2 001") {
			return true
		}
	}
	return false
}

// ext tells the three by their features, as blkid does.
func ext(super []byte) string {
	const hasJournal, newIncompat, newReadOnly = 4, ^uint32(0x0002 | 0x0004 | 0x0008), ^uint32(0x0001 | 0x0002 | 0x0004)
	compat := binary.LittleEndian.Uint32(super[0x5c:])
	incompat := binary.LittleEndian.Uint32(super[0x60:])
	readOnly := binary.LittleEndian.Uint32(super[0x64:])
	switch {
	case incompat&newIncompat != 0 || readOnly&newReadOnly != 0:
		return "ext4"
	case compat&hasJournal != 0:
		return "ext3"
	}
	return "ext2"
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return strings.TrimRight(strings.ToValidUTF8(string(b), "?"), " ")
}

func uuid(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func serial(b []byte) string {
	n := binary.LittleEndian.Uint32(b)
	return fmt.Sprintf("%04X-%04X", n>>16, n&0xffff)
}
