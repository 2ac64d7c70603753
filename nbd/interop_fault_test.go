package nbd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// These tests put faults between client and server: nbdkit's, ours, and
// requests that no decent client sends. They fail without nbdkit and
// python3-libnbd.

// proxied runs a command of the shell with $uri at an nbdkit that passes on to
// uri through filters.
func proxied(t *testing.T, uri, command string, filters ...string) string {
	t.Helper()
	args := []string{"-U", "-"}
	var settings []string
	for _, f := range filters {
		if strings.Contains(f, "=") {
			settings = append(settings, f)
		} else {
			args = append(args, "--filter="+f)
		}
	}
	args = append(append(args, "nbd", "uri="+uri), settings...)
	return run(t, "nbdkit", append(args, "--run", command)...)
}

// Data that crosses a proxy which fails, delays and takes things apart is the
// same at the other end.
func TestInteropNbdkitFilters(t *testing.T) {
	for name, filters := range map[string][]string{
		"plain": nil,
		// A retry opens the export anew, a second later.
		"error": {"retry", "error", "error-pread-rate=25%", "retries=100", "retry-delay=1", "retry-exponential=no"},
		"delay": {"delay", "delay-read=2ms"},
		"cut":   {"blocksize", "maxdata=3000", "maxlen=3000"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := patterned(t)
			_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
			out := filepath.Join(t.TempDir(), "out")
			proxied(t, "nbd+unix:///disk?socket="+path, `nbdcopy --request-size=262144 "$uri" `+out, filters...)
			require.Equal(t, fileSum(t, d.f.Name()), fileSum(t, out))
		})
	}
}

// dropping is an Exports whose server cuts off everybody after some reads.
type dropping struct {
	exportMap
	s     *Server
	reads atomic.Int64
	cuts  atomic.Int64
}

type droppedDevice struct {
	Device
	of *dropping
}

func (d *dropping) Open(ctx context.Context, name string) (Device, error) {
	dev, err := d.exportMap.Open(ctx, name)
	return &droppedDevice{dev, d}, err
}

func (d *droppedDevice) TryReadAt([]byte, int64) bool { return false }

func (d *droppedDevice) ReadAt(ctx context.Context, p []byte, off int64) error {
	if d.of.reads.Add(1)%9 == 0 && d.of.cuts.Add(1) <= 3 {
		for _, c := range d.of.s.users("disk") {
			c.kill()
		}
		return errors.New("nobody gets this")
	}
	return d.Device.ReadAt(ctx, p, off)
}

// A client that connects again (nbdkit's retry filter) has all its data although
// the server cut it off three times in the middle.
func TestInteropNbdkitReconnects(t *testing.T) {
	t.Parallel()
	d := patterned(t)
	exports := &dropping{exportMap: exportMap{"disk": d}}
	exports.s = NewServer(exports, Options{})
	path := serveOn(t, exports.s)
	out := filepath.Join(t.TempDir(), "out")
	proxied(t, "nbd+unix:///disk?socket="+path, `nbdcopy --request-size=262144 --no-extents "$uri" `+out, "retry", "retries=20", "retry-delay=1", "retry-exponential=no")
	require.Equal(t, fileSum(t, d.f.Name()), fileSum(t, out))
	require.GreaterOrEqual(t, exports.cuts.Load(), int64(3))
}

// Our client against a server whose reads fail half of the time: each read is
// right or an error, and errors do not end the connection.
func TestInteropClientOfAFailingServer(t *testing.T) {
	t.Parallel()
	d := patterned(t)
	want, err := os.ReadFile(d.f.Name())
	require.NoError(t, err)
	socket := filepath.Join(t.TempDir(), "s")
	pid := socket + ".pid"
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	kit := exec.CommandContext(ctx, "nbdkit", "-f", "-U", socket, "-P", pid, "--filter=error", "file", d.f.Name(), "error-pread=ENOSPC", "error-pread-rate=50%")
	require.NoError(t, kit.Start())
	defer func() { _ = kit.Process.Signal(syscall.SIGTERM); _ = kit.Wait() }()
	require.Eventually(t, func() bool { _, err := os.Stat(pid); return err == nil }, 30*time.Second, 5*time.Millisecond)

	c, err := Dial(ctx, "unix", socket, "")
	require.NoError(t, err)
	defer c.Close()
	good, bad := 0, 0
	for i := range 400 {
		p, off := make([]byte, 8192), int64(i)*8192*10
		n, err := c.ReadAt(ctx, p, off)
		if err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			bad++
			continue
		}
		require.True(t, bytes.Equal(want[off:off+int64(n)], p))
		good++
	}
	require.Positive(t, good)
	require.Positive(t, bad)
}

