package guest

import (
	"errors"
	"io"
	"math"
	"path"

	"golang.org/x/sys/unix"
)

func (t tree) read(c *call) ([]string, error) {
	f, err := t.regular(c.args[0], unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	offset, err := number(c.args[1])
	if err != nil {
		return nil, err
	}
	most := int64(math.MaxInt64 - offset)
	if c.args[2] != "" {
		if most, err = number(c.args[2]); err != nil {
			return nil, err
		}
	}
	_, err = io.Copy(c.out, io.NewSectionReader(f, offset, most))
	return nil, describe(c.args[0], err)
}

// write writes in place: owner, mode, links and extended attributes stay, SELinux
// labels among them. What is already written stays if the input breaks off.
func (t tree) write(c *call) ([]string, error) {
	perm, err := mode(c.args[2])
	if err != nil {
		return nil, err
	}
	flags := unix.O_WRONLY | unix.O_TRUNC
	switch c.args[1] {
	case "replace":
	case "append":
		flags = unix.O_WRONLY | unix.O_APPEND
	default:
		return nil, failure(unix.EINVAL, "no such way to write: %q", c.args[1])
	}
	f, err := t.create(c.args[0], flags, perm)
	if err != nil {
		return nil, err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, c.in, make([]byte, 64<<10))
	return nil, describe(c.args[0], errors.Join(err, f.Close()))
}

func (t tree) touch(c *call) ([]string, error) {
	f, err := t.create(c.args[0], unix.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return nil, describe(c.args[0], errors.Join(unix.UtimesNanoAt(int(f.Fd()), "", nil, unix.AT_EMPTY_PATH), f.Close()))
}

func (t tree) truncate(c *call) ([]string, error) {
	size, err := number(c.args[1])
	if err != nil {
		return nil, err
	}
	f, err := t.regular(c.args[0], unix.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return nil, describe(c.args[0], errors.Join(f.Truncate(size), f.Close()))
}

func (t tree) mkdir(c *call) ([]string, error) {
	perm, err := mode(c.args[2])
	if err != nil {
		return nil, err
	}
	if c.args[1] == "" {
		return nil, t.makeDir(c.args[0], perm)
	}
	return nil, t.makeParents(c.args[0], perm, 0)
}

func (t tree) makeDir(name string, perm uint32) error {
	dir, base, err := t.parent(name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Mkdirat(dir, base, perm); err != nil {
		return describe(name, err)
	}
	return t.inheritLabel(dir, base)
}

// makeParents is content with a directory that is there already.
func (t tree) makeParents(name string, perm uint32, depth int) error {
	fd, err := t.open(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err == nil {
		return unix.Close(fd)
	}
	if !errors.Is(err, unix.ENOENT) || depth > maxDepth {
		return err
	}
	if err := t.makeParents(path.Dir(path.Clean(name)), perm, depth+1); err != nil {
		return err
	}
	err = t.makeDir(path.Clean(name), perm)
	if errors.Is(err, unix.EEXIST) { // a dangling link
		return describe(name, unix.ENOTDIR)
	}
	return err
}

func (t tree) rename(c *call) ([]string, error) {
	from, fromBase, err := t.parent(c.args[0])
	if err != nil {
		return nil, err
	}
	defer unix.Close(from)
	target := t.into(c.args[1], fromBase)
	to, toBase, err := t.parent(target)
	if err != nil {
		return nil, err
	}
	defer unix.Close(to)
	err = unix.Renameat(from, fromBase, to, toBase)
	if err != unix.EXDEV {
		return nil, describe(c.args[0], err)
	}
	// Another file system of the disk: copied whole, then removed.
	if err := copyEntry(from, fromBase, to, toBase, copying{recursive: true, keep: true}, 0); err != nil {
		return nil, describe(c.args[0], err)
	}
	return nil, describe(c.args[0], removeAll(from, fromBase, 0))
}

// into is mv's and cp's rule: what goes to a directory goes into it.
func (t tree) into(target, base string) string {
	fd, err := t.open(target, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return target
	}
	_ = unix.Close(fd)
	return path.Join(target, base)
}

func (t tree) link(c *call) ([]string, error) {
	dir, base, err := t.parent(c.args[1])
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	if c.args[3] != "" {
		if err := unix.Unlinkat(dir, base, 0); err != nil && err != unix.ENOENT {
			return nil, describe(c.args[1], err)
		}
	}
	if c.args[2] != "" {
		if err := unix.Symlinkat(c.args[0], dir, base); err != nil {
			return nil, describe(c.args[1], err)
		}
		return nil, t.inheritLabel(dir, base)
	}
	target, err := t.at(c.args[0], false)
	if err != nil {
		return nil, err
	}
	defer unix.Close(target)
	return nil, describe(c.args[1], unix.Linkat(unix.AT_FDCWD, magic(target), dir, base, unix.AT_SYMLINK_FOLLOW))
}

func (t tree) readlink(c *call) ([]string, error) {
	dir, base, err := t.parent(c.args[0])
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	target, err := readLink(dir, base)
	return []string{target}, describe(c.args[0], err)
}

func readLink(dir int, base string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, base, buf)
	return string(buf[:max(n, 0)]), err
}

func (t tree) chmod(c *call) ([]string, error) {
	perm, err := mode(c.args[0])
	if err != nil {
		return nil, err
	}
	fd, err := t.at(c.args[1], true)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return nil, describe(c.args[1], unix.Chmod(magic(fd), perm))
}

func (t tree) chown(c *call) ([]string, error) {
	uid, err := number(c.args[0])
	if err != nil {
		return nil, err
	}
	gid, err := number(c.args[1])
	if err != nil {
		return nil, err
	}
	fd, err := t.at(c.args[2], c.args[3] == "")
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return nil, describe(c.args[2], unix.Fchownat(fd, "", int(uid), int(gid), unix.AT_EMPTY_PATH))
}
