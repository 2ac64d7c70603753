package guest

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"goldstream/disk"
)

// growPartition makes a partition end at the end of the disk, on the disk and in the
// kernel, while it is mounted. Nothing may stand behind it.
func growPartition(c *call) ([]string, error) {
	number, err := partitionNumber(c.args[0])
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile("/dev/sda", os.O_RDWR, 0)
	if err != nil {
		return nil, describe("/dev/sda", err)
	}
	defer f.Close()
	size, err := deviceSize("/dev/sda")
	if err != nil {
		return nil, describe("/dev/sda", err)
	}
	table, before, err := grownTable(f, int64(size), number)
	if err != nil {
		return nil, err
	}
	after, _ := table.Partition(number)
	if after.Size > before.Size {
		if err := writeTable(table); err != nil {
			return nil, failure(unix.EIO, "%v", err)
		}
		if err := resizeInKernel(f, after); err != nil {
			return nil, failure(errnoOf(err), "the kernel does not take the new size of partition %d: %v", number, err)
		}
	}
	return []string{decimal(before.Size), decimal(after.Size)}, nil
}

func partitionNumber(device string) (int, error) {
	digits, found := strings.CutPrefix(device, "/dev/sda")
	n, err := strconv.Atoi(digits)
	if !found || err != nil || n < 1 {
		return 0, failure(unix.EINVAL, "%q is no partition of the disk", device)
	}
	return n, nil
}

// grownTable returns the table with the partition grown, and the partition as it was.
func grownTable(f *os.File, size int64, number int) (*disk.Table, disk.Partition, error) {
	refuse := func(err error) (*disk.Table, disk.Partition, error) {
		return nil, disk.Partition{}, failure(unix.EINVAL, "%v", err)
	}
	table, err := disk.Read(f, size)
	if err != nil {
		return refuse(err)
	}
	before, found := table.Partition(number)
	if !found {
		return refuse(errors.New("the partition table has no partition " + strconv.Itoa(number)))
	}
	for _, p := range table.Partitions {
		if p.Start > before.Start {
			return refuse(errors.New("partition " + strconv.Itoa(p.Number) + " stands behind partition " + strconv.Itoa(number) + ", which so cannot grow: make an image where nothing does"))
		}
	}
	if err := errors.Join(table.Resize(size), table.Grow(number)); err != nil {
		return refuse(err)
	}
	return table, before, nil
}

// writeTable goes past the page cache of the whole disk, where a page may be partly of
// the table and partly of a mounted partition, and old.
func writeTable(t *disk.Table) error {
	fd, err := unix.Open("/dev/sda", unix.O_WRONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	defer unix.Munmap(page)
	return t.Write(direct{fd, page})
}

// direct writes whole sectors from memory that is aligned as O_DIRECT wants it.
type direct struct {
	fd   int
	page []byte
}

func (d direct) WriteAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		k := copy(d.page, p[n:])
		k, err = unix.Pwrite(d.fd, d.page[:k], off+int64(n))
		if err == nil && k == 0 {
			err = unix.EIO
		}
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

func (d direct) Sync() error { return unix.Fsync(d.fd) }

// include/uapi/linux/blkpg.h
const (
	blkpg        = 0x1269
	blkpgResize  = 3
	blkpgNameLen = 64
)

type blkpgPartition struct {
	start, length int64
	number        int32
	names         [2][blkpgNameLen]byte
}

type blkpgArg struct {
	op, flags, length int32
	data              unsafe.Pointer
}

func resizeInKernel(f *os.File, p disk.Partition) error {
	part := blkpgPartition{start: p.Start, length: p.Size, number: int32(p.Number)}
	arg := blkpgArg{op: blkpgResize, length: int32(unsafe.Sizeof(part)), data: unsafe.Pointer(&part)}
	return ioctl(int(f.Fd()), blkpg, unsafe.Pointer(&arg))
}
