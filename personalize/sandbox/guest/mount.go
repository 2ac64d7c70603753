package guest

import (
	"errors"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// mounts are the file systems of the disk that are mounted now, in order.
type mounts struct {
	tree tree
	list []mounted
	lvmd bool // logical volumes were activated

	volumes []volume // those that are active; nil: not known
}

type volume struct {
	device string
	size   uint64
}

type mounted struct{ device, dir, kind string }

// mounted refuses file commands before there is anything to work on.
func (m *mounts) mounted(run func(*call) ([]string, error)) func(*call) ([]string, error) {
	return func(c *call) ([]string, error) {
		if len(m.list) == 0 {
			return nil, failure(unix.ENODEV, "nothing is mounted yet: mount a file system on / first")
		}
		return run(c)
	}
}

// The ways to mount.
const (
	modeRW   = "rw"
	modeRO   = "ro"   // may replay a journal
	modePeek = "peek" // writes nothing at all
)

func (m *mounts) mount(c *call) ([]string, error) {
	device, kind, err := m.mountable(c.args[0])
	if err != nil {
		return nil, err
	}
	dir := path.Clean("/" + c.args[1])
	if dir != "/" && len(m.list) == 0 {
		return nil, failure(unix.ENODEV, "nothing is mounted on / yet: %s cannot be mounted on %s", device, dir)
	}
	driver, flags, options, err := mountArgs(kind, c.args[2], c.args[3])
	if err != nil {
		return nil, err
	}
	target, err := m.tree.open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(target)
	if err := unix.Mount(device, magic(target), driver, flags, options); err != nil {
		return nil, failure(errnoOf(err), "%s is a %s and cannot be mounted: %v%s", device, kind, err, mountHint(kind, err))
	}
	m.list = append(m.list, mounted{device, dir, kind})
	return []string{kind}, nil
}

func errnoOf(err error) unix.Errno {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return unix.EIO
}

// mountable opens a device and says which file system it has.
func (m *mounts) mountable(name string) (device, kind string, err error) {
	device, f, err := m.openDevice(name)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	what, err := probe(f)
	if err != nil {
		return "", "", describe(device, err)
	}
	switch what.kind {
	case "ext2", "ext3", "ext4", "xfs", "btrfs", "vfat":
		return device, what.kind, nil
	case typeUnknown:
		return "", "", failure(unix.EINVAL, "%s has no file system that is known here", device)
	}
	return "", "", failure(unix.EINVAL, "%s is %s, which the sandbox cannot mount", device, what.kind)
}

// isDeviceName accepts what a device of the disk may be called: anything else could
// name what is not the disk's.
func isDeviceName(name string) bool {
	rest, found := strings.CutPrefix(name, "/dev/")
	parts := strings.Split(rest, "/")
	for _, part := range parts {
		if part == "" || strings.HasPrefix(part, "-") || part == "." || part == ".." {
			return false
		}
		for _, r := range part {
			if !strings.ContainsRune("+_.-", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
				return false
			}
		}
	}
	return found && (len(parts) == 2 || len(parts) == 1 && strings.HasPrefix(rest, "sda"))
}

func (m *mounts) openDevice(name string) (string, *os.File, error) {
	for _, alias := range []string{"/dev/vda", "/dev/hda", "/dev/xvda"} {
		if rest, found := strings.CutPrefix(name, alias); found {
			name = "/dev/sda" + rest
		}
	}
	// Disks are sda, whatever a script's bus makes of them.
	if !isDeviceName(name) {
		return "", nil, failure(unix.ENODEV, "%q is no device of the disk: they are /dev/sda, its partitions, and logical volumes as /dev/GROUP/VOLUME", name)
	}
	if !strings.HasPrefix(name, "/dev/sda") {
		if err := m.activate(); err != nil {
			return "", nil, err
		}
	} else if _, err := makeNodes(); err != nil {
		return "", nil, failure(unix.ENODEV, "there is no disk: %v", err)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", nil, describe(name, err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode()&os.ModeDevice == 0 {
		err = failure(unix.ENOTBLK, "%s is no block device", name)
	}
	if err != nil {
		return "", nil, errors.Join(err, f.Close())
	}
	return name, f, nil
}

// mountArgs: an error in the file system must never panic the kernel, as its
// superblock may wish.
func mountArgs(kind, mode, extra string) (driver string, flags uintptr, options string, err error) {
	flags = unix.MS_NOSUID | unix.MS_NODEV
	var list []string
	switch mode {
	case modeRW:
	case modeRO, modePeek:
		flags |= unix.MS_RDONLY
	default:
		return "", 0, "", failure(unix.EINVAL, "no such way to mount: %q", mode)
	}
	driver = kind
	peek := map[string]string{}
	switch kind {
	case "ext2", "ext3", "ext4":
		driver, peek["ext4"] = "ext4", "noload"
		list = append(list, "errors=remount-ro")
	case "xfs":
		peek["xfs"] = "norecovery"
		list = append(list, "nouuid")
	case "btrfs":
		peek["btrfs"] = "rescue=nologreplay"
	case "vfat":
		list = append(list, "errors=remount-ro", "utf8")
	}
	if mode == modePeek && peek[driver] != "" {
		list = append(list, peek[driver])
	}
	for o := range strings.SplitSeq(extra, ",") {
		switch {
		case o == "" || o == "rw" || o == "defaults":
		case o == "ro":
			flags |= unix.MS_RDONLY
		case o == "noatime":
			flags |= unix.MS_NOATIME
		case strings.HasPrefix(o, "errors="):
			return "", 0, "", failure(unix.EINVAL, "the option %s is not possible here", o)
		default:
			list = append(list, o)
		}
	}
	return driver, flags, strings.Join(list, ","), nil
}

func mountHint(kind string, err error) string {
	switch {
	case errors.Is(err, unix.EINVAL):
		return "; it may be damaged, newer than the sandbox's kernel, or the options wrong"
	case errors.Is(err, unix.EUCLEAN) || errors.Is(err, unix.EBADMSG):
		return "; it is damaged: check it with the file system's own tools"
	case errors.Is(err, unix.EBUSY):
		return "; it is mounted already"
	}
	return ""
}

// unmount takes a directory or a device.
func (m *mounts) unmount(c *call) ([]string, error) {
	want := path.Clean(c.args[0])
	for i := len(m.list) - 1; i >= 0; i-- {
		if m.list[i].dir == want || m.list[i].device == want {
			return nil, m.release(i)
		}
	}
	return nil, failure(unix.EINVAL, "%s is not mounted", want)
}

func (m *mounts) unmountAll(*call) ([]string, error) {
	for len(m.list) > 0 {
		if err := m.release(len(m.list) - 1); err != nil {
			return nil, err
		}
	}
	if m.lvmd {
		return nil, m.deactivate()
	}
	return nil, nil
}

// release unmounts one. Programs that the disk's own left behind would keep it
// busy. syncfs tells of writes that failed, where the kernel learnt of them.
func (m *mounts) release(i int) error {
	killOthers()
	target, err := m.tree.open(m.list[i].dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	err = unix.Syncfs(target)
	_ = unix.Close(target)
	if err != nil {
		return failure(errnoOf(err), "%s: writing back what was written failed: %v", m.list[i].device, err)
	}
	// The name of a mount point may have become a link meanwhile: what is
	// unmounted is what is mounted there.
	at, err := m.tree.open(m.list[i].dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	name, err := os.Readlink(magic(at))
	_ = unix.Close(at)
	if err != nil {
		return err
	}
	if err := unix.Unmount(name, unix.UMOUNT_NOFOLLOW); err != nil {
		return failure(errnoOf(err), "%s cannot be unmounted: %v", m.list[i].dir, err)
	}
	m.list = append(m.list[:i], m.list[i+1:]...)
	return nil
}

// killOthers ends every process but this one, which is init.
func killOthers() {
	_ = unix.Kill(-1, unix.SIGKILL)
	for {
		if pid, err := unix.Wait4(-1, nil, 0, nil); err != unix.EINTR && (err != nil || pid <= 0) {
			return
		}
	}
}

func (m *mounts) show(c *call) ([]string, error) {
	var err error
	for _, one := range m.list {
		err = errors.Join(err, c.row(one.device, one.dir, one.kind))
	}
	return nil, errors.Join(err, c.flush())
}

// filesystems lists what each partition and logical volume holds; of the disk
// itself only where it has no partitions.
func (m *mounts) filesystems(c *call) ([]string, error) {
	list, err := makeNodes()
	if err != nil {
		return nil, err
	}
	if len(list) > 1 {
		list = list[1:]
	}
	volumes := false
	for _, d := range list {
		what, err := m.rowOf(c, "/dev/"+d.name, d.size)
		if err != nil {
			return nil, err
		}
		volumes = volumes || what.kind == typeLVM
	}
	if volumes {
		if err := m.volumeRows(c); err != nil {
			return nil, err
		}
	}
	return nil, c.flush()
}

func (m *mounts) rowOf(c *call, name string, size uint64) (content, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return content{}, describe(name, err)
	}
	defer f.Close()
	what, err := probe(f)
	if err != nil {
		return content{}, describe(name, err)
	}
	return what, c.row(name, what.kind, what.label, what.uuid, decimal(size))
}
