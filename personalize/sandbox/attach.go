package sandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// Attach gives a cell that was started with AttachLater its disk, and returns when
// the guest has it, partitions and all.
func (c *Cell) Attach(ctx context.Context) error {
	if err := checkDisk(ctx, c.cfg); err != nil {
		return err
	}
	return c.attachAs(ctx, c.cfg.ReadOnly)
}

// attachAs gives it a disk that was checked.
func (c *Cell) attachAs(ctx context.Context, readOnly bool) error {
	c.attach.Lock()
	defer c.attach.Unlock()
	if !c.cfg.AttachLater {
		return errors.New("the cell was started without AttachLater, or has its disk already")
	}
	// The kernel's answer goes to a name that only exists on our side: the guest
	// tells when the disk is there.
	c.link.expect(readOnly)
	if err := c.manage("config " + diskArg(readOnly)); err != nil {
		return fmt.Errorf("attaching the disk: %w", err)
	}
	select {
	case <-c.link.disk:
		c.cfg.AttachLater = false
		return nil
	case <-c.done:
		return fmt.Errorf("attaching the disk: the sandbox ended: %w%s", c.cause(ctx), c.console.quote())
	case <-ctx.Done():
		c.Kill()
		return fmt.Errorf("attaching the disk: the guest does not see it: %w", context.Cause(ctx))
	}
}

// manage sends one command to the kernel's management console, a datagram socket
// below uml_dir (arch/um/drivers/mconsole.h):
//
//	offset  size
//	0       4     magic
//	4       4     version
//	8       4     length of the command with its NUL
//	12      512   command
func (c *Cell) manage(command string) error {
	socket, err := c.openManagement()
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	out, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(out)
	const magic, version, size = 0xcafebabe, 2, 512
	b := binary.NativeEndian.AppendUint32(nil, magic)
	b = binary.NativeEndian.AppendUint32(b, version)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(command)+1))
	b = append(b, command...)
	b = append(b, make([]byte, size-len(command))...)
	return unix.Sendto(out, b, 0, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(socket)})
}

// openManagement finds the socket in the jail without following a link or
// believing a name: whoever owns the kernel owns that directory.
func (c *Cell) openManagement() (int, error) {
	root, err := unix.Open("/proc/"+strconv.Itoa(c.process.PID())+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("the jail's root: %w", err)
	}
	defer unix.Close(root)
	select {
	case <-c.process.Done():
		return -1, errEnded // and the process id may be another's
	default:
	}
	name := path.Join(workDir, umid, "mconsole")[1:]
	fd, err := unix.Openat2(root, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, fmt.Errorf("the kernel's management socket: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("the kernel's management socket is none: %w", unix.ENOTSOCK)
	}
	return fd, nil
}
