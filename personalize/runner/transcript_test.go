package runner

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var rewrite = flag.Bool("rewrite", false, "have guestfish itself play the sessions of testdata/real, and keep what it prints")

// session is one that guestfish itself has played on a file system, and what it
// printed.
type session struct {
	name   string
	device string
	parts  []string // scripts of testdata/real
	disk   func(*testing.T) string
}

func sessions() []session {
	posix := []string{"body", "posix", "end"}
	plain := func(mib int, kind string) func(*testing.T) string {
		return func(t *testing.T) string {
			root := ""
			if kind == "ext4" {
				root = tree(t, map[string]string{"etc/hostname": "golden\n"})
			}
			return makeDisk(t, partition{mib, kind, root})
		}
	}
	return []session{
		{"ext4", "/dev/sda1", posix, plain(64, "ext4")},
		{"xfs", "/dev/sda1", posix, plain(320, "xfs")},
		{"vfat", "/dev/sda1", []string{"body", "end"}, plain(64, "vfat")},
	}
}

func (s session) script(t *testing.T) string {
	t.Helper()
	text := "list-filesystems\nmount DEVICE /\n"
	for _, name := range s.parts {
		part, err := os.ReadFile(filepath.Join("testdata/real", name+".guestfish"))
		require.NoError(t, err)
		text += string(part)
	}
	return strings.ReplaceAll(text, "DEVICE", s.device)
}

// TestAsGuestfish plays what guestfish has played, on the same disks: all that is
// printed is the same, and so is what is on the file system in the end, which the
// scripts print too.
func TestAsGuestfish(t *testing.T) {
	for _, s := range sessions() {
		t.Run(s.name, func(t *testing.T) {
			disk, script, file := s.disk(t), s.script(t), filepath.Join("testdata/real", s.name+".out")
			if *rewrite {
				require.NoError(t, os.WriteFile(file, []byte(original(t, disk, script)), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			got, err := play(t, boot(t, disk), script)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

// original plays a script with the real thing on a copy of a disk, and returns what
// it printed. Without a kernel in /boot it needs SUPERMIN_KERNEL and SUPERMIN_MODULES.
func original(t *testing.T, disk, script string) string {
	t.Helper()
	dir := t.TempDir()
	tool(t, "cp", "--sparse=always", disk, filepath.Join(dir, "copy"))
	work := filepath.Join(dir, "work")
	require.NoError(t, os.Mkdir(work, 0o755))
	cmd := exec.Command("guestfish", "--format=raw", "-a", "../copy")
	cmd.Dir = work
	cmd.Env = append(os.Environ(), "LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg", "LC_ALL=C.UTF-8")
	cmd.Stdin = strings.NewReader("run\n" + script)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", out, errs.String())
	return string(out)
}
