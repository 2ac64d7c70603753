package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"goldstream/api/v1"
	"goldstream/blockstore"
	"goldstream/jail"
)

// disk is a raw image with data, runs of zeroes and an end that is no multiple
// of a cluster or of a piece.
func convertDisk(t testing.TB) (path string, content []byte) {
	t.Helper()
	const seed = 7
	content = make([]byte, 20<<20+3*512)
	r := rand.NewChaCha8([32]byte{seed})
	fill := func(off, n int) { _, _ = r.Read(content[off : off+n]) }
	fill(0, 3<<20)
	fill(5<<20+512, 700<<10)
	copy(content[9<<20:], bytes.Repeat([]byte("compressible "), 100_000))
	fill(len(content)-70_000, 70_000)
	path = filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path, content
}

// qemuImg fails the test when the program is missing: the product needs it.
func qemuImg(t testing.TB, args ...string) {
	t.Helper()
	out, err := exec.Command("qemu-img", args...).CombinedOutput()
	require.NoError(t, err, "qemu-img %s: %s", strings.Join(args, " "), out)
}

// makeImage returns an image that only its owner may read, like an upload.
func makeImage(t testing.TB, raw, format string, options ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk."+format)
	qemuImg(t, append(append([]string{"convert", "-O", format}, options...), raw, path)...)
	require.NoError(t, os.Chmod(path, 0o600))
	return path
}

func openImage(t testing.TB, ctx context.Context, path string) (blockstore.Source, error) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return OpenConverted(ctx, f, convertTmp, nil)
}

// readSource reads with buffers of changing length; p holds rubbish, so that a
// byte the source forgets is seen.
func readSource(ctx context.Context, s blockstore.Source) ([]byte, int64, error) {
	var all bytes.Buffer
	var zeroes int64
	for i := 0; ; i++ {
		p := bytes.Repeat([]byte{0xaa}, []int{1 << 20, 4096, 3<<20 + 17, 1}[i%4])
		n, zero, err := s.Next(ctx, p)
		if errors.Is(err, io.EOF) {
			return all.Bytes(), zeroes, nil
		} else if err != nil {
			return nil, 0, err
		}
		if zero {
			clear(p)
			zeroes += int64(n)
		}
		all.Write(p[:n])
	}
}

func TestConvertedContent(t *testing.T) {
	raw, content := convertDisk(t)
	for name, test := range map[string]struct {
		format    string
		options   []string
		wholeMega bool // the format rounds the disk up
	}{
		"qcow2":            {format: "qcow2"},
		"qcow2 compressed": {format: "qcow2", options: []string{"-c"}},
		"qcow2 zstd":       {format: "qcow2", options: []string{"-c", "-o", "compression_type=zstd"}},
		"qcow2 0.10":       {format: "qcow2", options: []string{"-o", "compat=0.10,cluster_size=4096"}},
		"qcow2 extended":   {format: "qcow2", options: []string{"-o", "extended_l2=on,cluster_size=128k"}},
		"qcow2 full":       {format: "qcow2", options: []string{"-o", "preallocation=full"}},
		"qcow":             {format: "qcow"},
		"qed":              {format: "qed"},
		"vmdk":             {format: "vmdk"},
		"vmdk stream":      {format: "vmdk", options: []string{"-o", "subformat=streamOptimized"}},
		"vhdx":             {format: "vhdx", wholeMega: true},
		"vpc":              {format: "vpc", wholeMega: true},
		"vpc fixed":        {format: "vpc", options: []string{"-o", "subformat=fixed"}, wholeMega: true},
		"vdi":              {format: "vdi"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := openImage(t, t.Context(), makeImage(t, raw, test.format, test.options...))
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()); assertClean(t) }()
			assert.Equal(t, test.format, s.Format())
			got, zeroes, err := readSource(t.Context(), s)
			require.NoError(t, err)
			assert.Len(t, got, int(s.Size()))
			assert.Equal(t, sha256.Sum256(content), sha256.Sum256(got[:len(content)]))
			assert.Empty(t, bytes.Trim(got[len(content):], "\x00"))
			if !test.wholeMega {
				assert.Len(t, got, len(content))
			}
			if !strings.HasPrefix(test.format, "v") && name != "qcow2 full" || test.format == "vmdk" {
				assert.Greater(t, zeroes, int64(4<<20), "known without reading")
			}
			done, total := s.Consumed()
			assert.Equal(t, total, done)
		})
	}
}

