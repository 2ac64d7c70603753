package inspect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"goldstream/jail"
	"goldstream/personalize/sandbox"
)

func TestMain(m *testing.M) {
	jail.MaybeInit()
	goleak.VerifyTestMain(m)
}

const bootUUID = "6e4f9f3a-1111-4222-8333-444455556666"

// TestDisk looks at a disk with an EFI partition, a Debian whose /boot has a file
// system of its own, another system that cannot boot, and a data partition.
func TestDisk(t *testing.T) {
	debian := tree(t, map[string]string{
		"usr/lib/os-release": "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n",
		"etc/fstab":          "# comment\nLABEL=root / ext4 defaults 0 1\nUUID=" + strings.ToUpper(bootUUID) + " /boot ext4 defaults 0 2\n",
		"boot/.keep":         "",
		"lib/modules/6.1.0-20-amd64/kernel/drivers/block/nbd.ko": "\x7fELF nbd",
		"lib/modules/6.1.0-20-amd64/kernel/lib/base.ko":          "\x7fELF base",
		"lib/modules/6.1.0-20-amd64/modules.dep":                 "kernel/drivers/block/nbd.ko: kernel/lib/base.ko\n",
	})
	require.NoError(t, os.Symlink("../usr/lib/os-release", filepath.Join(debian, "etc/os-release")))
	boot := tree(t, map[string]string{"vmlinuz-6.1.0-20-amd64": "kernel", "initrd.img-6.1.0-20-amd64": "initrd", "vmlinuz-5.10.0-1-amd64": "old",
		"grub/grub.cfg": "menuentry 'Debian' {\n\tlinux /vmlinuz-6.1.0-20-amd64 root=UUID=abc ro quiet $x\n\tinitrd /initrd.img\n}\n"})
	other := tree(t, map[string]string{
		"etc/os-release":   "ID=odd\nPRETTY_NAME=\"Odd\x1b[31m \u202eOS\"\n",
		"etc/fstab":        "LABEL=none /boot ext4 defaults 0 2\n",
		"boot/vmlinuz-1.0": "kernel",
	})
	disk := filepath.Join(t.TempDir(), "disk")
	tool(t, "truncate", "-s", "200M", disk)
	table := exec.Command("sfdisk", "-q", disk)
	table.Stdin = strings.NewReader("label: gpt\nstart=1MiB, size=40MiB\nstart=41MiB, size=40MiB\nstart=81MiB, size=40MiB\nstart=121MiB, size=40MiB\n")
	out, err := table.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for i, make := range [][]string{
		{"mkfs.vfat", "-n", "EFI", "FILE"},
		{"mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", debian, "FILE"},
		{"mke2fs", "-q", "-t", "ext4", "-U", bootUUID, "-d", boot, "FILE"},
		{"mke2fs", "-q", "-t", "ext4", "-d", other, "FILE"},
	} {
		file := filepath.Join(t.TempDir(), "part")
		tool(t, "truncate", "-s", "40M", file)
		make[len(make)-1] = file
		tool(t, make...)
		tool(t, "dd", "if="+file, "of="+disk, "bs=1M", "seek="+[]string{"1", "41", "81", "121"}[i], "conv=sparse,notrunc", "status=none")
	}
	before, err := os.ReadFile(disk)
	require.NoError(t, err)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := sandbox.Start(ctx, sandbox.Config{Tools: tools(t), Disk: disk, ReadOnly: true})
	require.NoError(t, err)
	defer func() { c.Kill(); _ = c.Wait() }()
	r, err := Disk(ctx, c)
	require.NoError(t, err)

	require.Equal(t, int64(200<<20), r.Size)
	require.Len(t, r.Filesystems, 4)
	require.Empty(t, r.Notes)
	require.Len(t, r.Systems, 2)
	require.Equal(t, System{
		Root: "/dev/sda2", ID: "debian", Version: "12", Name: "Debian GNU/Linux 12 (bookworm)", Boot: "/dev/sda3", NetBoot: true, WhyNot: []string{},
		Kernels: []Kernel{
			{Version: "6.1.0-20-amd64", Path: "/boot/vmlinuz-6.1.0-20-amd64", Initrd: "/boot/initrd.img-6.1.0-20-amd64", NetBoot: true},
			{Version: "5.10.0-1-amd64", Path: "/boot/vmlinuz-5.10.0-1-amd64", WhyNot: []string{"it has no initrd", "it has no NBD client (module nbd)"}},
		},
	}, r.Systems[0])
	odd := r.Systems[1]
	require.Equal(t, "Odd?[31m ?OS", odd.Name)
	require.False(t, odd.NetBoot)
	require.Equal(t, []string{"kernel 1.0: it has no initrd, it has no NBD client (module nbd)"}, odd.WhyNot)
	checkExtract(t, ctx, c, before)
	after, err := os.ReadFile(disk)
	require.NoError(t, err)
	require.True(t, string(before) == string(after), "the disk was changed")
}

