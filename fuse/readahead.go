package fuse

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ReadAhead has the kernel read ahead on a mount that is served as much as one
// request may ask for: by itself it stops at 128 KiB. Root alone may; without it all
// works, more slowly.
func ReadAhead(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	device := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	return os.WriteFile(filepath.Join("/sys/class/bdi", device, "read_ahead_kb"), []byte(strconv.Itoa(maxIO>>10)), 0)
}
