package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// linux is a small system.
func linux(t testing.TB) string {
	t.Helper()
	dir := tree(t, map[string]string{
		"etc/os-release":     "NAME=\"CentOS Linux\"\nID=\"centos\"\nVERSION_ID=\"7\"\nPRETTY_NAME=\"CentOS Linux 7 (Core)\"\n",
		"etc/centos-release": "CentOS Linux release 7.6.1810 (Core)\n", "etc/hostname": "golden\n", "etc/rc.d/rc.local": "#!/bin/bash\nexit 0\n",
		"etc/ssh/ssh_host_rsa_key": "key", "etc/ssh/ssh_host_dsa_key": "key", "etc/ssh/sshd_config": "Port 22\n",
		"etc/fstab":  "UUID=6e4f9f3a-1111-4222-8333-444455556666 / ext4 defaults 0 1\n/dev/sda1 /boot/efi vfat defaults 0 2\n",
		"home/a b/c": "spaces", "boot/efi/": "", "dev/": "", "proc/": "", "sys/": "", "tmp/": "", "bin/": "", "root/": "",
	})
	busybox, err := os.ReadFile("/bin/busybox")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin/busybox"), busybox, 0o755))
	for _, name := range []string{"sh", "ls", "bash"} {
		require.NoError(t, os.Symlink("busybox", filepath.Join(dir, "bin", name)))
	}
	return dir
}

// TestRun plays the scripts of testdata on one real disk, in one boot: each has the
// commands and, behind "#=", what they print.
func TestRun(t *testing.T) {
	disk := makeDisk(t, partition{16, "vfat", tree(t, map[string]string{"EFI/BOOT/grub.cfg": "set timeout=1\n"})}, partition{64, "ext4", linux(t)}, partition{4, "", ""})
	c := boot(t, disk)
	files, err := filepath.Glob("testdata/*.guestfish")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			script, want := parted(string(text))
			got, err := play(t, c, script)
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
	require.NoError(t, c.Close(patience(t)))
}

// parted takes what shall be printed out of a script.
func parted(text string) (script, want string) {
	for line := range strings.Lines(text) {
		if shown, found := strings.CutPrefix(line, "#="); found {
			want += strings.TrimPrefix(shown, " ")
			continue
		}
		script += line
	}
	return script, want
}
