package guest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"golang.org/x/sys/unix"
)

// modulesDir has the modules to load, named so that their order is right.
const modulesDir = "/modules"

// mountOwn makes the guest's own file systems.
func mountOwn() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	for _, m := range []struct {
		kind, target, options string
		flags                 uintptr
	}{
		{"proc", "/proc", "", flags},
		{"sysfs", "/sys", "", flags | unix.MS_RDONLY},
		{"tmpfs", "/dev", "size=64k,nr_inodes=4096,mode=0755", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"tmpfs", "/run", "size=4m,nr_inodes=4096,mode=0755", flags},
		{"tmpfs", "/tmp", "size=16m,nr_inodes=4096,mode=1777", flags},
	} {
		if err := unix.Mount(m.kind, m.target, m.kind, m.flags, m.options); err != nil {
			return fmt.Errorf("mounting %s: %w", m.target, err)
		}
	}
	for name, d := range map[string]struct{ major, minor uint32 }{
		"null": {1, 3}, "zero": {1, 5}, "full": {1, 7}, "random": {1, 8}, "urandom": {1, 9}, "tty": {5, 0}, "ttyS0": {4, 64},
	} {
		mode := uint32(0o666)
		if name == "ttyS0" {
			mode = 0o600
		}
		if err := node("/dev/"+name, unix.S_IFCHR|mode, d.major, d.minor); err != nil {
			return err
		}
	}
	return node("/dev/mapper/control", unix.S_IFCHR|0o600, 10, 236)
}

func node(path string, mode, major, minor uint32) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	_ = unix.Unlink(path)
	if err := unix.Mknod(path, mode, int(unix.Mkdev(major, minor))); err != nil {
		return fmt.Errorf("mknod %s: %w", path, err)
	}
	return os.Chmod(path, os.FileMode(mode&0o777))
}

// loadModules loads them all and then forbids more: a hostile disk shall find
// no further code to wake up.
func loadModules(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ko"))
	if err != nil {
		return err
	}
	sort.Strings(files)
	for _, file := range files {
		if err := loadModule(file); err != nil {
			return fmt.Errorf("module %s: %w", file, err)
		}
	}
	return os.WriteFile("/proc/sys/kernel/modules_disabled", []byte("1"), 0)
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}
