package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"goldstream/personalize/sandbox/wire"
)

const sysBlock = "/sys/block"

// openEvents subscribes to the kernel's device events. It comes before the first
// look at the disk, so that none is missed in between.
func openEvents() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return -1, fmt.Errorf("device events: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return -1, fmt.Errorf("device events: %w", err)
	}
	return fd, nil
}

// announceDisk waits for the disk, makes its nodes and tells the host. The
// kernel sends the event of a disk after those of its partitions were found, but
// others, and its size, before.
func announceDisk(l *line, events int, there bool) error {
	defer unix.Close(events)
	buf := make([]byte, 8192)
	for !there {
		n, _, err := unix.Recvfrom(events, buf, 0)
		if err == unix.EINTR || err == unix.ENOBUFS {
			continue
		}
		if err != nil {
			return fmt.Errorf("device events: %w", err)
		}
		there = isDiskAdd(buf[:n])
	}
	if _, err := makeNodes(); err != nil {
		return err
	}
	readOnly, err := readNumber(filepath.Join(sysBlock, diskName, "ro"))
	if err != nil {
		return err
	}
	return l.send(wire.Disk, wire.Last, wire.Number(readOnly))
}

func isDiskAdd(event []byte) bool {
	head, _, _ := bytes.Cut(event, []byte{0})
	return bytes.HasPrefix(head, []byte("add@")) && bytes.HasSuffix(head, []byte("/block/"+diskName))
}

// diskPresent sees a disk that was there at boot: its partitions were scanned
// before init began, and the host attaches none before Hello.
func diskPresent() bool {
	size, err := readNumber(filepath.Join(sysBlock, diskName, "size"))
	return err == nil && size > 0
}

// device is the disk or one of its partitions.
type device struct {
	name string // sda, sda1
	size uint64 // bytes
	dir  string // in sysfs
}

// makeNodes gives the disk and its partitions their names, the disk first.
func makeNodes() ([]device, error) {
	list, err := findDevices()
	if err != nil {
		return nil, err
	}
	for _, d := range list {
		text, err := os.ReadFile(filepath.Join(d.dir, "dev"))
		if err != nil {
			return nil, err
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); err != nil {
			return nil, fmt.Errorf("%s: %w", d.dir, err)
		}
		if err := node("/dev/"+d.name, unix.S_IFBLK|0o600, major, minor); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func findDevices() ([]device, error) {
	disk := device{name: "sda", dir: filepath.Join(sysBlock, diskName)}
	parts, err := filepath.Glob(filepath.Join(disk.dir, diskName+"[0-9]*"))
	if err != nil {
		return nil, err
	}
	list := []device{disk}
	for number := 1; len(list) <= len(parts) && number < 256; number++ {
		dir := filepath.Join(disk.dir, diskName+strconv.Itoa(number))
		if _, err := os.Stat(dir); err == nil {
			list = append(list, device{name: "sda" + strconv.Itoa(number), dir: dir})
		}
	}
	for i := range list {
		sectors, err := readNumber(filepath.Join(list[i].dir, "size"))
		if err != nil {
			return nil, err
		}
		list[i].size = sectors * 512
	}
	return list, nil
}

func readNumber(file string) (uint64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

func devices(c *call) ([]string, error) {
	list, err := makeNodes()
	for _, d := range list {
		err = errors.Join(err, c.row("/dev/"+d.name, decimal(d.size)))
	}
	return nil, errors.Join(err, c.flush())
}

// partitions lists those of the disk in the order of their numbers.
func partitions(c *call) ([]string, error) {
	list, err := makeNodes()
	if err != nil {
		return nil, err
	}
	for _, d := range list[1:] {
		start, err := readNumber(filepath.Join(d.dir, "start"))
		if err == nil {
			err = c.row(strings.TrimPrefix(d.name, "sda"), decimal(start*512), decimal(d.size))
		}
		if err != nil {
			return nil, err
		}
	}
	table, err := tableKind("/dev/sda")
	return []string{table}, errors.Join(err, c.flush())
}

// tableKind is parted's name for the partition table.
func tableKind(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", describe(name, err)
	}
	defer f.Close()
	head := make([]byte, 8192) // the second sector may have 4 KiB
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return "", describe(name, err)
	}
	head = append(head[:n], make([]byte, len(head)-n)...)
	switch {
	case has(head, 512, "EFI PART"), has(head, 4096, "EFI PART"):
		return "gpt", nil
	case has(head, 510, "\x55\xaa") && identify(head).kind == typeUnknown:
		return "msdos", nil
	}
	return "", nil
}
