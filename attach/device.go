package attach

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sysfs is where the kernel tells of a device, and takes its settings.
func sysfs(index int, name string) string {
	return filepath.Join("/sys/block/nbd"+strconv.Itoa(index), name)
}

// holder returns the id of the process that attached the device, "" if it is
// not attached. Each attachment has another one while a keeper lives.
func holder(index int) string {
	b, err := os.ReadFile(sysfs(index, "pid"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// holderIn is holder in the device's open directory of sysfs: an initramfs moves
// /sys away into the new root, which the keeper does not see, but what is open stays.
func holderIn(dir *os.File) string {
	fd, err := unix.Openat(int(dir.Fd()), "pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	b := make([]byte, 64)
	n, err := unix.Read(fd, b)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[:n]))
}

// tuneDevice makes the kernel ask in large pieces and without a scheduler, which
// a network disk has no use for. It works without, only slower.
func tuneDevice(c *Config) {
	for name, value := range map[string]string{
		"queue/scheduler": "none", "queue/max_sectors_kb": strconv.Itoa(c.MaxKB), "queue/read_ahead_kb": strconv.Itoa(c.ReadAheadKB),
	} {
		_ = os.WriteFile(sysfs(c.Index, name), []byte(value), 0)
	}
}

// readPartitions has the kernel look for partitions, which it does when the
// device is first opened.
func readPartitions(device string) {
	if f, err := os.Open(device); err == nil {
		_ = f.Close()
	}
}
