package guest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func (t tree) stat(c *call) ([]string, error) {
	fd, err := t.at(c.args[0], c.args[1] == "")
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, describe(c.args[0], err)
	}
	return []string{
		typeOf(st.Mode), strconv.FormatUint(uint64(st.Mode&0o7777), 8), decimal(st.Uid), decimal(st.Gid),
		decimal(st.Size), strconv.FormatUint(st.Nlink, 10), decimal(st.Mtim.Nano()),
		strconv.FormatUint(st.Ino, 10), strconv.FormatUint(st.Dev, 10),
		strconv.FormatUint(st.Rdev, 10), decimal(st.Blksize), decimal(st.Blocks), decimal(st.Atim.Nano()), decimal(st.Ctim.Nano()),
	}, nil
}

func (t tree) statFS(c *call) ([]string, error) {
	fd, err := t.at(c.args[0], true)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return nil, describe(c.args[0], err)
	}
	return []string{
		strconv.FormatInt(st.Type, 16), decimal(st.Bsize), decimal(st.Blocks), decimal(st.Bfree),
		decimal(st.Bavail), decimal(st.Files), decimal(st.Ffree), decimal(st.Namelen),
	}, nil
}

// entriesAtOnce bounds what one directory takes of memory.
const entriesAtOnce = 512

// list sends the entries in the order of their names, as far as memory goes: a
// directory of more than maxSorted comes in its own order.
func (t tree) list(c *call) ([]string, error) {
	dir, err := t.directory(c.args[0])
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	err = eachEntry(dir, func(e os.DirEntry) error { return c.row(e.Name(), entryType(e)) })
	return nil, describe(c.args[0], errors.Join(err, c.flush()))
}

const maxSorted = 20000

func eachEntry(dir *os.File, do func(os.DirEntry) error) error {
	var held []os.DirEntry
	for {
		some, err := dir.ReadDir(entriesAtOnce)
		held = append(held, some...)
		if err != nil && err != io.EOF {
			return err
		}
		if err == nil && len(held) < maxSorted {
			continue
		}
		sort.Slice(held, func(i, j int) bool { return held[i].Name() < held[j].Name() })
		for _, e := range held {
			if err := do(e); err != nil {
				return err
			}
		}
		if held = held[:0]; err == io.EOF {
			return nil
		}
	}
}

func entryType(e os.DirEntry) string {
	switch m := e.Type(); {
	case m.IsRegular():
		return typeOf(unix.S_IFREG)
	case m.IsDir():
		return typeOf(unix.S_IFDIR)
	case m&os.ModeSymlink != 0:
		return typeOf(unix.S_IFLNK)
	}
	return typeOf(unix.S_IFSOCK)
}

// maxDepth is how deep trees may be. Each level keeps a descriptor.
const maxDepth = 500

func (t tree) walk(c *call) ([]string, error) {
	dir, err := t.directory(c.args[0])
	if err != nil {
		return nil, err
	}
	return nil, describe(c.args[0], errors.Join(walk(c, dir, "", 0), c.flush()))
}

// walk closes dir.
func walk(c *call, dir *os.File, below string, depth int) error {
	defer dir.Close()
	if depth > maxDepth {
		return tooDeep(below)
	}
	return eachEntry(dir, func(e os.DirEntry) error {
		name := path.Join(below, e.Name())
		if err := c.row(name, entryType(e)); err != nil || !e.IsDir() {
			return err
		}
		fd, err := unix.Openat(int(dir.Fd()), e.Name(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return describe(name, err)
		}
		return walk(c, os.NewFile(uintptr(fd), name), name, depth+1)
	})
}

// usage adds up what a tree takes, in KiB, each file once.
func (t tree) usage(c *call) ([]string, error) {
	dir, base, err := t.parent(c.args[0])
	if err != nil {
		if dir, err = t.open(c.args[0], unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
			return nil, err
		}
		base = "."
	}
	defer unix.Close(dir)
	blocks, err := usage(dir, base, map[[2]uint64]bool{}, 0)
	return []string{decimal((blocks + 1) / 2)}, describe(c.args[0], err)
}

// mostLinked bounds what is kept in mind of files with several names.
const mostLinked = 1 << 18

func usage(dir int, base string, seen map[[2]uint64]bool, depth int) (blocks int64, err error) {
	if depth > maxDepth {
		return 0, tooDeep(base)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return 0, err
	}
	if file := [2]uint64{st.Dev, st.Ino}; st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		if seen[file] {
			return 0, nil
		}
		if len(seen) < mostLinked {
			seen[file] = true
		}
	}
	if blocks = st.Blocks; st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return blocks, nil
	}
	f, err := openChild(dir, base, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = eachEntry(f, func(e os.DirEntry) error {
		more, err := usage(int(f.Fd()), e.Name(), seen, depth+1)
		blocks += more
		return err
	})
	return blocks, err
}

