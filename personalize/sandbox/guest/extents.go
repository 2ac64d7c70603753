package guest

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The FIEMAP call (linux/fiemap.h): a head, then records of extents.
//
//	head    start 8, length 8, flags 4, mapped 4, room 4, unused 4
//	extent  logical 8, physical 8, length 8, unused 16, flags 4, unused 12
const (
	fiemapCall  = 0xC020660B
	fiemapHead  = 32
	fiemapEntry = 56

	extentLast = 0x1
	// extentMoving are the flags of an extent whose place is not known, not there
	// yet, or not the bytes of the file: UNKNOWN, DELALLOC, ENCODED.
	extentMoving = 0x2 | 0x4 | 0x8

	extentsAtOnce = 128
	// maxExtents bounds what is told of one file.
	maxExtents = 4096
)

// extents tells where on the disk a file or directory lies. Where that cannot be
// said in bytes of the disk (logical volumes, btrfs) it is an error.
func (t tree) extents(c *call) ([]string, error) {
	fd, err := t.open(c.args[0], unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	start, err := diskStart(fd)
	if err != nil {
		return nil, describe(c.args[0], err)
	}
	count := 0
	for next, last := uint64(0), false; !last; {
		var list []extent
		if list, err = fiemap(fd, next); err == unix.EOPNOTSUPP || err == unix.ENOTTY {
			list, err = fibmap(fd)
		}
		if err != nil {
			return nil, describe(c.args[0], err)
		}
		last = len(list) == 0
		for _, e := range list {
			if count++; e.flags&extentMoving != 0 || count > maxExtents {
				return nil, failure(unix.EOPNOTSUPP, "%s: it has no fixed place on the disk", c.args[0])
			}
			if err := c.row(strconv.FormatUint(start+e.physical, 10), strconv.FormatUint(e.length, 10)); err != nil {
				return nil, err
			}
			next, last = e.logical+e.length, e.flags&extentLast != 0
		}
	}
	return nil, c.flush()
}

type extent struct {
	logical, physical, length uint64
	flags                     uint32
}

// fiemap returns some extents from an offset of a file on.
func fiemap(fd int, from uint64) (list []extent, err error) {
	order := binary.NativeEndian
	b := make([]byte, fiemapHead+extentsAtOnce*fiemapEntry)
	order.PutUint64(b, from)
	order.PutUint64(b[8:], ^uint64(0)-from)
	order.PutUint32(b[24:], extentsAtOnce)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fiemapCall, uintptr(unsafe.Pointer(&b[0]))); errno != 0 {
		return nil, errno
	}
	n := min(order.Uint32(b[20:]), extentsAtOnce)
	for p := b[fiemapHead:]; n > 0; n, p = n-1, p[fiemapEntry:] {
		list = append(list, extent{order.Uint64(p), order.Uint64(p[8:]), order.Uint64(p[16:]), order.Uint32(p[40:])})
	}
	return list, nil
}

// The older calls (linux/fs.h), which FAT has: bytes of a block, and the block on the
// device of a block of a file, 0 for a hole.
const (
	fibmapCall   = 1
	figetbszCall = 2
)

// fibmap returns all blocks of a regular file, as one extent each.
func fibmap(fd int) (list []extent, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	size, err := intCall(fd, figetbszCall, 0)
	if err != nil || size <= 0 || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > int64(size)*maxExtents {
		return nil, unix.EOPNOTSUPP
	}
	n := (st.Size + int64(size) - 1) / int64(size)
	for i := range n {
		block, err := intCall(fd, fibmapCall, int32(i))
		if err != nil {
			return nil, err
		}
		if block > 0 {
			list = append(list, extent{physical: uint64(block) * uint64(size), length: uint64(size), flags: extentLast})
		}
	}
	return list, nil
}

func intCall(fd int, call uintptr, value int32) (int32, error) {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), call, uintptr(unsafe.Pointer(&value)))
	if errno != 0 {
		return 0, errno
	}
	return value, nil
}

// diskStart is where the file system of an open file begins on the disk, in bytes.
func diskStart(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	dir := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	target, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return 0, unix.EOPNOTSUPP // of btrfs and the like
	}
	if filepath.Base(target) == diskName {
		return 0, nil // a disk without partitions
	}
	if filepath.Base(filepath.Dir(target)) != diskName {
		return 0, unix.EOPNOTSUPP
	}
	text, err := os.ReadFile(filepath.Join(target, "start"))
	if err != nil {
		return 0, unix.EOPNOTSUPP
	}
	sectors, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 54)
	if err != nil {
		return 0, unix.EOPNOTSUPP
	}
	return sectors << 9, nil
}
