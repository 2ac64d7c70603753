package guest

import (
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// diskRoot is where the disk's "/" is mounted.
const diskRoot = "/disk"

// confined makes the kernel look names up as if diskRoot were "/", so that a link
// of the disk never leads out of it, whoever changes it meanwhile.
const confined = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS

// tree is the disk's own tree. It holds no descriptor: a mount on "/" hides what
// was there.
type tree struct {
	root  string
	plain bool // it is no disk's: new files get no label
}

// open opens a path of the disk. O_NONBLOCK: a fifo would never open.
func (t tree) open(name string, flags int, mode uint32) (int, error) {
	if !path.IsAbs(name) || strings.ContainsRune(name, 0) {
		return -1, failure(unix.EINVAL, "%q is no absolute path", name)
	}
	root, err := unix.Open(t.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: confined}
	if flags&unix.O_PATH == 0 {
		how.Flags |= unix.O_NONBLOCK | unix.O_NOCTTY
	}
	if flags&unix.O_CREAT != 0 {
		how.Mode = uint64(mode)
	}
	for {
		fd, err := unix.Openat2(root, name, &how)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue // EAGAIN: the kernel could not rule out a race
		}
		return fd, describe(name, err)
	}
}

// parent opens the directory of a name that itself is not followed.
func (t tree) parent(name string) (dir int, base string, err error) {
	clean := strings.TrimRight(name, "/")
	base = path.Base(clean)
	if clean == "" || base == "." || base == ".." {
		return -1, "", failure(unix.EBUSY, "%s: the name of a directory's entry is needed", name)
	}
	dir, err = t.open(path.Dir(clean)+"/", unix.O_PATH|unix.O_DIRECTORY, 0)
	return dir, base, err
}

// at opens a path without following a last link, or with.
func (t tree) at(name string, follow bool) (int, error) {
	flags := unix.O_PATH
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	return t.open(name, flags, 0)
}

// magic is a name for what a descriptor is open for, also of O_PATH.
func magic(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// directory opens a directory to read it.
func (t tree) directory(name string) (*os.File, error) {
	fd, err := t.open(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// regular opens a regular file and nothing else.
func (t tree) regular(name string, flags int, mode uint32) (*os.File, error) {
	fd, err := t.open(name, flags, mode)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = f.Close()
		if err == nil {
			err = failure(unix.EINVAL, "%s is a %s and no regular file", name, typeOf(st.Mode))
		}
		return nil, err
	}
	return f, nil
}

// describe gives an errno the name that it is about.
func describe(name string, err error) error {
	var errno unix.Errno
	if err == nil || !errors.As(err, &errno) {
		return err
	}
	return failure(errno, "%s: %s", name, errno.Error())
}
