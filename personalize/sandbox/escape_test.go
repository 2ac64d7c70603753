package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"goldstream/personalize/sandbox/wire"
)

// long tests are for 'make test-sandbox'.
func long(t testing.TB) {
	t.Helper()
	if os.Getenv("GOLDSTREAM_SANDBOX") == "" {
		t.Skip("'make test-sandbox' runs it")
	}
}

// hostSecret is a file that everyone on the host may read, but nobody in a cell.
func hostSecret(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sandboxsecret")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "secret")
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.WriteFile(file, []byte(secretText), 0o644))
	require.NoError(t, os.Chmod(file, 0o666))
	return file
}

const (
	secretText    = "hostsecret-5bd1e995"
	secretPattern = "hostsecret-5bd1e[9]95" // is not found in the memory of who looks for it
)

// attackDisk is a disk whose programs are the attacker's, mounted on "/".
func attackDisk(t testing.TB) string {
	return assemble(t, part{mib: 48, image: makeFS(t, "ext4", 48*mib, seedLinux(t))})
}

// attacker starts a cell and returns a shell of its root.
func attacker(t *testing.T, disk string) (*Cell, func(line string) (string, error)) {
	t.Helper()
	c := start(t, Config{Disk: disk, Deadline: 4 * time.Minute})
	_, err := c.Mount(patience(t), "/dev/sda1", "/", ReadWrite, "")
	require.NoError(t, err)
	return c, func(line string) (string, error) {
		var out bytes.Buffer
		err := c.Shell(patience(t), &out, nil, 1<<20, line)
		return out.String(), err
	}
}

func digestOf(t testing.TB, file string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return sha256.Sum256(b)
}

// TestGuestRoot attacks as root of the guest, with all that its kernel offers. The
// secret, the tool root and the disk's size are as before, and the cell goes on.
func TestGuestRoot(t *testing.T) {
	long(t)
	secret, disk := hostSecret(t), attackDisk(t)
	tl, err := tools()
	require.NoError(t, err)
	toolsBefore, sizeBefore := digestOf(t, tl.Image), fileSize(t, disk)
	_, shell := attacker(t, disk)
	for name, line := range map[string]string{
		"hostfs":       "B=busybox; $B mkdir -p /m; for o in / /../../ /proc/1/root /nowhere/../..; do $B mount -t hostfs none /m -o $o && { $B cat /m" + secret + "; $B ls -R /m | $B head -n 300; $B umount /m; }; done",
		"modules":      "B=busybox; for f in /dev/null /bin/busybox; do $B insmod $f; done; echo 0 >/proc/sys/kernel/modules_disabled; $B cat /proc/sys/kernel/modules_disabled",
		"memory":       "B=busybox; $B mknod /dev/kmem c 1 2; $B cat /dev/kmem; $B cat /proc/kcore | $B head -c 30000000 | $B grep -a -o '" + secretPattern + "'",
		"tool root":    "B=busybox; $B mknod /dev/ubda b 98 0; $B dd if=/dev/zero of=/dev/ubda bs=4096 count=64 conv=fsync; $B mount -o remount,rw /dev/ubda /; $B mkdir /t; $B mount /dev/ubda /t && $B rm -rf /t/*",
		"host devices": "B=busybox; for n in '8 0' '254 0' '253 0' '259 0' '7 0' '43 0'; do $B rm -f /dev/d; $B mknod /dev/d b $n && $B dd if=/dev/d bs=512 count=1; done; $B mknod /dev/kvm c 10 232; $B cat /dev/kvm; $B mknod /dev/fuse c 10 229; $B cat /dev/fuse",
		"chroot":       "B=busybox; $B mkdir -p /x; $B mount -t proc p /x; $B ls /x/1/root/; $B cat /x/1/root" + secret + "; $B chroot /x/1/root /init",
		"init":         "B=busybox; $B kill -9 1; $B cat /proc/1/maps | $B head -n 2",
		"network":      "B=busybox; $B ip link; $B ip link set lo up; $B ping -c 1 -W 1 192.0.2.1; $B wget -T 2 http://127.0.0.1:1/; $B nc -w 1 127.0.0.1 22",
		"disk filler":  "B=busybox; $B dd if=/dev/zero of=/fill bs=1M; $B rm /fill; $B dd if=/dev/zero of=/dev/sda bs=1M seek=100000 count=1",
		"memory hog":   "B=busybox; $B dd if=/dev/zero of=/dev/null bs=400M count=1; x=a; while [ ${#x} -lt 200000000 ]; do x=$x$x; done",
		"setuid":       "B=busybox; $B chmod 4755 /bin/busybox; $B mount | $B grep ' / '",
	} {
		out, err := shell("exec 2>&1; " + line)
		t.Logf("%s: %v\n%s", name, err, out)
		require.NotContains(t, out, secretText, name)
		require.NotContains(t, out, "passwd", "%s: the host's files", name)
		if name == "modules" {
			require.True(t, strings.HasSuffix(out, "1\n"), out)
		}
	}
	out, err := shell("echo still here")
	require.NoError(t, err)
	require.Equal(t, "still here\n", out)
	require.Equal(t, toolsBefore, digestOf(t, tl.Image), "the tool root was changed")
	require.Equal(t, sizeBefore, fileSize(t, disk))
	require.Equal(t, secretText, readText(t, secret))
}

func fileSize(t testing.TB, file string) int64 {
	t.Helper()
	info, err := os.Stat(file)
	require.NoError(t, err)
	return info.Size()
}

