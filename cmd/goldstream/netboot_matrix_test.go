package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMatrix boots one machine from the network, has it write and sync without end, and
// does to it what happens to servers. Whatever it is, no write may fail; the table of
// docs/netboot.md is what it prints.
func TestMatrix(t *testing.T) {
	if os.Getenv("GOLDSTREAM_E2E") == "" {
		t.Skip("'make test-netboot-matrix' runs it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), pxePatient)
	defer cancel()
	l := newPXELab(t, ctx)
	l.image("debian", "golden")
	l.serve()
	dhcp := l.network("2m")
	socket := filepath.Join(shortTempDir(t), "shell")
	m := &machine{name: "web-1", mac: "52:54:00:12:34:56", image: "debian", assign: []string{"--options", "systemd.debug_shell=ttyS1"},
		qemu: []string{"-chardev", "socket,id=shell,path=" + socket + ",server=on,wait=off", "-serial", "chardev:shell"}}
	l.assign(m)
	l.switchOn(m)
	l.await(m, "golden login:")
	s := newShell(t, ctx, socket)
	s.run(`dmesg -n 1; stty -echo; cat >/run/writer <<'EOF'
while :; do
 dd if=/dev/zero of=/var/tmp/f bs=64k count=4 conv=fsync 2>/dev/null || echo failed >>/run/failed
 cut -d' ' -f1 /proc/uptime >>/run/beats
done
EOF`)
	s.run("sh /run/writer & sleep 1")
	restart := func(signal syscall.Signal, away time.Duration) func() {
		return func() {
			require.NoError(t, l.server.Process.Signal(signal))
			_ = l.server.Wait()
			wait(ctx, away)
			l.serve()
		}
	}
	link := func(state string) { l.run("ip", "netns", "exec", l.ours, "ip", "link", "set", "tap-web-1", state) }
	for _, event := range []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"`kill -9`, started again at once", restart(syscall.SIGKILL, 0)},
		{"SIGTERM, started again at once", restart(syscall.SIGTERM, 0)},
		{"`kill -9`, away for 60 s", restart(syscall.SIGKILL, time.Minute)},
		{"network cut for 30 s", func() { link("down"); wait(ctx, 30*time.Second); link("up") }},
		{"`systemctl restart networking` on the server", func() { s.run("systemctl restart networking") }},
		{"lease of 2 min renewed", func() { wait(ctx, 70*time.Second) }},
		{"DHCP server away until the lease has expired", func() {
			_ = dhcp.Process.Kill()
			_ = dhcp.Wait()
			s.await("dmesg | grep -q 'has expired'")
		}},
		{"DHCP server back", func() {
			l.network("2m")
			s.await("dmesg | grep -q 'is renewed'")
		}},
	} {
		s.run("cut -d' ' -f1 /proc/uptime >/run/beats")
		s.await("[ $(wc -l </run/beats) -gt 3 ]")
		event.do()
		s.await("[ $(wc -l </run/beats) -gt 13 ]") // it writes
		pause := s.run(`awk 'NR>1 && $1-last>most {most=$1-last} {last=$1} END {printf "%.1f", most}' /run/beats`)
		failed := s.run("cat /run/failed 2>/dev/null | wc -l; dmesg | grep -c -i -E 'i/o error|remount.*read-only' || true")
		address := s.run("ip -4 -o addr show scope global | awk '{print $4}'")
		t.Logf("| %s | %s s | %s |", event.name, pause, strings.Join(strings.Fields(failed), " + "))
		require.Equal(t, []string{"0", "0"}, strings.Fields(failed), event.name)
		require.Contains(t, address, "10.99.0.1", event.name)
	}
	l.checkPowerOff(m, s)
}

// checkPowerOff has the machine shut down: it comes to its end, and leaves its root file
// system clean.
func (l *pxeLab) checkPowerOff(m *machine, s *shell) {
	l.t.Helper()
	_, err := io.WriteString(s.c, "systemctl poweroff\n")
	require.NoError(l.t, err)
	l.await(m, "Power down")
	require.NoError(l.t, m.cmd.Wait())
	disk := filepath.Join(l.bin, "disk")
	l.run("nbdcopy", "nbd+unix:///"+m.name+"?socket="+l.socket(), disk)
	const root = 129 << 20 // where testdata/golden/build-debian-image.sh puts it
	superblock := l.run("dumpe2fs", "-h", fmt.Sprintf("%s?offset=%d", disk, root))
	require.Regexp(l.t, `Filesystem state: +clean\n`, superblock)
	require.NotContains(l.t, superblock, "needs_recovery")
	l.run("e2fsck", "-fn", fmt.Sprintf("%s?offset=%d", disk, root))
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// shell is root's on a serial console of the machine.
type shell struct {
	t   *testing.T
	ctx context.Context
	c   net.Conn
	r   *bufio.Reader
	n   int
}

func newShell(t *testing.T, ctx context.Context, socket string) *shell {
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	t.Cleanup(func() { stop() })
	return &shell{t: t, ctx: ctx, c: c, r: bufio.NewReader(c)}
}

// run returns what a command printed.
func (s *shell) run(command string) string {
	s.t.Helper()
	text, code := s.try(command)
	require.Zero(s.t, code, "%s: %s", command, text)
	return text
}

func (s *shell) try(command string) (text string, code int) {
	s.t.Helper()
	s.n++
	_, err := fmt.Fprintf(s.c, "echo '@'begin%d; { %s\n}; echo '@'end%d:$?\n", s.n, command, s.n)
	require.NoError(s.t, err)
	begin, end := fmt.Sprintf("@begin%d", s.n), regexp.MustCompile(fmt.Sprintf(`@end%d:(\d+)`, s.n))
	var all strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		require.NoError(s.t, err, "%s: %s", command, all.String())
		all.WriteString(line)
		_, after, ok := strings.Cut(all.String(), begin)
		if m := end.FindStringSubmatchIndex(after); ok && m != nil {
			_, _ = fmt.Sscan(after[m[2]:m[3]], &code)
			return strings.TrimSpace(strings.ReplaceAll(after[:m[0]], "\r", "")), code
		}
	}
}

// await asks until a command succeeds.
func (s *shell) await(command string) {
	s.t.Helper()
	for s.ctx.Err() == nil {
		if _, code := s.try(command); code == 0 {
			return
		}
		wait(s.ctx, time.Second)
	}
	s.t.Fatalf("%s: %v", command, context.Cause(s.ctx))
}
