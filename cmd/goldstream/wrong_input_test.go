package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// refused runs a client that has to fail, and returns what it said.
func refused(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.Error(t, err, "%s %v succeeded: %s", name, args, out)
	return string(out)
}

// TestWrongRequests sends a served store what it must refuse, by real clients,
// and checks that nothing has changed.
func TestWrongRequests(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	want := rawDisk(t, raw, 4<<20, 7)
	h.must("image", "import", "debian", raw)
	h.must("volume", "create", "web-1", "--image", "debian")
	s := h.serve()
	image, volume := s.uri+"/images/debian", s.uri+"/web-1"

	require.Contains(t, refused(t, "nbdinfo", s.uri+"/nope"), "nope")
	require.Contains(t, tool(t, "nbdinfo", image), "is_read_only: true")
	refused(t, "qemu-io", "-f", "raw", "-c", "write 0 4k", image)
	// One connection; the requests that libnbd itself would refuse are sent.
	script := `
h.set_strict_mode(0)
h.connect_uri("` + volume + `")
def refused(call, errno):
    try:
        call()
    except nbd.Error as e:
        assert e.errno == errno, e
        return
    raise SystemExit("was not refused: " + errno)
size = h.get_size()
refused(lambda: h.pread(4096, size - 512), "EINVAL")
refused(lambda: h.pwrite(b"x" * 4096, size - 512), "ENOSPC")
refused(lambda: h.zero(1 << 20, size), "ENOSPC")
refused(lambda: h.trim(1 << 20, size), "EINVAL")
refused(lambda: h.pwrite(b"x" * (33 << 20), 0), "EINVAL")
assert len(h.pread(512, 0)) == 512 # still in step
`
	nbdsh := exec.Command("/usr/bin/python3", "-m", "nbd", "-c", script)
	out, err := nbdsh.CombinedOutput()
	require.NoError(t, err, "%s", out)

	copied := filepath.Join(filepath.Dir(h.data), "copy.raw")
	tool(t, "nbdcopy", volume, copied)
	same(t, want, copied)
	h.must("image", "verify", "debian")
	s.stop()
}

// TestWrongImages imports what must not become an image.
func TestWrongImages(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Dir(h.data)
	raw := filepath.Join(dir, "disk.raw")
	rawDisk(t, raw, 8<<20, 8)
	good, cut, backed := filepath.Join(dir, "good.qcow2"), filepath.Join(dir, "cut.qcow2"), filepath.Join(dir, "backed.qcow2")
	tool(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, good)
	p, err := os.ReadFile(good)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(cut, p[:len(p)*2/3], 0o644))
	tool(t, "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", "/etc/shadow", backed, "8M")
	odd := filepath.Join(dir, "odd.raw")
	require.NoError(t, os.WriteFile(odd, make([]byte, 1000), 0o644))
	for file, says := range map[string]string{cut: "cut", backed: "/etc/shadow", odd: "512"} {
		r := h.run("image", "import", "x", file)
		require.NotZero(t, r.code, file)
		require.Contains(t, r.err, says)
	}
	require.JSONEq(t, `[]`, h.must("image", "list", "--json"))
	h.must("image", "import", "x", good)
}

// TestFullDiskDuringImport: the error says so, nothing stays, and what fits is
// imported afterwards.
func TestFullDiskDuringImport(t *testing.T) {
	h := newHouse(t)
	dir := shortTempDir(t)
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=80m"), "mounting needs root")
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	h.data = filepath.Join(dir, "data")
	big, small := filepath.Join(filepath.Dir(dir), filepath.Base(dir)+".big"), filepath.Join(filepath.Dir(dir), filepath.Base(dir)+".small")
	t.Cleanup(func() { os.Remove(big); os.Remove(small) })
	rawDisk(t, big, 192<<20, 9)
	rawDisk(t, small, 8<<20, 10)
	r := h.run("image", "import", "big", big)
	require.Equal(t, exitNoSpace, r.code, r.err)
	require.Contains(t, r.err, "no space left")
	require.JSONEq(t, `[]`, h.must("image", "list", "--json"))
	h.must("image", "import", "small", small)
	h.must("image", "verify", "small")
}

// TestExportTakesNobodysPlace: a link where the half-made file used to stand
// is not followed, and the mode of the file that is replaced stays.
func TestExportTakesNobodysPlace(t *testing.T) {
	h := newHouse(t)
	dir := filepath.Dir(h.data)
	raw, out, victim := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "out.raw"), filepath.Join(dir, "victim")
	want := rawDisk(t, raw, 1<<20, 11)
	h.must("image", "import", "debian", raw)
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	require.NoError(t, os.Symlink(victim, out+".partial"))
	require.NoError(t, os.WriteFile(out, nil, 0o600))
	h.must("image", "export", "debian", out)
	same(t, want, out)
	b, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.Equal(t, "precious", string(b))
	fi, err := os.Lstat(out)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, fi.Mode())
}

