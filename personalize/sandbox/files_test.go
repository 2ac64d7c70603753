package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFiles goes through the file commands on four file systems and a logical
// volume, in one boot, and has the file systems' own tools judge what is left.
func TestFiles(t *testing.T) {
	linux, plain := seedLinux(t), seed(t)
	disk := assemble(t,
		part{mib: 96, image: makeFS(t, "ext4", 64*mib, linux)},
		part{mib: 320, image: makeFS(t, "xfs", 300*mib, plain)},
		part{mib: 288, image: makeFS(t, "btrfs", 128*mib, linux)},
		part{mib: 64, image: makeFS(t, "vfat", 64*mib, plain)},
		part{mib: 64, image: makeFS(t, "ext4", 48*mib, plain), skip: mib}, // LVM puts its data there
	)
	c := start(t, Config{Disk: disk})
	ctx := patience(t)
	_, err := c.ReadFile(ctx, "/etc/hostname")
	require.ErrorContains(t, err, "nothing is mounted yet")

	for i, kind := range []string{"ext4", "xfs", "btrfs", "vfat"} {
		device := "/dev/sda" + decimal(int64(i+1))
		t.Run(kind, func(t *testing.T) {
			got, err := c.Mount(ctx, device, "/", ReadWrite, "")
			require.NoError(t, err)
			require.Equal(t, kind, got)
			checkExtents(t, ctx, c, disk, kind)
			checkFiles(t, ctx, c, kind)
			require.NoError(t, c.UnmountAll(ctx))
		})
	}
	t.Run("lvm", func(t *testing.T) { checkLVM(t, ctx, c) })
	t.Run("filesystems", func(t *testing.T) { checkFilesystems(t, ctx, c) })
	t.Run("confinement", func(t *testing.T) { checkConfinement(t, ctx, c) })
	t.Run("programs", func(t *testing.T) { checkPrograms(t, ctx, c) })
	t.Run("mounts", func(t *testing.T) { checkMounts(t, ctx, c) })
	require.NoError(t, c.Close(ctx))

	ext := extract(t, disk, 1*mib, 96*mib)
	tool(t, "e2fsck", "-fn", ext)
	require.Equal(t, "one\ntwo\n", lastLines(tool(t, "debugfs", "-R", "cat /new/dir/file", ext)))
	tool(t, "xfs_repair", "-n", extract(t, disk, 97*mib, 320*mib))
	tool(t, "btrfs", "check", "--readonly", extract(t, disk, 417*mib, 288*mib))
	fat := extract(t, disk, 705*mib, 64*mib)
	tool(t, "fsck.vfat", "-n", fat)
	require.Equal(t, "one\ntwo\n", tool(t, "mtype", "-i", fat, "::/new/dir/file"))
}

// checkExtents reads files where they are said to lie.
func checkExtents(t *testing.T, ctx context.Context, c *Cell, disk, kind string) {
	list, err := c.Extents(ctx, "/etc/hostname")
	if kind == "btrfs" {
		require.ErrorIs(t, err, syscall.EOPNOTSUPP)
		return
	}
	require.NoError(t, err)
	require.Len(t, list, 1)
	want, err := c.ReadFile(ctx, "/etc/hostname")
	require.NoError(t, err)
	f, err := os.Open(disk)
	require.NoError(t, err)
	defer f.Close()
	got := make([]byte, len(want))
	_, err = f.ReadAt(got, list[0].Offset)
	require.NoError(t, err)
	require.NotEmpty(t, got)
	require.Equal(t, want, got)
	_, err = c.Extents(ctx, "/etc/nothing")
	require.ErrorIs(t, err, fs.ErrNotExist)
	list, err = c.Extents(ctx, "/etc")
	if kind == "ext4" {
		require.NoError(t, err)
		require.NotEmpty(t, list)
	}
}

