package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"goldstream/api/v1"
)

const mib = 1 << 20

// needFUSE skips where no mount can be made.
func needFUSE(tb testing.TB) {
	tb.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		tb.Skip("this host has no /dev/fuse")
	}
	if os.Geteuid() != 0 {
		tb.Skip("only root mounts without fusermount3 being set up")
	}
}

// mountProcess is a running goldstream mount.
type mountProcess struct {
	*service // of which only the process counts
	dir      string
}

// mount mounts on a directory of its own and waits until the files are there.
func (h *house) mount(flags ...string) *mountProcess {
	h.tb.Helper()
	needFUSE(h.tb)
	dir := filepath.Join(shortTempDir(h.tb), "m n\tt") // the kernel escapes these
	require.NoError(h.tb, os.Mkdir(dir, 0o700))
	m := &mountProcess{&service{tb: h.tb, log: new(lockedBuffer), ended: make(chan error, 1)}, dir}
	m.cmd = h.command(append([]string{"mount", dir, "--json"}, flags...)...)
	m.cmd.Stderr = m.log
	pr, pw, err := os.Pipe()
	require.NoError(h.tb, err)
	defer pr.Close()
	m.cmd.Stdout = pw
	require.NoError(h.tb, m.cmd.Start())
	pw.Close()
	go func() { m.ended <- m.cmd.Wait() }()
	h.tb.Cleanup(func() {
		m.kill()
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	})
	var p mountPoint
	require.NoError(h.tb, json.NewDecoder(pr).Decode(&p), "not mounted; the log: %s", m.log)
	require.Equal(h.tb, dir, p.Mounted)
	return m
}

func (m *mountProcess) path(parts ...string) string {
	return filepath.Join(append([]string{m.dir}, parts...)...)
}

// interrupt ends the mount as Ctrl-C does.
func (m *mountProcess) interrupt() {
	m.tb.Helper()
	require.NoError(m.tb, m.end(syscall.SIGINT), "the log: %s", m.log)
	require.False(m.tb, m.there())
}

// there tells whether the directory is a mount.
func (m *mountProcess) there() bool {
	p, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(m.tb, err)
	return strings.Contains(string(p), strings.NewReplacer(" ", `\040`, "\t", `\011`).Replace(m.dir)+" ")
}

// slurp reads a file of a mount. Package os would have this process's own runtime
// wait for it.
func slurp(tb testing.TB, path string) []byte {
	tb.Helper()
	p, err := readAll(path)
	require.NoError(tb, err, path)
	return p
}

func readAll(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return readFD(fd)
}

func readFD(fd int) ([]byte, error) {
	var out bytes.Buffer
	for p := make([]byte, 100_000); ; {
		n, err := unix.Pread(fd, p, int64(out.Len()))
		if err != nil || n == 0 {
			return out.Bytes(), err
		}
		out.Write(p[:n])
	}
}

// partitioned writes a disk with a GPT: p1 of 2 MiB, empty, p2 of 12 MiB with an
// ext4 that holds a file, and p5, half random. It returns the content.
func partitioned(tb testing.TB, path string) []byte {
	tb.Helper()
	rawDisk(tb, path, 24*mib, 7)
	p, err := os.ReadFile(path)
	require.NoError(tb, err)
	clear(p[:20*mib])
	require.NoError(tb, os.WriteFile(path, p, 0o600))
	tree := tb.TempDir()
	require.NoError(tb, os.WriteFile(filepath.Join(tree, "motd"), []byte("gold\n"), 0o644))
	sfdisk(tb, path, "label: gpt\nstart=2048, size=4096, name=esp\nstart=6144, size=24576\n5: start=40960, size=6144\n")
	tool(tb, "mke2fs", "-q", "-t", "ext4", "-F", "-d", tree, "-E", fmt.Sprintf("offset=%d", 3*mib), path, "12M")
	p, err = os.ReadFile(path)
	require.NoError(tb, err)
	return p
}

func sfdisk(tb testing.TB, path, script string) {
	tb.Helper()
	cmd := exec.Command("sfdisk", "-q", "--no-reread", "--no-tell-kernel", path)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	require.NoError(tb, err, string(out))
}

// entries lists a directory of a mount.
func entries(tb testing.TB, dir string) []string {
	tb.Helper()
	return strings.Split(strings.TrimSuffix(tool(tb, "ls", "-A", "--quoting-style=literal", dir), "\n"), "\n")
}

func TestMountShowsDisks(t *testing.T) {
	needFUSE(t)
	for _, served := range []bool{true, false} {
		t.Run(fmt.Sprintf("daemon=%v", served), func(t *testing.T) {
			h := newHouse(t)
			raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
			content := partitioned(t, raw)
			const odd = `a b@c=d:e,(f)-1`
			h.must("image", "import", odd, raw)
			h.must("volume", "create", "web", "--image", odd)
			h.must("volume", "create", "blank", "--size", "1MiB")
			if served {
				s := h.serve()
				defer func() { s.stop(); require.Contains(t, h.must("check"), "0 damaged, 0 warnings") }()
			}
			m := h.mount()
			require.Equal(t, []string{"images", "volumes"}, entries(t, m.dir))
			require.Equal(t, []string{odd}, entries(t, m.path("images")))
			require.Equal(t, []string{"blank", "web"}, entries(t, m.path("volumes")))
			require.Equal(t, []string{"disk", "info.json"}, entries(t, m.path("volumes", "blank")))
			for _, dir := range []string{m.path("images", odd), m.path("volumes", "web")} {
				looksLike(t, dir, content)
			}
			readersAgree(t, m, odd, content)
			m.interrupt()
		})
	}
}

