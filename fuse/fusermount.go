package fuse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"
)

// fusermount has the setuid helper mount dir. It sends the device over a socket,
// whose descriptor _FUSE_COMMFD names.
func fusermount(ctx context.Context, dir string, o MountOptions) (*os.File, error) {
	helper, err := findHelper()
	if err != nil {
		return nil, fmt.Errorf("only root may mount without %w", err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "fusermount")
	defer unix.Close(fds[0])
	cmd := exec.CommandContext(ctx, helper, "-o", helperOptions(o), "--", dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	var said bytes.Buffer
	cmd.Stderr = &said
	err = cmd.Run()
	theirs.Close()
	if err != nil {
		return nil, fmt.Errorf("cannot mount %s: %w: %s%s", dir, err, strings.TrimSpace(said.String()), deviceCure(said.String()))
	}
	return receiveDevice(fds[0])
}

// deviceCure says what to do where the helper may not open the device, which udev
// makes open to all.
func deviceCure(said string) string {
	if strings.Contains(said, device) && strings.Contains(said, "ermission denied") {
		return "; have root run 'chmod 666 " + device + "'"
	}
	return ""
}

func helperOptions(o MountOptions) string {
	list := []string{"fsname=" + source, "subtype=goldstream", fmt.Sprintf("max_read=%d", maxIO), "default_permissions", "nosuid", "nodev", "noexec", "noatime"}
	if o.ReadOnly {
		list = append(list, "ro")
	}
	if o.AllowOther {
		list = append(list, "allow_other")
	}
	return strings.Join(list, ",")
}

var errNoHelper = errors.New("fusermount3, which is not installed: it is in the package fuse3")

func findHelper() (string, error) {
	for _, name := range []string{"fusermount3", "fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoHelper
}

// receiveDevice takes the one descriptor that a message of fd carries.
func receiveDevice(fd int) (*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	return DeviceIn(oob[:n])
}

// DeviceIn takes the FUSE device out of the control message with which it was
// sent, and nothing else.
func DeviceIn(oob []byte) (*os.File, error) {
	fds, err := descriptors(oob)
	if err != nil || len(fds) != 1 {
		closeAll(fds)
		return nil, errors.Join(fmt.Errorf("expected one FUSE device, got %d descriptors", len(fds)), err)
	}
	if err := checkDevice(fds[0]); err != nil {
		closeAll(fds)
		return nil, err
	}
	return os.NewFile(uintptr(fds[0]), device), nil
}

func descriptors(oob []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		more, err := unix.ParseUnixRights(&m)
		if err != nil {
			return fds, err
		}
		fds = append(fds, more...)
	}
	return fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// checkDevice refuses what is not /dev/fuse: character device 10:229, opened for
// reading and writing and blocking.
func checkDevice(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(10, 229) {
		return errors.New("the descriptor that was sent is no FUSE device")
	}
	return os.NewSyscallError("fcntl", unix.SetNonblock(fd, false))
}