const illegalRequests = `
import errno
h.set_strict_mode(0)
h.set_request_structured_replies(STRUCTURED)
h.connect_uri(URI)
size = h.get_size()
def refused(what, code, call):
    try:
        call()
    except nbd.Error as e:
        assert e.errnum == code, "%s: %s" % (what, e)
    else:
        raise AssertionError(what + " was accepted")
    assert h.pread(4, 0) == b"good", "out of step after " + what
buf = b"x" * 512
refused("read past end", errno.EINVAL, lambda: h.pread(512, size))
refused("read beyond 64 bits", errno.EINVAL, lambda: h.pread(512, 2**64 - 256))
refused("read too long", errno.EINVAL, lambda: h.pread(32 * 1024 * 1024 + 1, 0))
refused("read with NO_HOLE", errno.EINVAL, lambda: h.pread(512, 0, nbd.CMD_FLAG_NO_HOLE))
refused("write past end", errno.ENOSPC, lambda: h.pwrite(buf, size - 511))
refused("write with an unknown flag", errno.EINVAL, lambda: h.pwrite(buf, 512, 1 << 12))
refused("write too long", errno.EINVAL, lambda: h.pwrite(bytearray(33 * 1024 * 1024), 0))
refused("trim past end", errno.EINVAL, lambda: h.trim(512, size))
refused("trim with DF", errno.EINVAL, lambda: h.trim(512, 0, nbd.CMD_FLAG_DF))
refused("zero past end", errno.ENOSPC, lambda: h.zero(512, size))
refused("zero with REQ_ONE", errno.EINVAL, lambda: h.zero(512, 0, nbd.CMD_FLAG_REQ_ONE))
refused("cache past end", errno.EINVAL, lambda: h.cache(512, size))
refused("cache with FAST_ZERO", errno.EINVAL, lambda: h.cache(512, 0, nbd.CMD_FLAG_FAST_ZERO))
refused("flush with NO_HOLE", errno.EINVAL, lambda: h.flush(nbd.CMD_FLAG_NO_HOLE))
if not STRUCTURED:
    refused("DF without structured replies", errno.EINVAL, lambda: h.pread(512, 0, nbd.CMD_FLAG_DF))
h.pwrite(buf, size - 512, nbd.CMD_FLAG_FUA)
assert h.pread(512, size - 512) == buf
h.shutdown()
print("ALL REFUSED")
`

// What libnbd sends only when told not to care is refused with the errno of the
// protocol, and the connection stays in step.
func TestInteropNbdshIllegalRequests(t *testing.T) {
	t.Parallel()
	d := patterned(t)
	_, err := d.f.WriteAt([]byte("good"), 0)
	require.NoError(t, err)
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	uri, err := json.Marshal("nbd+unix:///disk?socket=" + path)
	require.NoError(t, err)
	for _, structured := range []string{"False", "True"} {
		script := "URI = " + string(uri) + "\nSTRUCTURED = " + structured + illegalRequests
		require.Contains(t, nbdsh(t, script), "ALL REFUSED", "structured replies: %s", structured)
	}
}

// nbdsh runs a script of Debian's python, whichever other one is in the path.
func nbdsh(t *testing.T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/usr/bin/nbdsh", "-c", script)
	cmd.Env = append(os.Environ(), "PATH=/usr/bin:/bin")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// The kernel's page cache, through nbdfuse, reads and writes the disk as a file.
func TestInteropNbdfuse(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	d := patterned(t)
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	dir := t.TempDir()
	pid := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	fuse := exec.CommandContext(ctx, "nbdfuse", "-P", pid, dir, "nbd+unix:///disk?socket="+path)
	require.NoError(t, fuse.Start())
	defer func() {
		_ = exec.Command("umount", dir).Run()
		_ = fuse.Wait()
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(pid); return err == nil }, time.Minute, 5*time.Millisecond)

	file := filepath.Join(dir, "nbd")
	require.Equal(t, fileSum(t, d.f.Name()), fileSum(t, file))
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = io.Copy(io.NewOffsetWriter(f, 3<<20+77), bytes.NewReader(bytes.Repeat([]byte("through fuse "), 20000)))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	require.Equal(t, fileSum(t, d.f.Name()), fileSum(t, file))
}