func checkFiles(t *testing.T, ctx context.Context, c *Cell, kind string) {
	text, err := c.ReadFile(ctx, "/etc/hostname")
	require.NoError(t, err)
	require.Equal(t, "golden\n", string(text))
	part, err := c.ReadPart(ctx, "/etc/hostname", 2, 3)
	require.NoError(t, err)
	require.Equal(t, "lde", string(part))
	require.ErrorIs(t, c.Read(ctx, "/etc/hostname", io.Discard, 3), ErrTooLong)

	_, err = c.ReadFile(ctx, "/none")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, c.Mkdir(ctx, "/new/dir", 0o755), fs.ErrNotExist)
	require.NoError(t, c.MkdirAll(ctx, "/new/dir", 0o755))
	require.NoError(t, c.MkdirAll(ctx, "/new/dir", 0o755))
	require.NoError(t, c.Write(ctx, "/new/dir/file", strings.NewReader("one, and what goes again"), 0o640))
	require.NoError(t, c.Write(ctx, "/new/dir/file", strings.NewReader("one\n"), 0o600))
	require.NoError(t, c.Append(ctx, "/new/dir/file", strings.NewReader("two\n"), 0o600))
	text, err = c.ReadFile(ctx, "/new/dir/file")
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\n", string(text))
	_, err = c.ReadFile(ctx, "/new/dir")
	require.ErrorIs(t, err, syscall.EINVAL)
	require.ErrorIs(t, c.Write(ctx, "/new/broken", io.MultiReader(strings.NewReader("x"), brokenReader{}), 0o600), errBroken)

	large := bytes.Repeat([]byte("0123456789abcdef"), 40000)
	require.NoError(t, c.Write(ctx, "/new/large", bytes.NewReader(large), 0o644))
	text, err = c.ReadFile(ctx, "/new/large")
	require.NoError(t, err)
	require.True(t, bytes.Equal(large, text))
	require.NoError(t, c.Truncate(ctx, "/new/large", 17))
	info, err := c.Stat(ctx, "/new/large")
	require.NoError(t, err)
	require.Equal(t, int64(17), info.Size)

	require.NoError(t, c.Copy(ctx, "/new/large", "/new/dir"))
	require.ErrorIs(t, c.Copy(ctx, "/new/large", "/new/large"), syscall.EINVAL)
	require.NoError(t, c.Rename(ctx, "/new/large", "/new/moved"))
	require.ErrorIs(t, c.CopyAll(ctx, "/new", "/new/dir"), syscall.EINVAL)
	require.NoError(t, c.CopyAll(ctx, "/new", "/copy"))
	require.NoError(t, c.Touch(ctx, "/copy/touched"))
	tree, err := c.Walk(ctx, "/copy")
	require.NoError(t, err)
	require.Equal(t, []Entry{{"broken", "file"}, {"dir", "directory"}, {"dir/file", "file"}, {"dir/large", "file"}, {"moved", "file"}, {"touched", "file"}}, tree)
	found, err := c.Glob(ctx, "/co*/*/[fl]*")
	require.NoError(t, err)
	require.Equal(t, []string{"/copy/dir/file", "/copy/dir/large"}, found)
	found, err = c.Glob(ctx, "/none*")
	require.NoError(t, err)
	require.Empty(t, found)

	require.ErrorIs(t, c.Remove(ctx, "/copy"), syscall.ENOTEMPTY)
	require.NoError(t, c.RemoveAll(ctx, "/copy"))
	require.NoError(t, c.RemoveAll(ctx, "/copy"))
	require.NoError(t, c.Remove(ctx, "/new/broken"))
	require.ErrorIs(t, c.Remove(ctx, "/new/broken"), fs.ErrNotExist)
	require.Error(t, c.RemoveAll(ctx, "/"))
	for path, want := range map[string][3]bool{"/new": {true, false, true}, "/new/moved": {true, true, false}, "/new/moved/x": {}, "/none": {}} {
		exists, err := c.Exists(ctx, path)
		require.NoError(t, err)
		file, err := c.IsFile(ctx, path)
		require.NoError(t, err)
		dir, err := c.IsDir(ctx, path)
		require.NoError(t, err)
		require.Equal(t, want, [3]bool{exists, file, dir}, path)
	}
	space, err := c.StatFS(ctx, "/")
	require.NoError(t, err)
	require.Greater(t, space.Blocks, space.Free)
	if kind != "vfat" {
		checkAttributes(t, ctx, c)
		before, after, err := c.Grow(ctx, "/")
		require.NoError(t, err)
		require.Greater(t, after, before)
	}
}

const selinux = "security.selinux"