func tooDeep(name string) error {
	return failure(unix.ELOOP, "%.100s: more than %d directories inside each other", name, maxDepth)
}

// glob expands a pattern, component by component, links followed as names are.
func (t tree) glob(c *call) ([]string, error) {
	pattern := path.Clean(c.args[0])
	if !path.IsAbs(pattern) {
		return nil, failure(unix.EINVAL, "%q is no absolute pattern", c.args[0])
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, failure(unix.EINVAL, "%q is no pattern: %v", c.args[0], err)
	}
	parts := strings.Split(pattern[1:], "/")
	if len(parts) > maxDepth {
		return nil, tooDeep(pattern)
	}
	err := t.expand(c, "/", parts)
	return nil, errors.Join(err, c.flush())
}

func (t tree) expand(c *call, dir string, parts []string) error {
	if len(parts) == 0 {
		return c.row(dir)
	}
	if !strings.ContainsAny(parts[0], `*?[\`) {
		name := path.Join(dir, parts[0])
		fd, err := t.at(name, len(parts) > 1)
		if err != nil {
			return nil // no match
		}
		_ = unix.Close(fd)
		return t.expand(c, name, parts[1:])
	}
	f, err := t.directory(dir)
	if err != nil {
		return nil // no match
	}
	defer f.Close()
	return eachEntry(f, func(e os.DirEntry) error {
		hidden := e.Name()[0] == '.' && parts[0][0] != '.'
		if ok, _ := path.Match(parts[0], e.Name()); !ok || hidden {
			return nil
		}
		return t.expand(c, path.Join(dir, e.Name()), parts[1:])
	})
}

func (t tree) getXattr(c *call) ([]string, error) {
	fd, err := t.at(c.args[0], true)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	value, err := getXattr(magic(fd), c.args[1])
	return []string{string(value)}, describe(c.args[0]+": "+c.args[1], err)
}

// maxXattr is the kernel's limit of a value and of a list (XATTR_SIZE_MAX).
const maxXattr = 64 << 10

func getXattr(name, attribute string) ([]byte, error) {
	buf := make([]byte, maxXattr)
	n, err := unix.Getxattr(name, attribute, buf)
	return buf[:max(n, 0)], err
}

func (t tree) setXattr(c *call) ([]string, error) {
	fd, err := t.at(c.args[0], true)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return nil, describe(c.args[0]+": "+c.args[1], unix.Setxattr(magic(fd), c.args[1], []byte(c.args[2]), 0))
}

func (t tree) listXattr(c *call) ([]string, error) {
	fd, err := t.at(c.args[0], true)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	names, err := listXattr(magic(fd))
	for _, name := range names {
		err = errors.Join(err, c.row(name))
	}
	return nil, describe(c.args[0], errors.Join(err, c.flush()))
}

func listXattr(name string) (list []string, err error) {
	buf := make([]byte, maxXattr)
	n, err := unix.Listxattr(name, buf)
	for _, b := range bytes.Split(buf[:max(n, 0)], []byte{0}) {
		if len(b) > 0 {
			list = append(list, string(b))
		}
	}
	return list, err
}