// checkExtract compares what is taken with what lies at the ranges it came from.
func checkExtract(t *testing.T, ctx context.Context, c *sandbox.Cell, disk []byte) {
	dir := t.TempDir()
	b, err := Extract(ctx, c, dir)
	require.NoError(t, err)
	require.Equal(t, "6.1.0-20-amd64", b.Version)
	require.Equal(t, "root=UUID=abc ro quiet", b.Options)
	require.Regexp(t, "^UUID=", b.Root)
	require.Len(t, b.Entries, 1)
	var at []byte
	require.True(t, b.Placed)
	for _, r := range b.Ranges {
		at = append(at, disk[r.Offset:r.Offset+r.Length]...)
	}
	for file, want := range map[BootFile]string{b.Kernel: "kernel", b.Initrd: "initrd", b.Modules[0]: "\x7fELF base", b.Modules[1]: "\x7fELF nbd"} {
		got, err := os.ReadFile(filepath.Join(dir, file.Name))
		require.NoError(t, err)
		require.Equal(t, want, string(got))
		require.Equal(t, fmt.Sprintf("%x", sha256.Sum256(got)), file.SHA256)
		require.True(t, bytes.Contains(at, got), "%s is not where it is said to be", file.Path)
	}
	require.True(t, bytes.Contains(at, []byte("menuentry")), "the boot loader's file has no place")
	require.True(t, bytes.Contains(at, []byte("vmlinuz-5.10.0-1-amd64")), "the directory has no place")
	require.Len(t, b.Modules, 2)
	_, err = Extract(ctx, c, dir)
	require.ErrorIs(t, err, fs.ErrExist)
	mounts, err := c.Mounts(ctx)
	require.NoError(t, err)
	require.Empty(t, mounts)
}

func tools(t *testing.T) sandbox.Tools {
	t.Helper()
	o := sandbox.Options{Dir: filepath.Join(t.TempDir(), "tools"), Guest: filepath.Join(t.TempDir(), "goldstream-guest")}
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", o.Guest, "goldstream/cmd/goldstream-guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	tl, err := sandbox.Prepare(t.Context(), o)
	require.NoError(t, err)
	return tl
}

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "etc"), 0o755))
	for name, text := range files {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

func tool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%v: %s", args, out)
}

func TestWordsOfDisks(t *testing.T) {
	t.Parallel()
	all := []sandbox.Filesystem{{Device: "/dev/sda1", UUID: "ab-cd", Label: "boot"}, {Device: "/dev/my-vg/root"}}
	for spec, want := range map[string]string{
		"UUID=AB-CD": "/dev/sda1", `LABEL="boot"`: "/dev/sda1", "/dev/mapper/my--vg-root": "/dev/my-vg/root",
		"/dev/my-vg/root": "/dev/my-vg/root", "UUID=": "", "LABEL=": "", "PARTUUID=ab-cd": "", "/dev/sdb1": "",
	} {
		require.Equal(t, want, resolve(spec, all), spec)
	}
	require.Equal(t, map[string]string{"A": "b c", "D": "e?"}, assignments("A=\"b c\"\n#X=y\nD='e\a'\nnothing\n"))
}

// TestVersions: what the guest lists is no kernel unless it is one by its path.
func TestVersions(t *testing.T) {
	long := strings.Repeat("x", mostName+1)
	require.Equal(t, []string{"6.1", "5.10"}, versions([]string{
		"/boot/vmlinuz-5.10", "/boot/vmlinuz-6.1", "/boot/vmlinuz-6.1-rescue", "/boot/vmlinuz-", "/boot/vmlinuz-a/b",
		"/etc/x\nkernel 1.0/vmlinuz-7.0", "/boot/vmlinuz-8\n9", "/boot/vmlinuz-" + long, "",
	}))
	require.Len(t, versions(slices.Repeat([]string{"/boot/vmlinuz-1"}, 1000)), mostKernels)
}
