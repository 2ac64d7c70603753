package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A real kernel client, in User-Mode-Linux: it attaches with our helper, makes
// a file system and writes, each file synced, while its server is killed,
// stopped in order, and held until the kernel gives its connection up. Nothing of
// it may reach the file system. It needs root, /dev/net/tun, network namespaces and
// half a minute to two for each number of connections:
// 'make test-e2e'.
func TestKernelClientSurvives(t *testing.T) {
	if os.Getenv("GOLDSTREAM_E2E") == "" {
		t.Skip("'make test-e2e' runs it")
	}
	bin := t.TempDir()
	for _, dir := range []string{"goldstream", "goldstream-guest"} {
		build := exec.Command("go", "build", "-trimpath", "-o", bin, "../"+dir)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	for _, conns := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d connections", conns), func(t *testing.T) { survive(t, bin, conns) })
	}
}

// e2eFiles bounds the work: the server fails while they are written.
const e2eFiles = 150

// e2eTime is for a machine that has ten times as much to do as it can.
const e2eTime = 20 * time.Minute

func survive(t *testing.T, bin string, conns int) {
	ctx, cancel := context.WithTimeout(context.Background(), e2eTime)
	defer cancel()
	l := newLab(t, ctx, bin)
	l.goldstream("volume", "create", "web", "--size", "512MiB")
	token := l.goldstream("export", "create", "web")
	l.serve()
	uml, console := l.boot(conns, token)
	acts := []struct {
		at  int
		act func()
	}{
		{20, func() { l.end(syscall.SIGKILL); l.serve() }},
		{60, func() { l.end(syscall.SIGTERM); l.serve() }},
		{100, func() {
			require.NoError(t, l.server.Process.Signal(syscall.SIGSTOP))
			l.awaitGivenUp()
			require.NoError(t, l.server.Process.Signal(syscall.SIGCONT))
		}},
	}
	var end, late string
	var log strings.Builder
	for s := bufio.NewScanner(console); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		log.WriteString(line + "\n")
		var n int
		if _, err := fmt.Sscanf(line, "W %d", &n); err == nil && len(acts) > 0 && n >= acts[0].at {
			require.Less(t, n, e2eFiles-20, "the writer was done before the server could fail")
			t.Logf("file %d: act", n)
			acts[0].act()
			acts = acts[1:]
		}
		if word, ok := strings.CutPrefix(line, "END "); ok {
			end = word
		}
		if word, ok := strings.CutPrefix(line, "LATE "); ok {
			late = word
		}
	}
	_ = uml.Wait()
	require.Equal(t, fmt.Sprintf("failed=0 good=%d errors=0", e2eFiles), end, "%s", log.String())
	require.Empty(t, acts)
	t.Logf("the keeper became more patient %s times", late)
	require.Contains(t, log.String(), fmt.Sprintf("ATTACHED %d 1024", 512<<20/512))
}

// lab is a network namespace with a server and a kernel in it.
type lab struct {
	t              *testing.T
	ctx            context.Context
	ns, data, bin  string
	server         *exec.Cmd
	program, guest string
}

func newLab(t *testing.T, ctx context.Context, bin string) *lab {
	l := &lab{t: t, ctx: ctx, ns: fmt.Sprintf("gs-e2e-%d", os.Getpid()), data: filepath.Join(t.TempDir(), "data"), bin: t.TempDir()}
	l.program, l.guest = filepath.Join(bin, "goldstream"), filepath.Join(bin, "goldstream-guest")
	l.run("ip", "netns", "add", l.ns)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", l.ns).Run() })
	l.inside("ip", "link", "set", "lo", "up")
	l.inside("ip", "tuntap", "add", "tap0", "mode", "tap")
	l.inside("ip", "addr", "add", "10.77.0.1/24", "dev", "tap0")
	l.inside("ip", "link", "set", "tap0", "up")
	return l
}

func (l *lab) do(cmd *exec.Cmd) {
	l.t.Helper()
	out, err := cmd.CombinedOutput()
	require.NoError(l.t, err, "%v: %s", cmd.Args, out)
}