// TestRefusedMakesNoStore: a command that makes no sense leaves no data
// directory, and one that makes it says so.
func TestRefusedMakesNoStore(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	rawDisk(t, raw, 1<<20, 12)
	for _, args := range [][]string{
		{"image", "import", "no/slash", raw},
		{"image", "import", "x", raw + ".missing"},
		{"image", "import", "x", filepath.Dir(raw)},
		{"volume", "create", "no/slash", "--size", "1MiB"},
		{"volume", "create", "x", "--size", "1000"},
		{"volume", "create", "x", "--size", "2000TiB"},
	} {
		require.NotZero(t, h.run(args...).code, "%v", args)
		require.NoDirExists(t, h.data, "%v", args)
	}
	r := h.run("volume", "create", "x", "--size", "1MiB")
	require.Zero(t, r.code, r.err)
	require.Contains(t, r.err, "new data directory "+h.data)
	require.Empty(t, h.run("volume", "create", "y", "--size", "1MiB").err)
}

// TestWrongAddresses: an address that makes no sense is found before a store is
// made.
func TestWrongAddresses(t *testing.T) {
	h := newHouse(t)
	for _, address := range []string{"foo", ":99999", "unix:", "unix:@abs", "unix:/etc/passwd"} {
		r := h.run("serve", "--nbd", address)
		require.Equal(t, exitUsage, r.code, "%s: %s", address, r.err)
		require.NoDirExists(t, h.data)
	}
	for _, args := range [][]string{{"--boot-dhcp", "full"}, {"--boot-dhcp", "proxy"}, {"--boot", "127.0.0.1:0", "--boot-dhcp", "proxy", "--read-only"}} {
		r := h.run(append([]string{"serve"}, args...)...)
		require.Equal(t, exitUsage, r.code, "%s: %s", args, r.err)
		require.Contains(t, r.err, "--boot-dhcp")
		require.NoDirExists(t, h.data)
	}
}

// TestExportNamesItsDestination: errors of writing name DEST, with the right
// exit code and the right cure.
func TestExportNamesItsDestination(t *testing.T) {
	h := newHouse(t)
	raw := filepath.Join(filepath.Dir(h.data), "disk.raw")
	rawDisk(t, raw, 8<<20, 13)
	h.must("image", "import", "debian", raw)
	dir := shortTempDir(t)
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"), "mounting needs root")
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	for dest, want := range map[string]struct {
		code int
		cure string
	}{
		filepath.Join(dir, "full.raw"):        {exitNoSpace, "Free some space"},
		filepath.Join(dir, "full.zst"):        {exitNoSpace, "Free some space"},
		"/dev/full":                           {exitNoSpace, "Free some space"},
		filepath.Join(dir, "no", "where.raw"): {exitNotFound, "Make its directory"},
	} {
		r := h.run("image", "export", "debian", dest)
		require.Equal(t, want.code, r.code, "%s: %s", dest, r.err)
		require.Contains(t, r.err, "cannot write "+dest)
		require.Contains(t, r.err, want.cure)
		require.NotContains(t, r.err, "partial")
	}
	require.Empty(t, partials(t, dir))
}

// TestNamesThatLookLikeHelp: h and help are names like any other.
func TestNamesThatLookLikeHelp(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{"h", "help"} {
		require.Equal(t, exitNotFound, h.run("volume", "inspect", name).code)
		require.Contains(t, h.must("volume", "create", name, "--size", "1MiB"), name)
		require.Contains(t, h.must("volume", "inspect", name), name)
		h.must("volume", "delete", name)
	}
	require.JSONEq(t, `[]`, h.must("volume", "list", "--json"))
}

// TestUploadsAreSweptAtStart: what a kill left of an upload goes at the next start.
func TestUploadsAreSweptAtStart(t *testing.T) {
	h := newHouse(t)
	h.must("volume", "create", "v", "--size", "1MiB")
	left := filepath.Join(h.data, "tmp", "convert-1")
	require.NoError(t, os.MkdirAll(left, 0o700))
	h.must("volume", "list")
	require.NoDirExists(t, left)
}

// TestRootLeavesOthersAlone: root does not open the data directory of another
// user, in which it would leave files that keep that user out.
func TestRootLeavesOthersAlone(t *testing.T) {
	h := newHouse(t)
	h.must("volume", "create", "v", "--size", "1MiB")
	require.NoError(t, os.Chown(h.data, 12345, 12345), "needs root")
	before := tool(t, "find", h.data, "-printf", `%p %U %T@\n`)
	for _, args := range [][]string{{"volume", "list"}, {"volume", "create", "w", "--size", "1MiB"}, {"serve", "--nbd", "127.0.0.1:0"}} {
		r := h.run(args...)
		require.Equal(t, exitFailure, r.code, r.err)
		require.Contains(t, r.err, "sudo -u '#12345' goldstream")
	}
	require.Equal(t, before, tool(t, "find", h.data, "-printf", `%p %U %T@\n`))
	require.NoError(t, os.Chown(h.data, 0, 0))
	h.must("volume", "list")
}
