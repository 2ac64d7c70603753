package guest

import (
	"path"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of the file systems, which grow while they are mounted:
// fs/ext4/ext4.h, fs/xfs/libxfs/xfs_fs.h, include/uapi/linux/btrfs.h.
const (
	ext4Resize   = 0x40086610 // __u64: blocks
	xfsGeometry  = 0x80705864 // struct xfs_fsop_geom_v1
	xfsGrowData  = 0x4010586e // struct xfs_growfs_data
	btrfsResize  = 0x50009403 // struct btrfs_ioctl_vol_args
	blockGetSize = 0x80081272 // BLKGETSIZE64
)

// grow makes a mounted file system as large as its device.
func (m *mounts) grow(c *call) ([]string, error) {
	dir := path.Clean(c.args[0])
	for _, one := range m.list {
		if one.dir == dir {
			return m.growOne(one)
		}
	}
	return nil, failure(unix.EINVAL, "%s is not mounted", dir)
}

func (m *mounts) growOne(one mounted) ([]string, error) {
	fd, err := m.tree.open(one.dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	size, err := deviceSize(one.device)
	if err != nil {
		return nil, describe(one.device, err)
	}
	before, err := fsSize(fd)
	if err != nil {
		return nil, err
	}
	if err := growTo(fd, one.kind, size); err != nil {
		return nil, failure(errnoOf(err), "%s (%s) cannot grow to %d bytes: %v", one.device, one.kind, size, err)
	}
	after, err := fsSize(fd)
	return []string{decimal(before), decimal(after)}, err
}

func growTo(fd int, kind string, size uint64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return err
	}
	switch kind {
	case "ext2", "ext3", "ext4":
		blocks := size / uint64(st.Bsize)
		err := ioctl(fd, ext4Resize, unsafe.Pointer(&blocks))
		if err == unix.EINVAL || err == unix.EALREADY {
			return failure(unix.EINVAL, "the kernel refuses (%v): is it larger than its device?", err)
		}
		return err
	case "xfs":
		return growXFS(fd, size/uint64(st.Bsize))
	case "btrfs":
		arg := struct {
			fd   int64
			name [4088]byte
		}{}
		copy(arg.name[:], "max")
		return ioctl(fd, btrfsResize, unsafe.Pointer(&arg))
	}
	return failure(unix.EOPNOTSUPP, "this kind of file system cannot")
}

func growXFS(fd int, blocks uint64) error {
	var geometry struct {
		_        [7]uint32
		imaxpct  uint32
		datablk  uint64
		leftover [9]uint64
	}
	if err := ioctl(fd, xfsGeometry, unsafe.Pointer(&geometry)); err != nil {
		return err
	}
	if blocks == geometry.datablk {
		return nil
	}
	data := struct {
		blocks  uint64
		imaxpct uint32
		_       uint32
	}{blocks: blocks, imaxpct: geometry.imaxpct}
	return ioctl(fd, xfsGrowData, unsafe.Pointer(&data))
}

func fsSize(fd int) (uint64, error) {
	var st unix.Statfs_t
	err := unix.Fstatfs(fd, &st)
	return st.Blocks * uint64(st.Bsize), err
}

func deviceSize(name string) (uint64, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var size uint64
	return size, ioctl(fd, blockGetSize, unsafe.Pointer(&size))
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}