func (l *lab) run(args ...string) {
	l.t.Helper()
	l.do(exec.CommandContext(l.ctx, args[0], args[1:]...))
}

func (l *lab) inside(args ...string) {
	l.t.Helper()
	l.run(append([]string{"ip", "netns", "exec", l.ns}, args...)...)
}

// goldstream runs a command and returns what it printed.
func (l *lab) goldstream(args ...string) string {
	l.t.Helper()
	out, err := exec.CommandContext(l.ctx, l.program, append([]string{"--data", l.data}, args...)...).Output()
	require.NoError(l.t, err, "%v", args)
	return strings.TrimSpace(string(out))
}

// serve starts the server in the namespace and waits until it is ready.
func (l *lab) serve() {
	l.t.Helper()
	// ip replaces itself by the program: signals reach it.
	l.server = exec.Command("ip", "netns", "exec", l.ns, l.program, "serve", "--data", l.data, "--nbd", "10.77.0.1:10809")
	log, err := os.OpenFile(filepath.Join(l.bin, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(l.t, err)
	defer log.Close()
	l.server.Stderr = log
	out, err := l.server.StdoutPipe()
	require.NoError(l.t, err)
	require.NoError(l.t, l.server.Start())
	server := l.server
	l.t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(l.t, err, "the server is not ready")
	require.Contains(l.t, line, "ready")
}

// awaitGivenUp waits until the kernel under test has closed a connection, which
// the server that is held has not noticed.
func (l *lab) awaitGivenUp() {
	l.t.Helper()
	const closeWait = "08"
	for {
		out, err := exec.CommandContext(l.ctx, "ip", "netns", "exec", l.ns, "cat", "/proc/net/tcp").Output()
		require.NoError(l.t, err)
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", 10809)) && f[3] == closeWait {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (l *lab) end(sig syscall.Signal) {
	require.NoError(l.t, l.server.Process.Signal(sig))
	_ = l.server.Wait()
}

// boot starts the kernel; its console ends with it.
func (l *lab) boot(conns int, export string) (*exec.Cmd, io.Reader) {
	modules, err := filepath.Glob("/usr/lib/uml/modules/*/kernel/drivers/block/nbd.ko")
	require.NoError(l.t, err)
	require.NotEmpty(l.t, modules, "install the package user-mode-linux")
	init, err := filepath.Abs("guest-init.sh")
	require.NoError(l.t, err)
	ip, err := exec.LookPath("ip")
	require.NoError(l.t, err)
	cmd := exec.CommandContext(l.ctx, ip, "netns", "exec", l.ns, "linux.uml", "mem=256M", "root=/dev/root", "rootfstype=hostfs",
		"rootflags=/", "ro", "quiet", "pty.legacy_count=0", "init="+init, "eth0=tuntap,tap0", "con0=null,fd:1", "con=null", "ssl=null",
		"e2e.module="+modules[0], "e2e.guest="+l.guest, "e2e.port=10809", "e2e.export="+export, fmt.Sprintf("e2e.conns=%d", conns), fmt.Sprintf("e2e.files=%d", e2eFiles))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its threads are processes
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = append(os.Environ(), "TMPDIR=/dev/shm")
	if hasAMX() {
		cmd.Path, cmd.Args = "/proc/self/exe", append([]string{"narrow", ip}, cmd.Args[1:]...)
		cmd.Env = append(cmd.Env, narrowEnv+"=1")
		// What is not saved must not be used: not by Go, nor by glibc. The kernel
		// hands down what it does not know as environment of init.
		cmd.Args = append(cmd.Args, "GODEBUG=cpu.avx=off,cpu.avx2=off,cpu.fma=off,cpu.avx512f=off",
			"GLIBC_TUNABLES=glibc.cpu.hwcaps=-XSAVE,-XSAVEC,-AVX,-AVX2,-AVX512F")
	}
	console, err := cmd.StdoutPipe()
	require.NoError(l.t, err)
	require.NoError(l.t, cmd.Start())
	l.t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Cancel()
		}
	})
	return cmd, console
}
