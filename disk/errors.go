package disk

import (
	"errors"
	"fmt"
)

// Classes of errors. Errors of the disk itself are returned wrapped and belong to
// neither.
var (
	// ErrNoTable: the disk is empty, or a file system without partitions.
	ErrNoTable = errors.New("no partition table")
	// ErrCorrupt: the table contradicts itself or the size of the disk.
	ErrCorrupt = errors.New("corrupt partition table")
)

// errNoHeader is a sector without any GPT header.
var errNoHeader = corruptf("no GPT header")

func corruptf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}
