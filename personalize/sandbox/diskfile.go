package sandbox

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrDiskRefused is a disk that no cell may have.
var ErrDiskRefused = errors.New("the disk is refused")

// headSize is how much of a disk checkHead looks at, in bytes.
const headSize = 4

// checkHead refuses a disk that the kernel would take for a copy-on-write file of
// its own (arch/um/drivers/cow_user.c): the header names another file. In the jail
// that file does not exist, but the size of the disk would be the other's. The
// option d does not keep the kernel from reading the header.
func checkHead(head [headSize]byte) error {
	if magic := string(head[:]); magic == "MOOO" || magic == "OOOM" {
		return fmt.Errorf("%w: it begins with %q, which marks a copy-on-write file of User-Mode-Linux and no disk", ErrDiskRefused, magic)
	}
	return nil
}

// checkSlot asks the slot and not its file, which this process may serve itself.
func checkSlot(ctx context.Context, s Slot) error {
	var head [headSize]byte
	if err := s.ReadAt(ctx, head[:], 0); err != nil {
		return fmt.Errorf("reading the disk: %w", err)
	}
	return checkHead(head)
}

// checkDisk opens the file.
//
// Plain system calls: it may be on a FUSE mount of a command that serves it for
// itself, where package os can hang.
func checkDisk(cfg Config) error {
	if cfg.DiskMount != "" {
		return errors.New("a disk that this process serves can only be attached by a pool")
	}
	fd, err := unix.Open(cfg.Disk, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the disk %s: %w", cfg.Disk, err)
	}
	defer unix.Close(fd)
	var head [headSize]byte
	n, err := unix.Pread(fd, head[:], 0)
	if err != nil {
		return fmt.Errorf("reading the disk %s: %w", cfg.Disk, err)
	}
	if n < len(head) {
		return fmt.Errorf("%w: it is shorter than a sector", ErrDiskRefused)
	}
	return checkHead(head)
}