// assertClean looks for what a jail could leave behind.
func assertClean(t testing.TB) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(convertTmp, "*"))
	require.NoError(t, err)
	assert.Empty(t, dirs)
	own, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	assert.NotContains(t, string(own), imagePath+" ")
	assert.Empty(t, children(t))
}

// children returns the commands of processes that we started and that live.
func children(t testing.TB) (names []string) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	require.NoError(t, err)
	for _, file := range tasks {
		text, _ := os.ReadFile(file) // the thread may be gone
		for _, pid := range strings.Fields(string(text)) {
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			names = append(names, strings.TrimSpace(string(name)))
		}
	}
	return names
}

func refused(t testing.TB, path string, words ...string) {
	t.Helper()
	s, err := openImage(t, t.Context(), path)
	if err == nil {
		_, _, err = readSource(t.Context(), s)
		_ = s.Close()
	}
	require.ErrorIs(t, err, blockstore.ErrInvalid)
	for _, w := range words {
		require.ErrorContains(t, err, w)
	}
	assertClean(t)
}

func TestBackingFilesAreRefused(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, bytes.Repeat([]byte("host secret "), 5000), 0o644))
	for _, backing := range []string{secret, "/proc/self/environ", "json:{\"driver\":\"raw\",\"file\":{\"filename\":\"/etc/passwd\"}}"} {
		for _, format := range []string{"qcow2", "qed", "vmdk", "qcow"} {
			t.Run(format, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "evil")
				if format == "vmdk" {
					makeVMDKWithParent(t, path, backing)
				} else {
					qemuImg(t, "create", "-q", "-u", "-f", format, "-b", backing, "-F", "raw", path, "1M")
				}
				refused(t, path, backing, "flatten")
			})
		}
	}
}

func makeVMDKWithParent(t testing.TB, path, parent string) {
	t.Helper()
	qemuImg(t, "create", "-q", "-f", "vmdk", path, "1M")
	patch(t, path, 512, []byte("# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=2\nparentFileNameHint=\""+
		strings.ReplaceAll(parent, `"`, "'")+"\"\n\x00"))
	if strings.Contains(parent, `"`) {
		t.Skip("a VMDK cannot name it")
	}
}

// qemu finds the name of a parent in the middle of a line, and behind the end
// that the header gives the descriptor.
func TestVMDKParentAnywhereIsRefused(t *testing.T) {
	for _, text := range []string{
		"# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\n# xparentFileNameHint=\"/etc/shadow\"\n\x00",
		"CID=1 parentFileNameHint = \"/etc/shadow\"\x00",
	} {
		path := filepath.Join(t.TempDir(), "evil")
		qemuImg(t, "create", "-q", "-f", "vmdk", path, "1M")
		patch(t, path, 512, []byte(text))
		refused(t, path, "/etc/shadow", "flatten")
		patch(t, path, 36, make([]byte, 8)) // length of the descriptor
		refused(t, path, "/etc/shadow", "flatten")
	}
}

// Even where our own look at the header were fooled, the jail has no such file.
func TestJailHasNoBackingFile(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, make([]byte, 1<<20), 0o644))
	path := filepath.Join(t.TempDir(), "evil")
	for _, backing := range []string{secret, "/proc/self/environ", "/dev/zero/../../etc/passwd"} {
		qemuImg(t, "create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "raw", path, "1M")
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		c := converter{file: f, tmp: convertTmp, nbd: "qemu-nbd", img: "qemu-img", format: "qcow2"}
		_, err = c.serve(t.Context())
		require.ErrorContains(t, err, "Could not open backing file")
		assertClean(t)
	}
}

func TestVMDKOfSeveralFilesIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "evil.vmdk")
	text := "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 2048 FLAT \"/etc/shadow\" 0\n"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	refused(t, path, "/etc/shadow", "other files")

	qemuImg(t, "create", "-q", "-f", "vmdk", path, "1M")
	patch(t, path, 12, make([]byte, 8)) // capacity 0: qemu would follow the descriptor
	patch(t, path, 512, []byte(text+"\x00"))
	refused(t, path, "/etc/shadow", "other files")
}

func TestDataFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "q")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-o", "data_file="+filepath.Join(dir, "data")+",data_file_raw=on", path, "1M")
	refused(t, path, "external data file")
}

// qemu-img makes the old cipher only: for LUKS it measures the machine's speed
// first and fails where that is too unsteady. The header tells the two apart.
func TestEncryptedIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q")
	qemuImg(t, "create", "-q", "--object", "secret,id=s,data=abc", "-f", "qcow2",
		"-o", "encrypt.format=aes,encrypt.key-secret=s", path, "1M")
	refused(t, path, "encrypted")
	patch(t, path, 32, []byte{0, 0, 0, 2}) // crypt_method, docs/interop/qcow2.txt
	refused(t, path, "encrypted")
}

func patch(t testing.TB, path string, off int64, p []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(p, off)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// Cut at many lengths, no image may pass with content that differs.
func TestTruncatedIsRefused(t *testing.T) {
	raw, content := convertDisk(t)
	for name, options := range map[string][]string{
		"qcow2": {"qcow2"}, "compressed": {"qcow2", "-c"}, "qed": {"qed"}, "vmdk": {"vmdk"},
		"stream": {"vmdk", "-o", "subformat=streamOptimized"}, "vhdx": {"vhdx"}, "vpc": {"vpc"}, "vdi": {"vdi"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := makeImage(t, raw, options[0], options[1:]...)
			whole, err := os.ReadFile(path)
			require.NoError(t, err)
			for _, cut := range []int{100, 600, 5000, 66_000, 600_000, 2 << 20, len(whole) - 66_000, len(whole) - 100} {
				require.NoError(t, os.WriteFile(path, whole[:len(whole)-cut], 0o600))
				s, err := openImage(t, t.Context(), path)
				if err == nil {
					got := []byte(nil)
					got, _, err = readSource(t.Context(), s)
					_ = s.Close()
					if err == nil {
						assert.True(t, bytes.Equal(content, got[:len(content)]), "passed with %d bytes cut off", cut)
						continue
					}
				}
				if len(whole)-cut > 512 { // else the mark itself may be gone
					require.ErrorIs(t, err, blockstore.ErrInvalid, "%d bytes cut off", cut)
				}
			}
		})
	}
}

func TestHostileHeaders(t *testing.T) {
	raw, _ := convertDisk(t)
	be64 := func(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
	for name, test := range map[string]struct {
		off  int64
		data []byte
	}{
		"size 2^62":          {24, be64(1 << 62)},
		"size negative":      {24, be64(1 << 63)},
		"size 64 TiB + 1":    {24, be64(maxConverted + 1)},
		"huge L1":            {36, []byte{0xff, 0xff, 0xff, 0xff}},
		"L1 far away":        {40, be64(1 << 60)},
		"L1 negative":        {40, be64(1<<64 - 512)},
		"clusters of 2^63":   {20, []byte{0, 0, 0, 63}},
		"clusters of 1 byte": {20, []byte{0, 0, 0, 0}},
		"version 9":          {4, []byte{0, 0, 0, 9}},
		"marked corrupt":     {72, be64(featureCorrupt)},
		"unknown feature":    {72, be64(1 << 40)},
		"refcounts far away": {48, be64(1 << 50)},
		"L1 on the header":   {40, be64(0)},
	} {
		t.Run(name, func(t *testing.T) {
			path := makeImage(t, raw, "qcow2")
			patch(t, path, test.off, test.data)
			refused(t, path)
		})
	}
}

// One L2 table named by every entry of a full-sized L1 would cost hours.
func TestSharedTablesAreRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q")
	qemuImg(t, "create", "-q", "-f", "qcow2", path, "64T")
	header, err := os.ReadFile(path)
	require.NoError(t, err)
	l1 := int64(binary.BigEndian.Uint64(header[40:]))
	n := int(binary.BigEndian.Uint32(header[36:]))
	entries := bytes.Repeat(binary.BigEndian.AppendUint64(nil, 1<<63|uint64(l1)), n)
	patch(t, path, l1, entries)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = openImage(t, ctx, path)
	require.ErrorIs(t, err, blockstore.ErrInvalid)
}

