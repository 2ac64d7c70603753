package fuse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNotMounted is the cause of an Unmount of what is no mount of goldstream.
var ErrNotMounted = errors.New("no mount of goldstream")

// Unmount takes the mount at dir away, also one that nobody serves any more. Where
// files are still open it is lazy: the mount is gone from the tree, and ends
// with the last of them.
func Unmount(ctx context.Context, dir string) (lazy bool, err error) {
	abs, err := resolve(dir)
	if err != nil {
		return false, err
	}
	if on, err := mounted(abs); err != nil || !on {
		return false, errors.Join(err, fmt.Errorf("%s is %w; 'findmnt -t %s' lists those", dir, ErrNotMounted, fsType))
	}
	if err := unmount(ctx, abs, false); !errors.Is(err, unix.EBUSY) {
		return false, err
	}
	return true, unmount(ctx, abs, true)
}

func unmount(ctx context.Context, dir string, lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(dir, flags)
	if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
		return helperUnmount(ctx, dir, lazy)
	}
	if err != nil {
		return fmt.Errorf("cannot unmount %s: %w", dir, err)
	}
	return nil
}

// helperUnmount unmounts as a user. The helper's exit says no more than that it
// failed, which for files still open is EBUSY.
func helperUnmount(ctx context.Context, dir string, lazy bool) error {
	helper, err := findHelper()
	if err != nil {
		return fmt.Errorf("only root may unmount without %w", err)
	}
	args := []string{"-u"}
	if lazy {
		args = append(args, "-z")
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, helper, append(args, "--", dir)...)
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		if !lazy {
			err = errors.Join(unix.EBUSY, err)
		}
		return fmt.Errorf("cannot unmount %s: %w: %s", dir, err, strings.TrimSpace(said.String()))
	}
	return nil
}

// mounted tells whether the uppermost mount at dir is one of goldstream.
func mounted(dir string) (bool, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	return topType(string(table), dir) == fsType, nil
}

// topType is the file system that is mounted last at dir. A line reads
// "ID PARENT DEV ROOT MOUNTPOINT OPTIONS [TAG …] - TYPE SOURCE OPTIONS" (proc(5)).
func topType(mountinfo, dir string) (found string) {
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if dash < 6 || len(f) < dash+2 || unescape(f[4]) != dir {
			continue
		}
		found = f[dash+1]
	}
	return found
}

// unescape undoes \040 and its like: space, tab, newline and backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
