package jail

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A file on a mount that this process serves itself is bound in two steps, of which
// only the second asks its server:
//
//  1. We clone the mount: the path ends at its root, which is neither looked up in
//     it nor asked for its mode.
//  2. The stage, another process, looks the file up in the clone and binds it.
//
// Without privileges there is no step 1, and the stage looks the file up by its path.

func validateServed(b Bind) error {
	name, err := filepath.Rel(b.Mount, b.Host)
	if b.File != nil || err != nil || !absolute(b.Mount) || !absolute(b.Host) || name == "." || !filepath.IsLocal(name) {
		return fmt.Errorf("bind %s: host file %q must be a clean absolute path below mount %q", b.Target, b.Host, b.Mount)
	}
	return nil
}

// prepareServed is prepareBind of such a file. It gives no file where all is left to
// the stage.
func prepareServed(b Bind, who identity) (*os.File, mountOrder, error) {
	m := mountOrder{Target: b.Target, Writable: b.Writable}
	if !who.privileged {
		m.Path = b.Host
		return nil, m, nil
	}
	name, err := filepath.Rel(b.Mount, b.Host)
	if err != nil {
		return nil, m, err
	}
	m.Tree, m.Path = true, name
	tree, err := openTree(unix.AT_FDCWD, b.Mount, m)
	if err != nil {
		return nil, m, fmt.Errorf("%s: %w", b.Mount, err)
	}
	if err := restrict(tree, m); err != nil {
		_ = unix.Close(tree)
		return nil, m, err
	}
	return os.NewFile(uintptr(tree), b.Mount), m, nil
}

// openServed is the stage's part without privileges.
func openServed(m mountOrder) (int, error) {
	tree, err := openTree(unix.AT_FDCWD, m.Path, m)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", m.Path, err)
	}
	return tree, restrict(tree, m)
}

// findServed takes the file out of a mount, which it consumes. A clone can only be
// made of what is mounted in our own namespace, so the mount is there for a moment.
func findServed(tree int, base string, m mountOrder) (int, error) {
	dir, err := os.MkdirTemp(base, ".served-")
	if err != nil {
		return -1, err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, explainMount("move_mount", err)
	}
	if err := unix.Close(tree); err != nil {
		return -1, err
	}
	file, err := cloneBeneath(dir, m)
	if err != nil {
		return -1, err
	}
	if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return -1, explainMount("umount", err)
	}
	return file, os.Remove(dir)
}

func cloneBeneath(dir string, m mountOrder) (int, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, m.Path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return -1, fmt.Errorf("%s: %w", m.Path, err)
	}
	defer unix.Close(fd)
	return openTree(fd, "", m)
}
