package fuse

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Ours tells whether a device number, as stat gives it, is that of a mount of
// goldstream, without a look at any mount.
func Ours(device uint64) (bool, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	return oursIn(string(table), device), nil
}

func oursIn(mountinfo string, device uint64) bool {
	number := fmt.Sprintf("%d:%d", unix.Major(device), unix.Minor(device))
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if dash >= 6 && len(f) > dash+1 && f[2] == number && f[dash+1] == fsType {
			return true
		}
	}
	return false
}
