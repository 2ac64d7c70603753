package fuse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	device = "/dev/fuse"
	// source and fsType are what mount(8) and df(1) show.
	source = "goldstream"
	fsType = "fuse.goldstream"
	// maxIO is the longest request, bytes. go-fuse puts a reply and its header
	// into a pipe, which the kernel lets grow to 1 MiB (fs.pipe-max-size).
	maxIO = 512 << 10
)

// MountOptions say how Mount mounts.
type MountOptions struct {
	// ReadOnly has the kernel refuse everything that would change a file.
	ReadOnly bool
	// AllowOther lets users other than the one that mounts in, as far as the
	// modes of the files do.
	AllowOther bool
}

// Mount mounts dir, which is a directory, and returns the FUSE device, which has
// to be served: until then whoever looks at dir waits. The caller closes it.
//
// Root mounts by itself, as who may do it in namespaces of its own; others need
// fusermount3.
func Mount(ctx context.Context, dir string, o MountOptions) (*os.File, error) {
	dir, err := mountPoint(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(device); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this host has no %s: load the kernel's module with 'modprobe fuse', or in a container pass the device in (--device %s)", device, device)
	}
	if os.Geteuid() == 0 || mayMount() {
		return mountDirect(dir, o)
	}
	return fusermount(ctx, dir, o)
}

func mayMount() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0
}

// mountPoint checks dir and makes it absolute.
func mountPoint(dir string) (string, error) {
	abs, err := resolve(dir)
	if err != nil {
		return "", err
	}
	// A dead mount cannot be looked at: the list of mounts can.
	if on, err := mounted(abs); err != nil {
		return "", err
	} else if on {
		return "", fmt.Errorf("%s is a mount of goldstream already: 'goldstream unmount %s' ends it", dir, dir)
	}
	fi, err := os.Stat(abs)
	if err != nil {
		return "", err
	}
	if !fi.IsDir() {
		return "", fmt.Errorf("%s is no directory: %w", dir, unix.ENOTDIR)
	}
	return abs, nil
}

// resolve makes a path absolute and follows the symbolic links in front of its
// last part, which may be a mount that nobody serves any more, or one that this
// process serves.
func resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", err
	}
	place := filepath.Join(parent, filepath.Base(abs))
	if on, err := mounted(place); err == nil && on {
		return place, nil
	}
	if all, err := filepath.EvalSymlinks(place); err == nil {
		return all, nil
	}
	return place, nil
}

// mountDirect mounts by the system call. The descriptor is a plain blocking one,
// as go-fuse wants it: package os would make it non-blocking.
func mountDirect(dir string, o MountOptions) (*os.File, error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: device, Err: err}
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME)
	if o.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d,default_permissions",
		fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), maxIO)
	if o.AllowOther {
		data += ",allow_other"
	}
	if err := unix.Mount(source, dir, fsType, flags, data); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("cannot mount %s: %w%s", dir, err, whyNot(err))
	}
	return os.NewFile(uintptr(fd), device), nil
}

func whyNot(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return ": root lacks CAP_SYS_ADMIN here; a container has to be given it"
	case errors.Is(err, unix.ENODEV):
		return ": the kernel knows no FUSE; load its module with 'modprobe fuse'"
	}
	return ""
}
