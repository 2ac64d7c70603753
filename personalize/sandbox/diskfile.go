package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrDiskRefused is a disk that no cell may have.
var ErrDiskRefused = errors.New("the disk is refused")

// checkDisk refuses a disk that the kernel would take for a copy-on-write file of
// its own (arch/um/drivers/cow_user.c): the header names another file. In the jail
// that file does not exist, but the size of the disk would be the other's. The
// option d does not keep the kernel from reading the header.
//
// Plain system calls: the file may be on a FUSE mount that this process serves,
// where package os can hang.
func checkDisk(name string) error {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the disk %s: %w", name, err)
	}
	defer unix.Close(fd)
	var head [4]byte
	n, err := unix.Pread(fd, head[:], 0)
	if err != nil {
		return fmt.Errorf("reading the disk %s: %w", name, err)
	}
	if n < len(head) {
		return fmt.Errorf("%w: it is shorter than a sector", ErrDiskRefused)
	}
	if magic := string(head[:]); magic == "MOOO" || magic == "OOOM" {
		return fmt.Errorf("%w: it begins with %q, which marks a copy-on-write file of User-Mode-Linux and no disk", ErrDiskRefused, magic)
	}
	return nil
}
