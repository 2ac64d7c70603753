package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// loopDisk is a file system of its own on a loop device, so that the figures do
// not depend on how the machine's own one is mounted (online discard makes an
// unlink ten times slower), and that its writes can be counted.
type loopDisk struct {
	dir    string // where it is mounted
	device string
	image  string
}

// newLoopDisk makes one with mkfs.ext4 or mkfs.xfs in dir. It needs root.
func newLoopDisk(dir, kind string, size int64) (*loopDisk, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("only root may mount")
	}
	l := &loopDisk{dir: filepath.Join(dir, "mnt"), image: filepath.Join(dir, "disk")}
	f, err := os.Create(l.image)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close(), os.Mkdir(l.dir, 0o700))
	}
	if err != nil {
		return nil, err
	}
	out, err := exec.Command("losetup", "--find", "--show", "--direct-io=on", l.image).Output()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("losetup: %w", err), l.remove())
	}
	l.device = strings.TrimSpace(string(out))
	for _, argv := range [][]string{{"mkfs." + kind, "-q", l.device}, {"mount", l.device, l.dir}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return nil, errors.Join(fmt.Errorf("%v: %w: %s", argv, err, out), l.remove())
		}
	}
	return l, nil
}

// written returns the bytes that were written to the device so far.
func (l *loopDisk) written() (int64, error) {
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(l.device), "stat"))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b))
	if len(fields) < 7 {
		return 0, fmt.Errorf("statistics of %s are not understood: %q", l.device, b)
	}
	sectors, err := strconv.ParseInt(fields[6], 10, 64)
	return sectors * 512, err
}

// remove unmounts and removes what was made so far.
func (l *loopDisk) remove() error {
	var errs []error
	if l.device != "" {
		if exec.Command("mountpoint", "-q", l.dir).Run() == nil {
			errs = append(errs, exec.Command("umount", l.dir).Run())
		}
		errs = append(errs, exec.Command("losetup", "--detach", l.device).Run())
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir), os.Remove(l.image))...)
}
