package fuse

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTopType(t *testing.T) {
	const table = `22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
70 28 0:44 / /mnt/a\040b\011c rw,relatime shared:9 master:2 - fuse.goldstream goldstream rw,user_id=0
71 28 0:45 / /mnt/x rw - fuse.goldstream goldstream rw
72 71 0:46 / /mnt/x rw - tmpfs tmpfs rw
garbage
73 28 0:47 / /mnt/back\134slash rw - fuse.goldstream goldstream rw
`
	for dir, want := range map[string]string{
		"/sys": "sysfs", "/mnt/a b\tc": fsType, "/mnt/x": "tmpfs", `/mnt/back\slash`: fsType,
		"/mnt": "", "": "", "/mnt/a": "",
	} {
		require.Equal(t, want, topType(table, dir), dir)
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{`a\040b`: "a b", `\1`: `\1`, `\999`: `\999`, `\`: `\`, `x\134040`: `x\040`} {
		require.Equal(t, want, unescape(in))
	}
}

func TestPartitionNumbers(t *testing.T) {
	for name, want := range map[string]int{"p1": 1, "p128": 128} {
		n, ok := partitionNumber(name)
		require.True(t, ok)
		require.Equal(t, want, n)
	}
	for _, name := range []string{"", "p", "p0", "p01", "p+1", "p-1", "p1 ", "q1", "p99999999999999999999"} {
		_, ok := partitionNumber(name)
		require.False(t, ok, name)
	}
}

// TestDeviceIn takes nothing but one FUSE device, and leaks no descriptor.
func TestDeviceIn(t *testing.T) {
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	dup := func() int {
		fd, err := unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		require.NoError(t, err)
		return fd
	}
	one, two := dup(), dup()
	for name, oob := range map[string][]byte{
		"nothing": nil, "garbage": {1, 2, 3}, "another device": unix.UnixRights(one),
	} {
		_, err := DeviceIn(oob)
		require.Error(t, err, name)
	}
	_, err = unix.FcntlInt(uintptr(one), unix.F_GETFD, 0)
	require.ErrorIs(t, err, unix.EBADF, "closed")
	one = dup()
	_, err = DeviceIn(unix.UnixRights(one, two))
	require.ErrorContains(t, err, "2 descriptors")
	for _, fd := range []int{one, two} {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		require.ErrorIs(t, err, unix.EBADF)
	}
}
