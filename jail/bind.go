package jail

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// devices are the nodes that ordinary programs cannot do without.
func devices() []Bind {
	var binds []Bind
	for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
		binds = append(binds, Bind{Host: "/dev/" + name, Target: "/dev/" + name, device: true})
	}
	return binds
}

// prepareBinds opens every host file and, with privileges, turns it into a
// detached mount whose flags are set before the stage exists. The files it
// returns, also with an error, are the caller's to close; the first becomes
// the stage's fd firstFD.
func prepareBinds(binds []Bind, who identity, firstFD int) (mounts []mountOrder, files []*os.File, err error) {
	for _, b := range binds {
		f, m, err := prepareBind(b, who)
		if err != nil {
			return nil, files, fmt.Errorf("binding %s: %w", b.Target, err)
		}
		if f == nil { // all is left to the stage
			mounts = append(mounts, m)
			continue
		}
		m.FD = firstFD + len(files)
		files, mounts = append(files, f), append(mounts, m)
	}
	return mounts, files, nil
}

func prepareBind(b Bind, who identity) (*os.File, mountOrder, error) {
	if b.Mount != "" {
		return prepareServed(b, who)
	}
	m := mountOrder{Target: b.Target, Writable: b.Writable, Device: b.device}
	f, err := openBind(b)
	if err != nil {
		return nil, m, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, m, err
	}
	m.Dir = info.IsDir()
	if !who.privileged {
		return f, m, nil
	}
	defer f.Close()
	m.Tree = true
	tree, err := makeTree(f, info, b, who, m)
	return tree, m, err
}

// openBind returns a file of its own, so that closing it is always right.
func openBind(b Bind) (*os.File, error) {
	if b.File == nil {
		fd, err := unix.Open(b.Host, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", b.Host, err)
		}
		return os.NewFile(uintptr(fd), b.Host), nil
	}
	fd, err := unix.FcntlInt(b.File.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), b.File.Name()), nil
}

func makeTree(f *os.File, info os.FileInfo, b Bind, who identity, m mountOrder) (*os.File, error) {
	tree, err := openTree(int(f.Fd()), "", m)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(tree), f.Name())
	if b.AsOwner && !openToOthers(info, b.Writable) && !ownedBy(info, who) {
		if err := mapOwner(tree, info, who); err != nil {
			_ = file.Close()
			return nil, fmt.Errorf("uid %d must open %s, which only its owner may, and mapping the owner failed: %w; "+
				"move the file to ext4, xfs or btrfs, or open its mode to others", who.uid, f.Name(), err)
		}
	}
	if err := restrict(tree, m); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// ownedBy is a file that the jail owns already, as on a FUSE mount made for it.
func ownedBy(info os.FileInfo, who identity) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == who.uid
}

func openToOthers(info os.FileInfo, writable bool) bool {
	want := os.FileMode(0o004)
	if writable {
		want = 0o006
	}
	return info.Mode().Perm()&want == want
}

// openTree clones the mount of one file, or of a directory with all below,
// into a detached mount (open_tree, kernel 5.2). Taking the mount from an open
// file instead of a path means that nobody can put another file in between.
func openTree(fd int, name string, m mountOrder) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if m.Dir {
		flags |= unix.AT_RECURSIVE
	}
	tree, err := unix.OpenTree(fd, name, flags)
	if err != nil {
		return -1, fmt.Errorf("open_tree: %w", err)
	}
	return tree, nil
}

// restrict sets the flags of a detached mount (mount_setattr, kernel 5.12).
func restrict(tree int, m mountOrder) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID, Propagation: unix.MS_PRIVATE}
	if !m.Writable {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if !m.Device {
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if m.Dir {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(tree, "", flags, &attr); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}

// mapOwner makes the file's owner and group look like the host id on this
// mount only (idmapped mount). The mapping is taken from a user namespace,
// for which a process has to exist for a moment.
func mapOwner(tree int, info os.FileInfo, who identity) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("no owner known")
	}
	ns, err := mappingNamespace(int(st.Uid), int(st.Gid), who)
	if err != nil {
		return err
	}
	defer ns.Close()
	return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set:  unix.MOUNT_ATTR_IDMAP,
		Userns_fd: uint64(ns.Fd()),
	})
}

func mappingNamespace(uid, gid int, who identity) (*os.File, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{holdName}
	cmd.Env = []string{}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		Pdeathsig:   syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: who.uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: who.gid, Size: 1}},
	}
	if err := cmd.Start(); err != nil {
		_ = stdin.Close()
		return nil, explainClone(err)
	}
	ns, err := os.Open("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/user")
	_ = stdin.Close()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return ns, err
}

// hold is the other side of mappingNamespace.
func hold() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}
