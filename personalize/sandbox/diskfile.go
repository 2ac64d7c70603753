package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrDiskRefused is a disk that no cell may have.
var ErrDiskRefused = errors.New("the disk is refused")

// checkDisk refuses a disk that the kernel would take for a copy-on-write file of
// its own (arch/um/drivers/cow_user.c): the header names another file. In the jail
// that file does not exist, but the size of the disk would be the other's. The
// option d does not keep the kernel from reading the header.
func checkDisk(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var head [4]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: it is shorter than a sector", ErrDiskRefused)
		}
		return fmt.Errorf("reading the disk: %w", err)
	}
	if magic := string(head[:]); magic == "MOOO" || magic == "OOOM" {
		return fmt.Errorf("%w: it begins with %q, which marks a copy-on-write file of User-Mode-Linux and no disk", ErrDiskRefused, magic)
	}
	return nil
}