func readText(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(b)
}

// TestHostileGuest: what ends a cell ends it with an error that says so, and no
// sooner or later than it must; no process is left.
func TestHostileGuest(t *testing.T) {
	long(t)
	disk := attackDisk(t)
	for name, attack := range map[string]struct {
		line string
		want error
	}{
		"endless output":   {"while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done", ErrTooLong},
		"panic":            {"echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; busybox sleep 1000", errPanicked},
		"forged frames":    {"busybox mknod /dev/s c 4 64; while :; do echo garbage >/dev/s; done", nil},
		"its memory":       {"busybox mknod /dev/mem c 1 1; busybox dd if=/dev/mem of=/dev/null bs=1M count=200", errPanicked},
		"reboot":           {"busybox reboot -f", wire.ErrProtocol},
		"power off":        {"busybox poweroff -f", nil},
		"console flood":    {"busybox mknod /dev/c c 5 1; busybox yes | busybox head -c 20000000 >/dev/c; exec busybox poweroff -f", nil},
		"line taken away":  {"busybox mknod /dev/s c 4 64; busybox stty -F /dev/s 0; busybox cat /dev/s", nil},
		"agent crashed":    {"busybox kill -SEGV 1; busybox sleep 1000", errPanicked},
		"agent stopped":    {"busybox kill -STOP 1; exec busybox poweroff -f", nil},
		"everything gone":  {"busybox dd if=/dev/zero of=/dev/sda bs=1M; exec busybox poweroff -f", nil},
		"undeliverable":    {"busybox dd if=/dev/zero bs=1M count=100", ErrTooLong},
		"exit code forged": {"echo 0 >/proc/exitcode; exec busybox poweroff -f", nil},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := attacker(t, copyOf(t, disk))
			children := family(t, c.process.PID())
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // where nothing else ends it
			defer cancel()
			err := c.Shell(ctx, io.Discard, nil, 1<<20, attack.line)
			t.Logf("%v", err)
			require.Error(t, err)
			if attack.want != nil {
				require.ErrorIs(t, err, attack.want)
			}
			c.Kill()
			_ = c.Wait()
			for _, pid := range append(children, c.process.PID()) {
				require.Equal(t, unix.ESRCH, unix.Kill(pid, 0), "process %d", pid)
			}
			require.NotContains(t, c.Console(), "\x1b")
		})
	}
}

func copyOf(t testing.TB, file string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	tool(t, "cp", "--sparse=always", file, name)
	return name
}

// TestForkBomb: a guest's processes are the host's; their number is bounded, and
// they end with the cell.
func TestForkBomb(t *testing.T) {
	long(t)
	c, _ := attacker(t, attackDisk(t))
	pid := c.process.PID()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // the attack's time
	defer cancel()
	most := 0
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for ctx.Err() == nil {
			most = max(most, countChildren(pid))
			time.Sleep(100 * time.Millisecond) // between two looks
		}
	}()
	err := c.Shell(ctx, io.Discard, nil, 1<<20, "bomb() { bomb | bomb & }; bomb; while :; do busybox sleep 1; done")
	require.Error(t, err)
	<-counted
	_ = c.Wait()
	t.Logf("%d processes at most: %v", most, err)
	require.LessOrEqual(t, most, 256)
	require.Equal(t, unix.ESRCH, unix.Kill(pid, 0))
}

func countChildren(pid int) int {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
	if err != nil {
		return 0
	}
	return len(strings.Fields(string(text)))
}

// TestHeaderWrittenInside: a script writes the header of a copy-on-write file that
// names a file of the host: the next cell is refused.
func TestHeaderWrittenInside(t *testing.T) {
	long(t)
	disk := attackDisk(t)
	c, shell := attacker(t, disk)
	_, err := shell(`busybox printf 'MOOO\0\0\0\2/etc/shadow' >/h; busybox dd if=/h of=/dev/sda conv=notrunc,fsync bs=64 count=1`)
	require.NoError(t, err)
	require.NoError(t, c.Close(patience(t)))
	_, err = tryStart(t, Config{Disk: disk})
	require.ErrorIs(t, err, ErrDiskRefused)
}

// TestJailOfTheKernel attacks from where a guest is that took its kernel over: as a
// program in the kernel's place in the jail.
func TestJailOfTheKernel(t *testing.T) {
	long(t)
	secret := hostSecret(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	abstract, err := net.Listen("unix", "@goldstream-sandbox-test-"+strconv.Itoa(os.Getpid()))
	require.NoError(t, err)
	defer abstract.Close()
	disk := attackDisk(t)
	tl, err := tools()
	require.NoError(t, err)
	toolsBefore := digestOf(t, tl.Image)
	out := runInJail(t, Config{Tools: tl, Disk: disk}.withDefaults(),
		secret, listener.Addr().String(), abstract.Addr().String(), strconv.Itoa(os.Getpid()))
	t.Log(out)
	n := 0
	for line := range strings.Lines(out) {
		attack, result, found := strings.Cut(strings.TrimSpace(line), ": ")
		require.True(t, found, line)
		n++
		if attack == "write the disk" {
			require.Equal(t, "<nil>", result, line)
			continue
		}
		require.NotEqual(t, "<nil>", result, line)
		require.NotContains(t, line, secretText)
	}
	require.GreaterOrEqual(t, n, 30)
	require.Equal(t, toolsBefore, digestOf(t, tl.Image))
	require.Equal(t, secretText, readText(t, secret))
}
