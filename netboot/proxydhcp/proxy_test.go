package proxydhcp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inside tells the tests that have a network namespace of their own.
const inside = "GOLDSTREAM_PROXYDHCP_TEST"

// isolated runs a test again in a network namespace of its own, with an interface srv0
// that has 10.77.0.1; its other end, cli0, is for clients. true: this is the inner run.
func isolated(t *testing.T) bool {
	if os.Getenv(inside) == t.Name() {
		for _, line := range []string{
			"link set lo up", "link add srv0 type veth peer name cli0", "addr add 10.77.0.1/24 dev srv0", "link set srv0 up",
		} {
			ip(t, line)
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made as root")
	}
	cmd := exec.Command("unshare", "--net", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

func ip(t *testing.T, line string) {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
	require.NoError(t, err, "ip %s: %s", line, out)
}

var boots = netip.MustParseAddrPort("10.77.0.1:8480")

func options(t *testing.T) Options {
	return Options{Addresses: []netip.AddrPort{boots}, Path: "/boot/boot.ipxe", Dir: filepath.Join(t.TempDir(), "dhcp"), Log: slog.New(slog.DiscardHandler)}
}

// TestTold asks as firmware and as iPXE do, and fetches the boot program.
func TestTold(t *testing.T) {
	if !isolated(t) {
		return
	}
	o, asked := options(t), make(chan string, 100)
	o.Asked = func(mac string) { asked <- mac }
	p, err := Start(t.Context(), o)
	require.NoError(t, err)
	defer p.Close()
	const script = "http://10.77.0.1:8480/boot/boot.ipxe"
	inClient(t, func() {
		require.Equal(t, "undionly.kpxe", askBIOS(t, false))
		require.Equal(t, script, askBIOS(t, true))
		for _, architecture := range []byte{7, 9} {
			require.Equal(t, "ipxe.efi", askUEFI(t, architecture, false))
			require.Equal(t, script, askUEFI(t, architecture, true))
		}
		for _, name := range []string{ProgramBIOS, ProgramUEFI} {
			want, err := os.ReadFile("/usr/lib/ipxe/" + name)
			require.NoError(t, err)
			got, err := exec.Command("curl", "-sS", "tftp://10.77.0.1/"+name).Output()
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	})
	require.Equal(t, "52:54:00:00:00:01", <-asked)
}

// TestKept kills the dnsmasq, and then the whole of a process that has one.
func TestKept(t *testing.T) {
	if !isolated(t) {
		return
	}
	o := options(t)
	p, err := Start(t.Context(), o)
	require.NoError(t, err)
	file := filepath.Join(o.Dir, "0.pid")
	first := pidIn(t, file)
	require.NoError(t, unix.Kill(first, unix.SIGKILL))
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.TrimSpace(string(text)) != fmt.Sprint(first) && len(text) > 0
	}, time.Minute, 10*time.Millisecond)
	p.Close()
	require.NoFileExists(t, file)

	// What a killed process leaves: a dnsmasq that nobody waits for.
	p, err = Start(t.Context(), o)
	require.NoError(t, err)
	left := pidIn(t, file)
	again, err := Start(t.Context(), o)
	require.NoError(t, err, "the ports are free")
	defer again.Close()
	require.NotEqual(t, left, pidIn(t, file))
	p.Close()
}

// TestFormerEnds: what a killed process left ends although nothing is begun: the start
// is stopped, or cannot be, or is at a wrong address.
func TestFormerEnds(t *testing.T) {
	if !isolated(t) {
		return
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for what, start := range map[string]func(Options) error{
		"stopped":    func(o Options) error { _, err := Start(stopped, o); return err },
		"impossible": func(o Options) error { o.Programs = t.TempDir(); _, err := Start(t.Context(), o); return err },
		"elsewhere": func(o Options) error {
			o.Addresses = []netip.AddrPort{netip.MustParseAddrPort("10.77.0.9:1")}
			_, err := Start(t.Context(), o)
			return err
		},
	} {
		o := options(t)
		p, err := Start(t.Context(), o)
		require.NoError(t, err, what)
		file := filepath.Join(o.Dir, "0.pid")
		left, err := unix.PidfdOpen(pidIn(t, file), 0)
		require.NoError(t, err)
		require.Error(t, start(o), what)
		require.NoFileExists(t, file, what)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(left), Events: unix.POLLIN}}, 0)
		require.NoError(t, err)
		require.Equal(t, 1, n, "%s: it has ended", what)
		require.NoError(t, unix.Close(left))
		p.Close()
	}
}

func pidIn(t *testing.T, file string) (pid int) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	_, err = fmt.Sscan(string(text), &pid)
	require.NoError(t, err)
	return pid
}

// TestRefused: what is missing or wrong is told, and nothing is left running.
func TestRefused(t *testing.T) {
	if !isolated(t) {
		return
	}
	for want, change := range map[string]func(*Options){
		"is no address of this host": func(o *Options) { o.Addresses[0] = netip.MustParseAddrPort("10.77.0.9:1") },
		"give the IPv4 address":      func(o *Options) { o.Addresses[0] = netip.MustParseAddrPort("[::]:1") },
		"apt install ipxe":           func(o *Options) { o.Programs = t.TempDir() },
		"dnsmasq ended at once: exit sta": func(o *Options) {
			taken, err := net.ListenPacket("udp4", "10.77.0.1:69")
			require.NoError(t, err)
			t.Cleanup(func() { _ = taken.Close() })
		},
	} {
		o := options(t)
		change(&o)
		_, err := Start(t.Context(), o)
		require.ErrorContains(t, err, want)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	n := network{"eth1", netip.MustParsePrefix("10.1.2.1/20"), 8480}
	text := n.config("/usr/lib/ipxe", "/boot/boot.ipxe", "/x/0.pid")
	require.Contains(t, text, "\ndhcp-range=10.1.2.1,proxy,255.255.240.0\n")
	require.Contains(t, text, "\ninterface=eth1\n")
	file := filepath.Join(t.TempDir(), "conf")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	out, err := exec.CommandContext(t.Context(), "dnsmasq", "--test", "--conf-file="+file).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
