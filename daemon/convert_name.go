package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"goldstream/blockstore"
)

// A file without a name (an upload is spooled into one) cannot be bound into a
// jail: the kernel mounts no unlinked dentry, even from an open file. So it
// gets a name beside where it was made, under a 0700 or at least our own
// directory, until the jail holds it. A crash in between leaves that name:
// whoever owns the directory empties it at start.

// giveName replaces c.file by one with a name if it has none. Call undo when
// the jail runs.
func (c *converter) giveName() (undo func(), err error) {
	info, err := c.file.Stat()
	if err != nil {
		return nil, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Nlink > 0 {
		return func() {}, nil
	}
	link := fmt.Sprintf("/proc/self/fd/%d", c.file.Fd())
	old, err := os.Readlink(link)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(strings.TrimSuffix(old, " (deleted)")), "convert-")
	if err != nil {
		return nil, err
	}
	undo = func() { _ = os.RemoveAll(dir) }
	if err := c.linkInto(link, filepath.Join(dir, "image"), info); err != nil {
		undo()
		return nil, err
	}
	// The directory is 0700; the stage of an unprivileged jail is the same user.
	return undo, nil
}

// linkInto uses linkat on /proc, which unlike AT_EMPTY_PATH needs no
// privilege (open(2), O_TMPFILE).
func (c *converter) linkInto(link, name string, was os.FileInfo) error {
	err := unix.Linkat(unix.AT_FDCWD, link, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("the image file was deleted while it was open; keep it until the import ends: %w", blockstore.ErrInvalid)
	} else if err != nil {
		return fmt.Errorf("giving the image a name: %w", err)
	}
	named, err := os.Open(name)
	if err != nil {
		return err
	}
	is, err := named.Stat()
	if err == nil && !os.SameFile(was, is) {
		err = errors.New("the image was replaced while it was opened")
	}
	if err != nil {
		_ = named.Close()
		return err
	}
	c.named = named
	return nil
}

// bound is the file that jails get.
func (c *converter) bound() *os.File {
	if c.named != nil {
		return c.named
	}
	return c.file
}

func (c *converter) closeNamed() {
	if c.named != nil {
		_ = c.named.Close()
	}
}
