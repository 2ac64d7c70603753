package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"time"

	"goldstream/personalize/sandbox/wire"
)

// Paths are the disk's, absolute. Links in them are followed as the disk's own
// kernel would, and never lead out of it.

// Read copies a file to w. One of more than limit bytes is ErrTooLong.
func (c *Cell) Read(ctx context.Context, path string, w io.Writer, limit int64) error {
	counted := &counter{w: w}
	_, err := c.call(ctx, request{op: wire.OpRead, args: []string{path, "0", decimal(limit + 1)}, output: counted, limit: limit + 1})
	if err == nil && counted.n > limit {
		err = fmt.Errorf("%s: %w: more than %d bytes", path, ErrTooLong, limit)
	}
	return err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// ReadFile returns a file of at most 16 MiB.
func (c *Cell) ReadFile(ctx context.Context, path string) ([]byte, error) {
	var b bytes.Buffer
	err := c.Read(ctx, path, &b, defaultOutput)
	return b.Bytes(), err
}

// ReadPart returns at most n bytes from an offset of a file.
func (c *Cell) ReadPart(ctx context.Context, path string, offset, n int64) ([]byte, error) {
	var b bytes.Buffer
	_, err := c.call(ctx, request{op: wire.OpRead, args: []string{path, decimal(offset), decimal(n)}, output: &b})
	return b.Bytes(), err
}

// Write makes a file of what r has, or replaces what it held: in place, so that its
// owner, mode and attributes stay. A new file gets the mode, root as owner, and
// the SELinux label of its directory.
func (c *Cell) Write(ctx context.Context, path string, r io.Reader, mode fs.FileMode) error {
	_, err := c.call(ctx, request{op: wire.OpWrite, args: []string{path, "replace", octal(mode)}, input: r})
	return err
}

// Append writes behind what the file holds.
func (c *Cell) Append(ctx context.Context, path string, r io.Reader, mode fs.FileMode) error {
	_, err := c.call(ctx, request{op: wire.OpWrite, args: []string{path, "append", octal(mode)}, input: r})
	return err
}

// Touch makes an empty file, or sets the times of one to now.
func (c *Cell) Touch(ctx context.Context, path string) error { return c.do(ctx, wire.OpTouch, path) }

// Truncate sets a file's length.
func (c *Cell) Truncate(ctx context.Context, path string, size int64) error {
	return c.do(ctx, wire.OpTruncate, path, decimal(size))
}

// Mkdir makes a directory.
func (c *Cell) Mkdir(ctx context.Context, path string, mode fs.FileMode) error {
	return c.do(ctx, wire.OpMkdir, path, "", octal(mode))
}

// MkdirAll makes a directory and those above it that are missing.
func (c *Cell) MkdirAll(ctx context.Context, path string, mode fs.FileMode) error {
	return c.do(ctx, wire.OpMkdir, path, "1", octal(mode))
}

// Remove removes a name or an empty directory.
func (c *Cell) Remove(ctx context.Context, path string) error {
	return c.do(ctx, wire.OpRemove, path, "", "")
}

// RemoveAll removes a name and what is below it, if it is there.
func (c *Cell) RemoveAll(ctx context.Context, path string) error {
	return c.do(ctx, wire.OpRemove, path, "1", "1")
}

// Rename moves, into a directory if the target is one, and to another file system
// if need be.
func (c *Cell) Rename(ctx context.Context, from, to string) error {
	return c.do(ctx, wire.OpRename, from, to)
}

// Copy copies one file's content and mode, into a directory if the target is one.
func (c *Cell) Copy(ctx context.Context, from, to string) error {
	return c.do(ctx, wire.OpCopy, from, to, "")
}

// CopyTree copies whatever it is with all below it, with modes; links stay links.
func (c *Cell) CopyTree(ctx context.Context, from, to string) error {
	return c.do(ctx, wire.OpCopy, from, to, "tree")
}

// CopyAll copies whatever it is with all below it, with owners, modes, times and
// attributes; links stay links.
func (c *Cell) CopyAll(ctx context.Context, from, to string) error {
	return c.do(ctx, wire.OpCopy, from, to, "all")
}

// Link makes a hard link.
func (c *Cell) Link(ctx context.Context, target, path string) error {
	return c.do(ctx, wire.OpLink, target, path, "", "")
}

// Symlink makes a symbolic link; with force, in the place of another name.
func (c *Cell) Symlink(ctx context.Context, target, path string, force bool) error {
	return c.do(ctx, wire.OpLink, target, path, "1", onOff(force))
}

// Readlink returns a link's text.
func (c *Cell) Readlink(ctx context.Context, path string) (string, error) {
	return c.one(ctx, wire.OpReadlink, path)
}

// Chmod sets a mode, setuid and the like as their octal bits.
func (c *Cell) Chmod(ctx context.Context, path string, mode uint32) error {
	return c.do(ctx, wire.OpChmod, strconv.FormatUint(uint64(mode), 8), path)
}

// Chown sets owner and group, of what a link names.
func (c *Cell) Chown(ctx context.Context, path string, uid, gid int) error {
	return c.do(ctx, wire.OpChown, strconv.Itoa(uid), strconv.Itoa(gid), path, "")
}

// Lchown sets those of a link itself.
func (c *Cell) Lchown(ctx context.Context, path string, uid, gid int) error {
	return c.do(ctx, wire.OpChown, strconv.Itoa(uid), strconv.Itoa(gid), path, "1")
}

// Info is what Stat tells.
type Info struct {
	Type     string // wire.TypeFile and so on
	Mode     uint32 // twelve bits
	UID, GID uint32
	Size     int64
	Links    uint64
	Modified time.Time
	Inode    uint64
	Device   uint64

	RDevice           uint64 // of a device node
	BlockSize, Blocks int64  // blocks of 512 bytes
	Accessed, Changed time.Time
}

// Stat looks at what a path names, Lstat at a link itself.
func (c *Cell) Stat(ctx context.Context, path string) (Info, error) { return c.stat(ctx, path, "") }

// Lstat is Stat that follows no last link.
func (c *Cell) Lstat(ctx context.Context, path string) (Info, error) { return c.stat(ctx, path, "1") }

func (c *Cell) stat(ctx context.Context, path, link string) (i Info, err error) {
	f, err := c.call(ctx, request{op: wire.OpStat, args: []string{path, link}})
	if err != nil {
		return i, err
	}
	if len(f) != wire.StatFields {
		return i, fmt.Errorf("stat: %w: %d fields", wire.ErrProtocol, len(f))
	}
	n := numbers{}
	i = Info{
		Type: f[0], Mode: uint32(n.parse(f[1], 8)), UID: uint32(n.parse(f[2], 10)), GID: uint32(n.parse(f[3], 10)),
		Size: int64(n.parse(f[4], 10)), Links: n.parse(f[5], 10), Modified: time.Unix(0, n.signed(f[6])),
		Inode: n.parse(f[7], 10), Device: n.parse(f[8], 10), RDevice: n.parse(f[9], 10), BlockSize: n.signed(f[10]),
		Blocks: n.signed(f[11]), Accessed: time.Unix(0, n.signed(f[12])), Changed: time.Unix(0, n.signed(f[13])),
	}
	return i, n.err
}

// DiskUsage is what a path and all below it takes, in KiB.
func (c *Cell) DiskUsage(ctx context.Context, path string) (int64, error) {
	text, err := c.one(ctx, wire.OpUsage, path)
	n := numbers{err: err}
	if err != nil {
		return 0, err
	}
	return n.signed(text), n.err
}

// Exists tells whether a path names anything.
func (c *Cell) Exists(ctx context.Context, path string) (bool, error) { return c.is(ctx, path, "") }

// IsFile tells whether it is a regular file.
func (c *Cell) IsFile(ctx context.Context, path string) (bool, error) {
	return c.is(ctx, path, wire.TypeFile)
}

// IsDir tells whether it is a directory.
func (c *Cell) IsDir(ctx context.Context, path string) (bool, error) {
	return c.is(ctx, path, wire.TypeDirectory)
}

func (c *Cell) is(ctx context.Context, path, kind string) (bool, error) {
	i, err := c.Stat(ctx, path)
	if isAbsent(err) {
		return false, nil
	}
	return err == nil && (kind == "" || i.Type == kind), err
}

// Entry is a name in a directory, or a path below one.
type Entry struct{ Name, Type string }

// List lists a directory, sorted by name.
func (c *Cell) List(ctx context.Context, dir string) ([]Entry, error) {
	return c.entries(ctx, wire.OpList, dir)
}

// Walk lists all that is below a directory, parents first; it follows no links.
func (c *Cell) Walk(ctx context.Context, dir string) ([]Entry, error) {
	return c.entries(ctx, wire.OpWalk, dir)
}

func (c *Cell) entries(ctx context.Context, op wire.Op, dir string) ([]Entry, error) {
	fields, err := c.rows(ctx, op, mostNames, 2, dir)
	var list []Entry
	for ; len(fields) > 0; fields = fields[2:] {
		list = append(list, Entry{fields[0], fields[1]})
	}
	return list, err
}

// Glob lists the paths that match a shell's pattern, sorted.
func (c *Cell) Glob(ctx context.Context, pattern string) ([]string, error) {
	return c.rows(ctx, wire.OpGlob, mostNames, 1, pattern)
}

// Getxattr returns an extended attribute.
func (c *Cell) Getxattr(ctx context.Context, path, name string) (string, error) {
	return c.one(ctx, wire.OpGetXattr, path, name)
}

// Setxattr sets one attribute.
func (c *Cell) Setxattr(ctx context.Context, path, name, value string) error {
	return c.do(ctx, wire.OpSetXattr, path, name, value)
}

// Listxattr names the attributes of a file.
func (c *Cell) Listxattr(ctx context.Context, path string) ([]string, error) {
	return c.rows(ctx, wire.OpListXattr, mostRows, 1, path)
}
