package guest

import (
	"errors"
	"io"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// label is the attribute of SELinux, without which RHEL lets nobody in.
const label = "security.selinux"

// create opens a file to write, and gives a new one its directory's label, as the
// kernel does where no rule of the policy says otherwise.
func (t tree) create(name string, flags int, perm uint32) (*os.File, error) {
	f, err := t.regular(name, flags, 0)
	if !errors.Is(err, unix.ENOENT) {
		return f, err
	}
	// Not O_EXCL: the name may be a link to what does not exist yet.
	if f, err = t.regular(name, flags|unix.O_CREAT, perm); err != nil {
		return nil, err
	}
	if err := describe(name, unix.Fchmod(int(f.Fd()), perm)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if t.plain {
		return f, nil
	}
	dir, err := t.open(path.Dir(name)+"/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	defer unix.Close(dir)
	return f, copyLabel(magic(dir), magic(int(f.Fd())))
}

func (t tree) inheritLabel(dir int, base string) error {
	if t.plain {
		return nil
	}
	fd, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return copyLabel(magic(dir), magic(fd))
}

func copyLabel(from, to string) error {
	value, err := getXattr(from, label)
	if err != nil {
		return nil // the disk has no labels, or its file system has no attributes
	}
	if err := unix.Setxattr(to, label, value, 0); err != nil && err != unix.EOPNOTSUPP && err != unix.ENOTSUP {
		return failure(unix.EIO, "setting the SELinux label: %v", err)
	}
	return nil
}

// copying says how to copy.
type copying struct {
	recursive bool
	keep      bool // owners, times and extended attributes
}

func (t tree) copy(c *call) ([]string, error) {
	how := copying{recursive: c.args[2] != "", keep: c.args[2] == "all"}
	from, fromBase, err := t.parent(c.args[0])
	if err != nil {
		return nil, err
	}
	defer unix.Close(from)
	if !how.recursive { // cp follows a link, cp -a does not
		return nil, t.copyContent(c.args[0], t.into(c.args[1], fromBase))
	}
	to, toBase, err := t.parent(t.into(c.args[1], fromBase))
	if err != nil {
		return nil, err
	}
	defer unix.Close(to)
	return nil, describe(c.args[0], copyEntry(from, fromBase, to, toBase, how, 0))
}

func (t tree) copyContent(from, to string) error {
	in, err := t.regular(from, unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := t.create(to, unix.O_WRONLY, uint32(info.Mode().Perm()))
	if err != nil {
		return err
	}
	if target, err := out.Stat(); err != nil || os.SameFile(info, target) {
		return errors.Join(err, out.Close(), failure(unix.EINVAL, "%s and %s are one file", from, to))
	}
	if err := out.Truncate(0); err != nil {
		return errors.Join(err, out.Close())
	}
	_, err = io.Copy(out, in)
	return describe(to, errors.Join(err, out.Close()))
}

// copyEntry copies one directory entry and what is below it. Nothing is looked up
// through a link.
func copyEntry(from int, fromBase string, to int, toBase string, how copying, depth int) error {
	if depth > maxDepth {
		return tooDeep(fromBase)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(from, fromBase, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		err = copyDir(from, fromBase, to, toBase, how, depth)
	case unix.S_IFREG:
		err = copyFile(from, fromBase, to, toBase)
	case unix.S_IFLNK:
		var target string
		if target, err = readLink(from, fromBase); err == nil {
			_ = unix.Unlinkat(to, toBase, 0)
			err = unix.Symlinkat(target, to, toBase)
		}
	default:
		err = unix.Mknodat(to, toBase, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return describe(fromBase, err)
	}
	if !how.keep {
		return describe(fromBase, keepMode(to, toBase, st))
	}
	return describe(fromBase, keepAttributes(from, fromBase, to, toBase, st))
}

func copyFile(from int, fromBase string, to int, toBase string) error {
	in, err := openChild(from, fromBase, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := openChild(to, toBase, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func copyDir(from int, fromBase string, to int, toBase string, how copying, depth int) error {
	in, err := openChild(from, fromBase, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer in.Close()
	// A copy into itself would find its own copies for ever.
	if depth == 0 && sameOrBelow(in, to) {
		return failure(unix.EINVAL, "%s cannot be copied into itself", fromBase)
	}
	if err := unix.Mkdirat(to, toBase, 0o700); err != nil && err != unix.EEXIST {
		return err
	}
	out, err := openChild(to, toBase, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer out.Close()
	return eachEntry(in, func(e os.DirEntry) error {
		return copyEntry(int(in.Fd()), e.Name(), int(out.Fd()), e.Name(), how, depth+1)
	})
}

// sameOrBelow walks up from inner, to where ".." leads nowhere else.
func sameOrBelow(outer *os.File, inner int) bool {
	var want, last unix.Stat_t
	if unix.Fstat(int(outer.Fd()), &want) != nil {
		return true
	}
	name := "."
	for range 2 * maxDepth {
		var at unix.Stat_t
		if unix.Fstatat(inner, name, &at, 0) != nil || sameFile(at, want) {
			return true
		}
		if sameFile(at, last) {
			return false
		}
		last, name = at, name+"/.."
	}
	return true
}

func sameFile(a, b unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }

func openChild(dir int, base string, flags int) (*os.File, error) {
	fd, err := unix.Openat(dir, base, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), base), nil
}

// keepMode gives a copy the mode, without setuid and the like, and the label of its
// directory.
func keepMode(dir int, base string, st unix.Stat_t) error {
	fd, err := unix.Openat(dir, base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(magic(fd), st.Mode&0o777); err != nil && err != unix.EPERM {
			return err
		}
	}
	return copyLabel(magic(dir), magic(fd))
}

func keepAttributes(from int, fromBase string, to int, toBase string, st unix.Stat_t) error {
	source, err := unix.Openat(from, fromBase, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(source)
	fd, err := unix.Openat(to, toBase, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// EPERM: FAT has no owners.
	if err := unix.Fchownat(fd, "", int(st.Uid), int(st.Gid), unix.AT_EMPTY_PATH); err != nil && err != unix.EPERM {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := copyXattrs(magic(source), magic(fd)); err != nil {
			return err
		}
		// After chown, which takes setuid away.
		if err := unix.Chmod(magic(fd), st.Mode&0o7777); err != nil && err != unix.EPERM {
			return err
		}
	}
	times := []unix.Timespec{unix.NsecToTimespec(time.Now().UnixNano()), st.Mtim}
	return unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH)
}

func copyXattrs(from, to string) error {
	names, err := listXattr(from)
	if err != nil && err != unix.EOPNOTSUPP {
		return err
	}
	for _, name := range names {
		value, err := getXattr(from, name)
		if err == nil {
			err = unix.Setxattr(to, name, value, 0)
		}
		if err != nil && err != unix.EOPNOTSUPP && err != unix.ENODATA {
			return failure(unix.EIO, "extended attribute %s: %v", name, err)
		}
	}
	return nil
}

func (t tree) remove(c *call) ([]string, error) {
	dir, base, err := t.parent(c.args[0])
	if err == nil {
		defer unix.Close(dir)
		if c.args[1] != "" {
			err = removeAll(dir, base, 0)
		} else {
			err = removeOne(dir, base)
		}
	}
	if c.args[2] != "" && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)) {
		return nil, nil
	}
	return nil, describe(c.args[0], err)
}

// removeOne removes a name, or an empty directory.
func removeOne(dir int, base string) error {
	err := unix.Unlinkat(dir, base, 0)
	if err == unix.EISDIR {
		return unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
	}
	return err
}

func removeAll(dir int, base string, depth int) error {
	err := removeOne(dir, base)
	if err != unix.ENOTEMPTY && err != unix.EEXIST {
		return err
	}
	if depth > maxDepth {
		return tooDeep(base)
	}
	f, err := openChild(dir, base, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer f.Close()
	err = eachEntry(f, func(e os.DirEntry) error {
		return describe(e.Name(), removeAll(int(f.Fd()), e.Name(), depth+1))
	})
	if err != nil {
		return err
	}
	return unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
}
