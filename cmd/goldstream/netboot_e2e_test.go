package main

import (
	"bufio"
	"context"
	"encoding/json"
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

	"goldstream/api/v1"
	"goldstream/netboot/initramfs"
)

const pxePatient = 25 * time.Minute // for a machine with ten times as much to do as it can

// pxeLab is two network namespaces: the network of others, with its DHCP server, and
// goldstream's, joined by a bridge that virtual machines are on too.
type pxeLab struct {
	t          *testing.T
	ctx        context.Context
	bin, data  string
	ours, dhcp string // namespaces
	server     *exec.Cmd
}

// TestNetBoot switches machines on that have no disk: two whose NIC has iPXE, from one image
// by initramfs-tools, and one with UEFI that knows PXE alone, from an image by dracut. A DHCP server that knows nothing of goldstream gives them an
// address, goldstream's dnsmasq their boot program, goldstream the kernel and initrd of
// their own volume, an unchanged Debian; their root file system is on NBD. Then goldstream
// dies while they run, and comes back.
func TestNetBoot(t *testing.T) {
	if os.Getenv("GOLDSTREAM_E2E") == "" {
		t.Skip("'make test-e2e' runs it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), pxePatient)
	defer cancel()
	l := newPXELab(t, ctx)
	l.image("debian", "golden")
	l.image("dracut", "golden-dracut", "--dracut")
	machines := []*machine{
		{name: "bios", mac: "52:54:00:12:34:56", image: "debian"},
		{name: "bios2", mac: "52:54:00:12:34:58", image: "debian"},
		{name: "uefi", mac: "52:54:00:12:34:57", image: "dracut", uefi: true},
	}
	l.serve()
	l.network("1h")
	for _, m := range machines {
		l.assign(m)
	}
	l.checkRefusal(machines[0], machines[1])
	for _, m := range machines {
		l.switchOn(m)
	}
	for _, m := range machines {
		l.await(m, "golden login:")
		l.checkStages(m)
	}
	require.NoError(t, l.server.Process.Signal(syscall.SIGKILL))
	_ = l.server.Wait()
	l.serve()
	for _, m := range machines {
		// The prompt comes again only if login could be read from the root file system.
		_, err := io.WriteString(m, "nobody\n")
		require.NoError(t, err)
		l.await(m, "Password:")
	}
}

// image imports a golden image, made if it is not there.
func (l *pxeLab) image(name, dir string, args ...string) {
	l.t.Helper()
	golden, err := filepath.Abs("../../.cache/" + dir)
	require.NoError(l.t, err)
	l.run(append(append([]string{"../../testdata/golden/build-debian-image.sh"}, args...), golden)...)
	l.goldstream("image", "import", name, filepath.Join(golden, "disk.raw"))
	l.goldstream("sandbox", "prepare")
}

// assign gives a machine a volume.
func (l *pxeLab) assign(m *machine) {
	l.t.Helper()
	l.goldstream("volume", "create", m.name, "--image", m.image)
	l.goldstream(append([]string{"boot", "assign", m.name, "--mac", m.mac, "--allow", "10.99.0.0/24"}, m.assign...)...)
}

// checkRefusal has one server ask for the boot of another, from an address that the
// other's may not be asked from: it is refused, and audited.
func (l *pxeLab) checkRefusal(a, b *machine) {
	l.t.Helper()
	l.goldstream("boot", "assign", b.name, "--mac", b.mac, "--serial", "B", "--allow", "10.99.0.0/24")
	ask := func(query string) string {
		return l.run("ip", "netns", "exec", l.dhcp, "curl", "-sS", "http://10.99.0.1:8480/boot/script?"+query)
	}
	require.Contains(l.t, ask("mac="+strings.ReplaceAll(a.mac, ":", "-")+"&serial=B"), "Refused")
	trail, err := os.ReadFile(filepath.Join(l.data, "boot", "refused.log"))
	require.NoError(l.t, err)
	require.Contains(l.t, string(trail), `"from":"10.99.0.2"`)
	require.Contains(l.t, ask("mac=52-54-00-00-00-77"), "not known")
	require.Contains(l.t, l.goldstream("boot", "list"), "52:54:00:00:00:77, asks from 10.99.0.2")
}

func newPXELab(t *testing.T, ctx context.Context) *pxeLab {
	l := &pxeLab{t: t, ctx: ctx, bin: t.TempDir(), data: filepath.Join(shortTempDir(t), "data"),
		ours: fmt.Sprintf("gs-pxe-%d", os.Getpid()), dhcp: fmt.Sprintf("gs-dhcp-%d", os.Getpid())}
	for _, dir := range []string{"goldstream", "goldstream-guest"} {
		build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", l.bin, "../"+dir)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := build.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	for _, ns := range []string{l.ours, l.dhcp} {
		l.run("ip", "netns", "add", ns)
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	}
	for _, line := range []string{
		"ip link set lo up",
		"ip link add br0 type bridge",
		"ip addr add 10.99.0.1/24 dev br0",
		"ip link set br0 up",
		"ip link add uplink type veth peer name eth0 netns " + l.dhcp,
		"ip link set uplink master br0 up",
		"ip netns exec " + l.dhcp + " ip addr add 10.99.0.2/24 dev eth0",
		"ip netns exec " + l.dhcp + " ip link set eth0 up",
	} {
		l.run(append([]string{"ip", "netns", "exec", l.ours}, strings.Fields(line)...)...)
	}
	return l
}

func (l *pxeLab) run(args ...string) string {
	l.t.Helper()
	out, err := exec.CommandContext(l.ctx, args[0], args[1:]...).CombinedOutput()
	require.NoError(l.t, err, "%v: %s", args, out)
	return string(out)
}

func (l *pxeLab) goldstream(args ...string) string {
	l.t.Helper()
	return l.run(append([]string{filepath.Join(l.bin, "goldstream"), "--data", l.data}, args...)...)
}

// start starts a program in a namespace, which ends with the test.
func (l *pxeLab) start(ns string, prepare func(*exec.Cmd), args ...string) *exec.Cmd {
	l.t.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", ns}, args...)...) // ip replaces itself by it
	if prepare != nil {
		prepare(cmd)
	}
	require.NoError(l.t, cmd.Start())
	l.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// socket is where programs of this host reach volumes.
func (l *pxeLab) socket() string { return filepath.Join(filepath.Dir(l.data), "nbd") }

func (l *pxeLab) serve() {
	l.t.Helper()
	log, err := os.OpenFile(filepath.Join(l.bin, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(l.t, err)
	defer log.Close()
	var out io.Reader
	l.server = l.start(l.ours, func(cmd *exec.Cmd) {
		cmd.Stderr = log
		out, err = cmd.StdoutPipe()
		require.NoError(l.t, err)
	}, filepath.Join(l.bin, "goldstream"), "--data", l.data, "serve", "--nbd", "10.99.0.1:10809", "--nbd", "unix:"+l.socket(), "--boot", "10.99.0.1:8480", "--boot-dhcp", "proxy")
	l.t.Cleanup(func() { // in order: it has a dnsmasq
		_ = l.server.Process.Signal(syscall.SIGTERM)
		_ = l.server.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(l.t, err, "the server is not ready")
	require.Contains(l.t, line, "ready")
}

// network starts the DHCP server of others.
func (l *pxeLab) network(lease string) *exec.Cmd {
	return l.start(l.dhcp, nil, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--port=0", "--bind-interfaces", "--user=root",
		"--interface=eth0", "--no-ping", "--dhcp-range=10.99.0.100,10.99.0.120,"+lease, "--dhcp-leasefile="+filepath.Join(l.t.TempDir(), "leases"))
}

// machine is a virtual one without a disk; what is written goes to its serial console.
type machine struct {
	name, mac string
	image     string
	assign    []string // more of 'boot assign'
	qemu      []string // more of qemu
	uefi      bool
	io.Writer
	r   *bufio.Reader
	all *os.File // what the console said
	cmd *exec.Cmd
}

func (l *pxeLab) switchOn(m *machine) {
	l.t.Helper()
	all, err := os.Create(filepath.Join(l.bin, "console-"+m.name))
	require.NoError(l.t, err)
	l.t.Cleanup(func() { _ = all.Close() })
	m.all = all
	tap := "tap-" + m.name
	for _, line := range []string{"ip tuntap add " + tap + " mode tap", "ip link set " + tap + " master br0 up"} {
		l.run(append([]string{"ip", "netns", "exec", l.ours}, strings.Fields(line)...)...)
	}
	nic := "virtio-net-pci,netdev=n0,bootindex=1,mac=" + m.mac
	var firmware []string
	if m.uefi { // the NIC without iPXE: UEFI has a driver of its own
		vars := filepath.Join(l.bin, "vars-"+m.name)
		l.run("cp", "/usr/share/OVMF/OVMF_VARS_4M.fd", vars)
		firmware = []string{"-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd", "-drive", "if=pflash,format=raw,file=" + vars}
		nic += ",romfile="
	}
	qemu := append([]string{"qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024", "-display", "none",
		"-serial", "stdio", "-monitor", "none", "-no-reboot"}, firmware...)
	m.cmd = l.start(l.ours, func(cmd *exec.Cmd) {
		out, err := cmd.StdoutPipe()
		require.NoError(l.t, err)
		m.r = bufio.NewReader(out)
		m.Writer, err = cmd.StdinPipe()
		require.NoError(l.t, err)
	}, append(append(qemu, m.qemu...), "-netdev", "tap,id=n0,ifname="+tap+",script=no,downscript=no", "-device", nic)...)
}

// await reads the console up to a text, or fails with what was there at the end of ctx.
func (l *pxeLab) await(c *machine, text string) {
	l.t.Helper()
	found := make(chan bool, 1)
	go func() {
		var last []byte
		for {
			b, err := c.r.ReadByte()
			if err != nil {
				found <- false
				return
			}
			_, _ = c.all.Write([]byte{b})
			if last = append(last, b); strings.HasSuffix(string(last), text) {
				found <- true
				return
			}
			last = last[max(0, len(last)-len(text)):]
		}
	}()
	ok := false
	select {
	case ok = <-found:
	case <-l.ctx.Done():
	}
	if !ok {
		tail, _ := os.ReadFile(c.all.Name())
		log, _ := os.ReadFile(filepath.Join(l.bin, "log"))
		l.t.Fatalf("%q did not come\n%s\n%s", text, tail[max(0, len(tail)-4000):], log[max(0, len(log)-4000):])
	}
}

// checkStages looks at what is told of the boot.
func (l *pxeLab) checkStages(m *machine) {
	l.t.Helper()
	var s v1.BootServer
	require.NoError(l.t, json.Unmarshal([]byte(l.goldstream("boot", "status", m.name, "--json")), &s))
	require.NotNil(l.t, s.Last)
	var names []string
	for _, stage := range s.Last.Stages {
		names = append(names, stage.Name)
		l.t.Logf("%s: %s after %v", m.name, stage.Name, stage.Time.Sub(s.Last.Stages[0].Time).Round(time.Millisecond))
	}
	require.Equal(l.t, []string{"dhcp", "script", "kernel", "initrd", initramfs.StageInitramfs, initramfs.StageAttached, initramfs.StageMounted}, names)
}
