package jail

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// enterRoot makes the new root and leaves the old one. The new root is built
// over a directory of our private mount namespace that every system has; the
// host never sees it.
func enterRoot(o order) error {
	trees, err := stageTrees(o.Mounts)
	if err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return explainMount("making mounts private", err)
	}
	base, err := mountBase()
	if err != nil {
		return err
	}
	if err := mountTmpfs(base, o.Tmpfs); err != nil {
		return err
	}
	for i, m := range o.Mounts {
		if err := place(trees[i], base, m); err != nil {
			return fmt.Errorf("placing %s: %w", m.Target, err)
		}
	}
	if err := makeLinks(base, o.Links); err != nil {
		return err
	}
	if err := mountProc(base, o.Proc); err != nil {
		return err
	}
	// Hides the host's name. Not a boundary, so not worth failing for: systemd's
	// ProtectHostname= forbids the call even in our own namespace.
	_ = unix.Sethostname([]byte("jail"))
	return pivot(base)
}

// stageTrees comes before any mount of ours can hide a path.
func stageTrees(mounts []mountOrder) ([]int, error) {
	trees := make([]int, len(mounts))
	for i, m := range mounts {
		trees[i] = m.FD
		if m.Tree {
			continue
		}
		open := reopen
		if m.Path != "" {
			open = openServed
		}
		tree, err := open(m)
		if err != nil {
			return nil, fmt.Errorf("binding %s: %w", m.Target, err)
		}
		trees[i] = tree
	}
	return trees, nil
}

// reopen finds the parent's file again in our own mount namespace (a mount
// can only be cloned from there) and makes sure that it is the same one.
func reopen(m mountOrder) (int, error) {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", m.FD))
	if err != nil {
		return -1, err
	}
	tree, err := openTree(unix.AT_FDCWD, name, m)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", name, err)
	}
	var want, got unix.Stat_t
	if err := unix.Fstat(m.FD, &want); err != nil {
		return -1, err
	}
	if err := unix.Fstat(tree, &got); err != nil {
		return -1, err
	}
	if want.Dev != got.Dev || want.Ino != got.Ino {
		return -1, fmt.Errorf("%s was replaced after it was opened", name)
	}
	return tree, restrict(tree, m)
}

func mountBase() (string, error) {
	const flags = unix.MS_NOSUID | unix.MS_NODEV
	var err error
	for _, dir := range []string{"/tmp", "/run", "/sys"} {
		// Only directories and empty files go here, until it is read-only.
		if err = unix.Mount("tmpfs", dir, "tmpfs", flags, "size=64k,nr_inodes=4096,mode=0755"); err == nil {
			return dir, nil
		}
	}
	return "", explainMount("mounting the new root", err)
}

func mountTmpfs(base string, list []Tmpfs) error {
	for _, t := range list {
		target := filepath.Join(base, t.Target)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
		if !t.Exec {
			flags |= unix.MS_NOEXEC
		}
		// Inodes cost kernel memory that size= does not count.
		inodes := min(t.Size/4096+64, 65536)
		options := fmt.Sprintf("size=%d,nr_inodes=%d,mode=0755", t.Size, inodes)
		if err := unix.Mount("tmpfs", target, "tmpfs", flags, options); err != nil {
			return explainMount("mounting tmpfs "+t.Target, err)
		}
	}
	return nil
}

// place makes the mount point and moves the detached mount onto it.
func place(tree int, base string, m mountOrder) error {
	if m.Tree && m.Path != "" {
		var err error
		if tree, err = findServed(tree, base, m); err != nil {
			return err
		}
	}
	target := filepath.Join(base, m.Target)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := mountPoint(target, m.Dir); err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return explainMount("move_mount", err)
	}
	return unix.Close(tree)
}

func mountPoint(target string, dir bool) error {
	if dir {
		return os.MkdirAll(target, 0o755)
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o444)
	if err != nil {
		return err
	}
	return f.Close()
}

// makeLinks comes after all that is looked up by name below base: a link could
// lead a mount point out of it.
func makeLinks(base string, list []Link) error {
	for _, l := range list {
		target := filepath.Join(base, l.Target)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(l.To, target); err != nil {
			return err
		}
	}
	return nil
}

func mountProc(base string, wanted bool) error {
	if !wanted {
		return nil
	}
	target := filepath.Join(base, "proc")
	if err := os.Mkdir(target, 0o555); err != nil {
		return err
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RDONLY
	if err := unix.Mount("proc", target, "proc", flags, ""); err != nil {
		return explainMount("mounting /proc (a container that masks parts of /proc forbids it)", err)
	}
	return nil
}

// pivot uses the form of pivot_root(2) that needs no directory for the old
// root: both stack on "/", and "." is still the old one.
func pivot(base string) error {
	if err := unix.Chdir(base); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return explainMount("pivot_root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return explainMount("leaving the old root", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &attr); err != nil {
		return explainMount("making the root read-only", err)
	}
	return nil
}