// looksLike examines the files of a disk with the tools that people have.
func looksLike(t *testing.T, dir string, content []byte) {
	require.Equal(t, []string{"disk", "info.json", "p1", "p2", "p5"}, entries(t, dir))
	whole := filepath.Join(dir, "disk")
	require.True(t, bytes.Equal(content, slurp(t, whole)))
	for file, part := range map[string][]byte{
		"p1": content[1*mib : 3*mib], "p2": content[3*mib : 15*mib], "p5": content[20*mib : 23*mib],
	} {
		require.True(t, bytes.Equal(part, slurp(t, filepath.Join(dir, file))), file)
		require.Equal(t, fmt.Sprintf("%d 400 1\n", len(part)), tool(t, "stat", "-c", "%s %a %h", filepath.Join(dir, file)))
	}
	require.Contains(t, tool(t, "sfdisk", "--dump", whole), "size=       24576")
	require.Equal(t, "gold\n", tool(t, "debugfs", "-R", "cat /motd", filepath.Join(dir, "p2")))
	tool(t, "e2fsck", "-fn", filepath.Join(dir, "p2"))

	copied := filepath.Join(t.TempDir(), "copy")
	tool(t, "cp", "--sparse=auto", whole, copied)
	p, err := os.ReadFile(copied)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, p))
	var st unix.Stat_t
	require.NoError(t, unix.Stat(copied, &st))
	require.Less(t, st.Blocks*512, int64(12*mib), "holes were copied as such")
	tool(t, "qemu-img", "compare", "-f", "raw", "-F", "raw", whole, copied)

	var info struct {
		Disk           struct{ Size int64 }
		PartitionTable struct {
			Scheme     string
			Partitions []struct {
				File, Name  string
				Start, Size int64
			}
		}
	}
	require.NoError(t, json.Unmarshal(slurp(t, filepath.Join(dir, "info.json")), &info))
	require.EqualValues(t, len(content), info.Disk.Size)
	require.Equal(t, "gpt", info.PartitionTable.Scheme)
	require.Len(t, info.PartitionTable.Partitions, 3)
	require.Equal(t, "esp", info.PartitionTable.Partitions[0].Name)
	require.EqualValues(t, 3*mib, info.PartitionTable.Partitions[1].Start)

	for _, file := range []string{"disk", "p1", "info.json"} {
		_, err := unix.Open(filepath.Join(dir, file), unix.O_RDWR, 0)
		require.ErrorIs(t, err, unix.EROFS, file)
	}
	for _, file := range []string{"p0", "p3", "p01", "p6", "p", "disk2", "P1", "p-1"} {
		_, err := unix.Open(filepath.Join(dir, file), unix.O_RDONLY, 0)
		require.ErrorIs(t, err, unix.ENOENT, file)
	}
}

// readersAgree reads everything from many sides at once.
func readersAgree(t *testing.T, m *mountProcess, image string, content []byte) {
	var wg sync.WaitGroup
	bad := make([]error, 12)
	for i := range bad {
		wg.Add(1)
		go func() {
			defer wg.Done()
			path, want := m.path("images", image, "disk"), content
			if i%2 == 1 {
				path = m.path("volumes", "web", "disk")
			}
			if i%3 == 0 {
				path, want = filepath.Join(filepath.Dir(path), "p5"), content[20*mib:23*mib]
			}
			got, err := readAll(path)
			if err == nil && !bytes.Equal(got, want) {
				err = errors.New("other content")
			}
			bad[i] = err
		}()
	}
	wg.Wait()
	require.NoError(t, errors.Join(bad...))
}

func TestMountPointsThatMakeNoSense(t *testing.T) {
	needFUSE(t)
	h := newHouse(t)
	h.must("volume", "create", "web", "--size", "1MiB")
	base := shortTempDir(t)
	file := filepath.Join(base, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))

	r := h.run("mount", filepath.Join(base, "none"))
	require.Equal(t, exitNotFound, r.code)
	require.Contains(t, r.err, "make it first")
	r = h.run("mount", file)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "no directory")
	r = h.run("mount", base, "--write", "wbe")
	require.Equal(t, exitNotFound, r.code)
	require.Contains(t, r.err, `"wbe"`)
	r = h.run("unmount", base)
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.err, "no mount of goldstream")
	r = h.run("unmount", "/proc")
	require.Equal(t, exitUsage, r.code)

	s := h.serve()
	m := h.mount()
	r = h.run("mount", m.dir)
	require.Equal(t, exitFailure, r.code)
	require.Contains(t, r.err, "already")
	m.interrupt()
	s.stop()
}