func TestRawIsNeverGivenToQemu(t *testing.T) {
	raw, _ := convertDisk(t)
	refused(t, raw, "no format that needs a converter")
}

func TestDetectFormat(t *testing.T) {
	raw, _ := convertDisk(t)
	for _, format := range []string{"qcow2", "qcow", "qed", "vmdk", "vhdx", "vpc", "vdi"} {
		header, err := os.ReadFile(makeImage(t, raw, format))
		require.NoError(t, err)
		assert.Equal(t, format, DetectFormat(header[:512], int64(len(header))))
		assert.Empty(t, DetectFormat(header[:512], 2))
	}
	assert.Empty(t, DetectFormat(make([]byte, 512), 512))
	assert.Empty(t, DetectFormat(nil, 0))
}

func TestCancelInMidRead(t *testing.T) {
	raw, _ := convertDisk(t)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := openImage(t, ctx, makeImage(t, raw, "qcow2"))
	require.NoError(t, err)
	_, _, err = s.Next(ctx, make([]byte, 4096))
	require.NoError(t, err)
	cancel()
	for err == nil {
		_, _, err = s.Next(context.Background(), make([]byte, 1<<20))
	}
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, s.Close())
	assertClean(t)
}

func TestCancelWhileOpening(t *testing.T) {
	raw, _ := convertDisk(t)
	path := makeImage(t, raw, "vmdk")
	for wait := time.Millisecond; wait < 300*time.Millisecond; wait += 13 * time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		s, err := openImage(t, ctx, path)
		if err == nil {
			_ = s.Close()
		} else {
			require.ErrorIs(t, err, context.DeadlineExceeded, "after %v", wait)
		}
		cancel()
		assertClean(t)
	}
}

func TestDeathOfTheServer(t *testing.T) {
	raw, _ := convertDisk(t)
	s, err := openImage(t, t.Context(), makeImage(t, raw, "qcow2", "-c"))
	require.NoError(t, err)
	s.(*converted).server.process.Kill()
	_, _, err = readSource(t.Context(), s)
	require.ErrorIs(t, err, blockstore.ErrInvalid)
	require.NoError(t, s.Close())
	assertClean(t)
}

// A server that stands still is given up, and the image not blamed.
func TestStalledServer(t *testing.T) {
	raw, _ := convertDisk(t)
	s, err := openImage(t, t.Context(), makeImage(t, raw, "qcow2", "-c"))
	require.NoError(t, err)
	c := s.(*converted)
	require.NoError(t, unix.Kill(c.server.process.PID(), unix.SIGSTOP))
	c.c.patience = 50 * time.Millisecond
	_, _, err = readSource(t.Context(), s)
	require.ErrorIs(t, err, errStalled)
	require.NotErrorIs(t, err, blockstore.ErrInvalid)
	require.NoError(t, s.Close())
	assertClean(t)
}