// checkAttributes: owners, modes, links, and the labels without which an
// SELinux system lets nobody in.
func checkAttributes(t *testing.T, ctx context.Context, c *Cell) {
	const dirLabel, fileLabel = "system_u:object_r:etc_t:s0\x00", "system_u:object_r:shadow_t:s0\x00"
	require.NoError(t, c.Setxattr(ctx, "/new/dir", selinux, dirLabel))
	require.NoError(t, c.Setxattr(ctx, "/new/dir/file", selinux, fileLabel))
	require.NoError(t, c.Setxattr(ctx, "/new/dir/file", "user.x", "1"))
	require.NoError(t, c.Chown(ctx, "/new/dir/file", 12, 34))
	require.NoError(t, c.Chmod(ctx, "/new/dir/file", 0o4751))
	require.NoError(t, c.Write(ctx, "/new/dir/file", strings.NewReader("one\ntwo\n"), 0o600))
	require.NoError(t, c.Write(ctx, "/new/dir/fresh", strings.NewReader("x"), 0o606))
	require.NoError(t, c.CopyAll(ctx, "/new/dir/file", "/new/dir/same"))
	for path, want := range map[string]string{"/new/dir/file": fileLabel, "/new/dir/same": fileLabel, "/new/dir/fresh": dirLabel} {
		got, err := c.Getxattr(ctx, path, selinux)
		require.NoError(t, err, path)
		require.Equal(t, want, got, path)
	}
	names, err := c.Listxattr(ctx, "/new/dir/same")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{selinux, "user.x"}, names)
	info, err := c.Stat(ctx, "/new/dir/same")
	require.NoError(t, err)
	require.Equal(t, [3]uint32{0o4751, 12, 34}, [3]uint32{info.Mode, info.UID, info.GID})
	info, err = c.Stat(ctx, "/new/dir/fresh")
	require.NoError(t, err)
	require.Equal(t, uint32(0o606), info.Mode, "no umask")

	require.NoError(t, c.Symlink(ctx, "file", "/new/dir/soft", false))
	require.ErrorIs(t, c.Symlink(ctx, "file", "/new/dir/soft", false), fs.ErrExist)
	require.NoError(t, c.Symlink(ctx, "same", "/new/dir/soft", true))
	target, err := c.Readlink(ctx, "/new/dir/soft")
	require.NoError(t, err)
	require.Equal(t, "same", target)
	require.NoError(t, c.Lchown(ctx, "/new/dir/soft", 5, 6))
	info, err = c.Lstat(ctx, "/new/dir/soft")
	require.NoError(t, err)
	require.Equal(t, "link", info.Type)
	require.Equal(t, uint32(5), info.UID)
	require.NoError(t, c.Link(ctx, "/new/dir/same", "/new/dir/hard"))
	info, err = c.Stat(ctx, "/new/dir/hard")
	require.NoError(t, err)
	require.Equal(t, uint64(2), info.Links)
}

func checkLVM(t *testing.T, ctx context.Context, c *Cell) {
	_, err := c.LVM(ctx, "vgs", "nothing")
	require.ErrorContains(t, err, "nothing")
	_, err = c.LVM(ctx, "vgcreate", "-q", "rhel", "/dev/sda5")
	require.NoError(t, err)
	_, err = c.LVM(ctx, "lvcreate", "-q", "-Zn", "-Wn", "-L", "52M", "-n", "root", "rhel")
	require.NoError(t, err)
	_, err = c.Mount(ctx, "/dev/rhel/root", "/", ReadWrite, "")
	require.NoError(t, err)
	text, err := c.ReadFile(ctx, "/etc/hostname")
	require.NoError(t, err)
	require.Equal(t, "golden\n", string(text))
	_, err = c.LVM(ctx, "lvextend", "-q", "-L", "60M", "rhel/root")
	require.NoError(t, err)
	before, after, err := c.Grow(ctx, "/")
	require.NoError(t, err)
	require.Greater(t, after, before)
	require.NoError(t, c.UnmountAll(ctx))
	_, err = c.LVM(ctx, "vgrename", "rhel", "rhel_web-1")
	require.NoError(t, err)
	out, err := c.LVM(ctx, "lvs", "--noheadings", "-o", "lv_full_name")
	require.NoError(t, err)
	require.Equal(t, "rhel_web-1/root", strings.TrimSpace(out))
}

func checkFilesystems(t *testing.T, ctx context.Context, c *Cell) {
	list, err := c.Filesystems(ctx)
	require.NoError(t, err)
	var short []string
	for _, f := range list {
		short = append(short, f.Device+" "+f.Type+" "+f.Label)
		if f.Type != "LVM2_member" {
			require.NotEmpty(t, f.UUID)
		}
	}
	require.Equal(t, []string{
		"/dev/sda1 ext4 root", "/dev/sda2 xfs data", "/dev/sda3 btrfs pool", "/dev/sda4 vfat EFI",
		"/dev/sda5 LVM2_member ", "/dev/rhel_web-1/root ext4 root",
	}, short)
	require.Equal(t, int64(60*mib), list[5].Size)
}