// TestMountByUser has somebody mount who is not root.
func TestMountByUser(t *testing.T) {
	needFUSE(t)
	const nobody = 65534
	base := shortTempDir(t)
	require.NoError(t, os.Chmod(base, 0o755))
	binary := filepath.Join(base, "goldstream")
	tool(t, "cp", program, binary)
	h := &house{tb: t, data: filepath.Join(base, "data")}
	dir := filepath.Join(base, "mnt")
	for _, d := range []string{h.data, dir} {
		require.NoError(t, os.Mkdir(d, 0o700))
		require.NoError(t, os.Chown(d, nobody, nobody))
	}
	run := func(path string, args ...string) (string, error) {
		// The device as udev makes it, for this one command alone.
		script := `mount --bind "$1" /dev/fuse && shift && exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"`
		cmd := exec.Command("unshare", append([]string{"-m", "sh", "-c", script, "sh", filepath.Join(base, "fuse"), binary}, args...)...)
		cmd.Env = []string{"PATH=" + path, "GOLDSTREAM_DATA=" + h.data}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	require.NoError(t, unix.Mknod(filepath.Join(base, "fuse"), unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))))
	require.NoError(t, os.Chmod(filepath.Join(base, "fuse"), 0o666))
	out, err := run(os.Getenv("PATH"), "volume", "create", "web", "--size", "1MiB")
	if err != nil {
		t.Skipf("no namespace with a device for everybody: %v: %s", err, out)
	}
	without := shortTempDir(t)
	require.NoError(t, os.Chmod(without, 0o755))
	for _, name := range []string{"mount", "setpriv", "sh", "unshare"} {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(without, name)))
	}
	out, err = run(without, "mount", dir)
	require.Error(t, err)
	require.Contains(t, out, "only root may mount without fusermount3")

	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skip("fusermount3 (package fuse3) is not installed")
	}
	script := `exec 3>&1; "$0" mount "$1" >&2 & for i in $(seq 600); do stat -c "%U %a %s" "$1"/volumes/web/disk 2>/dev/null && break; sleep 0.05; done; "$0" unmount "$1" && wait $!`
	cmd := exec.Command("unshare", "-m", "sh", "-c", `mount --bind "$1" /dev/fuse && exec setpriv --reuid 65534 --regid 65534 --clear-groups sh -c "$2" "$3" "$4"`,
		"sh", filepath.Join(base, "fuse"), script, binary, dir)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GOLDSTREAM_DATA=" + h.data}
	p, err := cmd.CombinedOutput()
	require.NoError(t, err, string(p))
	require.Contains(t, string(p), "nobody 400 1048576")
}

// eventually waits for what must happen.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, 20*time.Millisecond, what)
}

// TestMountKnowsImagesApart replaces an image by another one of its name: the page
// cache of the old one must not answer for the new one.
func TestMountKnowsImagesApart(t *testing.T) {
	needFUSE(t)
	h, old := stocked(t)
	defer h.serve().stop()
	m := h.mount()
	path := m.path("images", "golden", "disk")
	require.True(t, bytes.Equal(old, slurp(t, path)))
	fd, closeIt := openFile(t, path, unix.O_RDONLY)
	h.must("image", "delete", "golden")
	eventually(t, "the name is gone", func() bool {
		_, err := readAll(path)
		return errors.Is(err, unix.ENOENT)
	})
	raw := filepath.Join(filepath.Dir(h.data), "new.raw")
	content := rawDisk(t, raw, 8*mib, 4)
	h.must("image", "import", "golden", raw)
	eventually(t, "the name is there", func() bool {
		_, err := readAll(path)
		return err == nil
	})
	require.True(t, bytes.Equal(content, slurp(t, path)))
	got, err := readFD(fd)
	require.NoError(t, err)
	require.True(t, bytes.Equal(old, got), "who has the old one open reads it on")
	closeIt()
	m.interrupt()
}

// TestImportFromAMount imports a file that the daemon serves: the client reads it, and
// a request that the daemon do so is refused before anything is read.
func TestImportFromAMount(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(t.TempDir(), "disk.raw")
	content := partitioned(t, raw)
	h.must("image", "import", "first", raw)
	h.serve()
	m := h.mount()
	h.must("image", "import", "second", m.path("images/first/disk"))
	require.True(t, bytes.Equal(content, slurp(t, m.path("images/second/disk"))))

	client := v1.NewClient(filepath.Join(h.data, v1.SocketName))
	defer client.Close()
	var st unix.Stat_t
	require.NoError(t, unix.Stat(m.path("images/first/disk"), &st))
	for _, file := range []v1.HostFile{{Path: m.path("images/first/disk")}, {Path: m.path("images/first/disk"), Device: st.Dev, Inode: st.Ino}} {
		_, err := client.ImportFile(t.Context(), "third", v1.ImportRequest{HostFile: file}, nil)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, "is on a mount of goldstream")
	}
	require.NotContains(t, h.must("image", "list"), "third")
	m.interrupt()
}