// Silence is not the image's fault; words and an end are.
func TestSilentServer(t *testing.T) {
	c := converter{format: "qcow2"}
	require.NotErrorIs(t, c.explainDial("", fmt.Errorf("dial: %w", context.DeadlineExceeded)), blockstore.ErrInvalid)
	require.ErrorIs(t, c.explainDial("bad magic", context.DeadlineExceeded), blockstore.ErrInvalid)
	require.ErrorIs(t, c.explainDial("", io.ErrUnexpectedEOF), blockstore.ErrInvalid)
}

// The errno of a jail that cannot be made is no cause that a client acts on: a
// full disk, or a file that it had better send itself.
func TestJailErrorIsNoCause(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOSPC, unix.EPERM, unix.EACCES, unix.ENOENT} {
		err := v1.ErrorOf(inputError(jailError(fmt.Errorf("%w: clone: %w", jail.ErrSetup, errno))))
		require.Equal(t, v1.CodeInternal, err.Code)
		require.NotEmpty(t, err.Advice)
	}
	require.ErrorIs(t, jailError(fmt.Errorf("%w: %w", jail.ErrSetup, context.Canceled)), context.Canceled)
}

func TestMissingProgram(t *testing.T) {
	raw, _ := convertDisk(t)
	f, err := os.Open(makeImage(t, raw, "qcow2"))
	require.NoError(t, err)
	defer f.Close()
	c := converter{file: f, tmp: convertTmp, nbd: "qemu-nbd-none", img: "qemu-img"}
	_, err = c.open(t.Context())
	require.ErrorContains(t, err, "qemu-utils")
	assertClean(t)
}

// An upload is spooled into a file without a name.
func TestUnnamedFile(t *testing.T) {
	raw, content := convertDisk(t)
	image, err := os.ReadFile(makeImage(t, raw, "qcow2"))
	require.NoError(t, err)
	dir := t.TempDir()
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	require.NoError(t, err)
	_, err = f.Write(image)
	require.NoError(t, err)
	s, err := OpenConverted(t.Context(), f, convertTmp, nil)
	require.NoError(t, err)
	got, _, err := readSource(t.Context(), s)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(content, got))
	require.NoError(t, s.Close())
	assertClean(t)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestQuote(t *testing.T) {
	assert.Empty(t, quote(" \n"))
	assert.Equal(t, " («a [31m b»)", quote("a\x1b[31m\n b\n"))
}

func TestTailIsBounded(t *testing.T) {
	var said tail
	for range 100 {
		_, _ = said.Write(bytes.Repeat([]byte("x"), 5000))
	}
	_, _ = said.Write([]byte("the end"))
	assert.Len(t, said.String(), tailLen)
	assert.True(t, strings.HasSuffix(said.String(), "the end"))
}

// FuzzHeader: no header may make our own parsers fail otherwise than by an
// error.
func FuzzHeader(f *testing.F) {
	for _, magic := range []string{"QFI\xfb\x00\x00\x00\x03", "QFI\xfb\x00\x00\x00\x01", "QED\x00", "KDMV", "# Disk DescriptorFile"} {
		f.Add([]byte(magic + strings.Repeat("\x00", 600)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		file, err := os.Open(path)
		require.NoError(t, err)
		defer file.Close()
		c := converter{file: file}
		if c.inspect() == nil && c.format == "qcow2" {
			_ = c.walkQcow2(t.Context())
		}
	})
}

func BenchmarkConvert(b *testing.B) {
	raw := filepath.Join(b.TempDir(), "big.raw")
	f, err := os.Create(raw)
	require.NoError(b, err)
	const size = 512 << 20
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), size)
	require.NoError(b, err)
	require.NoError(b, f.Close())
	path := makeImage(b, raw, "qcow2")
	b.SetBytes(size)
	p := make([]byte, 1<<20)
	for b.Loop() {
		s, err := openImage(b, b.Context(), path)
		require.NoError(b, err)
		for err == nil {
			_, _, err = s.Next(b.Context(), p)
		}
		require.ErrorIs(b, err, io.EOF)
		require.NoError(b, s.Close())
	}
}
