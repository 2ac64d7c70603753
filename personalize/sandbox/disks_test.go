package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// part is a partition and the image that it holds, if any.
type part struct {
	mib   int64
	image string
	skip  int64 // bytes of the partition before the image
}

// assemble makes a GPT disk of the parts.
func assemble(t testing.TB, parts ...part) string {
	t.Helper()
	table, at := "label: gpt\n", int64(1)
	for _, p := range parts {
		table += fmt.Sprintf("start=%dMiB, size=%dMiB\n", at, p.mib)
		at += p.mib
	}
	disk := makeDisk(t, (at+1)*mib, table)
	at = 1
	for _, p := range parts {
		if p.image != "" {
			copyInto(t, disk, at*mib+p.skip, p.image)
		}
		at += p.mib
	}
	return disk
}

func copyInto(t testing.TB, disk string, offset int64, image string) {
	t.Helper()
	tool(t, "dd", "if="+image, "of="+disk, "bs=1M", fmt.Sprintf("seek=%d", offset/mib), "conv=sparse,notrunc", "status=none")
}

// extract copies a partition out again, for tools that cannot be told an offset.
func extract(t testing.TB, disk string, offset, size int64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "part")
	tool(t, "dd", "if="+disk, "of="+file, "bs=1M", fmt.Sprintf("skip=%d", offset/mib), fmt.Sprintf("count=%d", size/mib), "conv=sparse", "status=none")
	return file
}

// seed is what each file system holds before any cell sees it.
func seed(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"etc/hostname":   "golden\n",
		"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"home/a b/c":     "spaces",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

// seedLinux has hostile links too, and programs.
func seedLinux(t testing.TB) string {
	t.Helper()
	dir := seed(t)
	for name, target := range map[string]string{
		"absolute": "/etc/hostname", "upwards": "../../../../../../../etc/hostname", "tools": "/../../init",
		"magic": "/proc/self/root/init", "loop": "loop", "dangling": "/etc/none", "dir": "/etc",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	for _, name := range []string{"bin", "dev", "proc", "sys", "boot"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	busybox, err := os.ReadFile("/bin/busybox")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin/busybox"), busybox, 0o755))
	require.NoError(t, os.Symlink("busybox", filepath.Join(dir, "bin/sh")))
	return dir
}

// makeFS makes a file system of a kind that holds dir, without any mount.
func makeFS(t testing.TB, kind string, size int64, dir string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), kind)
	f, err := os.Create(file)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	require.NoError(t, f.Close())
	switch kind {
	case "ext4":
		tool(t, "mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", dir, file)
	case "xfs":
		tool(t, "mkfs.xfs", "-q", "-L", "data", "-p", protofile(t, dir), file)
	case "btrfs":
		tool(t, "mkfs.btrfs", "-q", "--rootdir", dir, "-L", "pool", file)
	case "vfat":
		tool(t, "mkfs.vfat", "-F", "32", "-n", "EFI", file)
		tool(t, "sh", "-c", `mcopy -s -i "$1" "$2"/* ::/`, "-", file, dir)
	}
	return file
}

// protofile is mkfs.xfs's way to say what goes in; it has no spaces in names.
func protofile(t testing.TB, dir string) string {
	lines := "/dev/null\n0 0\nd--755 0 0\n"
	for _, name := range []string{"hostname", "os-release"} {
		if !strings.Contains(lines, "etc d") {
			lines += "etc d--755 0 0\n"
		}
		lines += name + " ---644 0 0 " + filepath.Join(dir, "etc", name) + "\n"
	}
	return writeFile(t, lines+"$\n$\n")
}

func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "MTOOLS_SKIP_CHECK=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return string(out)
}

// lastLines leaves out what debugfs says of itself.
func lastLines(out string) string {
	_, rest, _ := strings.Cut(out, "\n")
	return rest
}

// TestServedDisk boots a cell with a disk on a mount, of which this process looks at
// nothing: only a jail does, which also finds a copy-on-write header.
func TestServedDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	dir := filepath.Join(t.TempDir(), "mount")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	for name, row := range map[string]struct {
		head string
		want error
	}{"plain": {strings.Repeat("\x00", 4096), nil}, "COW": {"MOOO" + strings.Repeat("\x00", 4092), ErrDiskRefused}, "short": {"ab", ErrDiskRefused}} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(row.head), 0o666))
		cfg := Config{Disk: file, DiskMount: dir, ReadOnly: true}
		err := checkDisk(patience(t), cfg)
		if row.want == nil {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, row.want)
		}
	}
	err := checkDisk(patience(t), Config{Disk: filepath.Join(dir, "none"), DiskMount: dir})
	require.ErrorContains(t, err, "none")
}