// checkConfinement: links of the disk stay in the disk, whatever they say.
func checkConfinement(t *testing.T, ctx context.Context, c *Cell) {
	for _, device := range []string{"/dev/sda1", "/dev/sda3"} {
		_, err := c.Mount(ctx, device, "/", ReadWrite, "")
		require.NoError(t, err)
		for _, link := range []string{"/absolute", "/upwards", "/dir/hostname", "/dir/../etc/hostname", "/../../etc/hostname"} {
			text, err := c.ReadFile(ctx, link)
			require.NoError(t, err, link)
			require.Equal(t, "golden\n", string(text), link)
		}
		for _, link := range []string{"/tools", "/magic", "/loop", "/dangling", "/proc/self/root/init"} {
			_, err := c.ReadFile(ctx, link)
			require.Error(t, err, link)
			require.False(t, errors.Is(err, errEnded))
		}
		require.ErrorIs(t, c.Write(ctx, "etc/hostname", strings.NewReader("x"), 0o644), syscall.EINVAL, "a relative path")
		require.NoError(t, c.Write(ctx, "/dangling", strings.NewReader("made"), 0o644))
		text, err := c.ReadFile(ctx, "/etc/none")
		require.NoError(t, err)
		require.Equal(t, "made", string(text))
		require.NoError(t, c.Remove(ctx, "/etc/none"))
		require.NoError(t, c.Remove(ctx, "/tools"))
		require.NoError(t, c.RemoveAll(ctx, "/dir"))
		exists, err := c.Exists(ctx, "/etc/hostname")
		require.NoError(t, err)
		require.True(t, exists, "rm -rf followed a link")
		require.NoError(t, c.UnmountAll(ctx))
	}
	for _, device := range []string{"/dev/ubda", "/dev/ubdb1", "/dev/mem", "/dev/../tools", "/dev/sda99", "sda1", "/dev/x/../../init", "/dev/mapper/control", "/dev/sda"} {
		_, err := c.Mount(ctx, device, "/", ReadWrite, "")
		require.Error(t, err, device)
		require.False(t, errors.Is(err, errEnded), "%s: %v", device, err)
	}
}

func checkPrograms(t *testing.T, ctx context.Context, c *Cell) {
	_, err := c.Mount(ctx, "/dev/sda1", "/", ReadWrite, "")
	require.NoError(t, err)
	var out, errs bytes.Buffer
	require.NoError(t, c.Shell(ctx, &out, &errs, 1<<20, "echo hello; busybox id -u; busybox cat /etc/hostname; echo oops >&2; busybox ls /proc/self >/dev/null"))
	require.Equal(t, "hello\n0\ngolden\n", out.String())
	require.Equal(t, "oops\n", errs.String())
	var exit *ExitError
	require.ErrorAs(t, c.Shell(ctx, &out, nil, 1<<20, "exit 3"), &exit)
	require.Equal(t, 3, exit.Status)
	require.ErrorAs(t, c.Shell(ctx, &out, nil, 1<<20, "kill -9 $$"), &exit)
	require.Equal(t, 9, exit.Signal)
	require.ErrorIs(t, c.Command(ctx, &out, nil, 1<<20, "no-such-program"), fs.ErrNotExist)
	// What is left running is ended, or the disk could not be unmounted.
	out.Reset()
	require.NoError(t, c.Shell(ctx, &out, nil, 1<<20, "cd /etc; busybox sleep 100000 & busybox sleep 100000 >/dev/null 2>&1 & echo done"))
	require.Equal(t, "done\n", out.String())
	require.NoError(t, c.UnmountAll(ctx))
}

func checkMounts(t *testing.T, ctx context.Context, c *Cell) {
	_, err := c.Mount(ctx, "/dev/sda4", "/boot", ReadWrite, "")
	require.ErrorContains(t, err, "nothing is mounted on /")
	for _, mode := range []MountMode{ReadOnly, Peek} {
		for _, device := range []string{"/dev/sda2", "/dev/sda3", "/dev/sda4", "/dev/sda1"} {
			_, err := c.Mount(ctx, device, "/", mode, "")
			require.NoError(t, err, "%s %s", device, mode)
			require.ErrorIs(t, c.Write(ctx, "/x", strings.NewReader("x"), 0o644), syscall.EROFS, device)
			if device != "/dev/sda1" {
				require.NoError(t, c.Unmount(ctx, device))
			}
		}
		_, err = c.Mount(ctx, "/dev/sda4", "/boot", ReadWrite, "noatime")
		require.NoError(t, err)
		list, err := c.Mounts(ctx)
		require.NoError(t, err)
		require.Equal(t, []Mounted{{"/dev/sda1", "/", "ext4"}, {"/dev/sda4", "/boot", "vfat"}}, list)
		require.NoError(t, c.Rename(ctx, "/boot/new/moved", "/boot/new/back"))
		require.NoError(t, c.Rename(ctx, "/boot/new/back", "/boot/new/moved"))
		require.Error(t, c.Unmount(ctx, "/"), "busy")
		require.NoError(t, c.UnmountAll(ctx))
	}
	_, err = c.Mount(ctx, "/dev/sda1", "/", ReadWrite, "errors=panic")
	require.ErrorIs(t, err, syscall.EINVAL)
	require.Error(t, c.Unmount(ctx, "/boot"))
}
