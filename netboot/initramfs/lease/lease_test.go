package lease

import (
	"bufio"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const inside = "GOLDSTREAM_LEASE_TEST"

// isolated runs a test again in a network namespace of its own. true: this is the inner run.
func isolated(t *testing.T) bool {
	if os.Getenv(inside) == t.Name() {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces are made as root")
	}
	cmd := exec.Command("unshare", "--net", "--mount", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name())
	return false
}

func ip(t *testing.T, line string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
	require.NoError(t, err, "ip %s: %s", line, out)
	return string(out)
}

// dhcp is a DHCP server of others, in another namespace behind the NIC cli0.
type dhcp struct {
	t   *testing.T
	ns  int // pid of who keeps the namespace
	cmd *exec.Cmd
}

const mac = "52:54:00:00:00:01"

func newDHCP(t *testing.T) *dhcp {
	require.NoError(t, unix.Mount("sysfs", "/sys", "sysfs", 0, ""), "that of this namespace")
	keep := exec.Command("sleep", "infinity")
	keep.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, keep.Start())
	t.Cleanup(func() { _ = keep.Process.Kill(); _ = keep.Wait() })
	d := &dhcp{t: t, ns: keep.Process.Pid}
	ip(t, "link add srv0 type veth peer name cli0 address "+mac)
	ip(t, "link set srv0 netns "+strconv.Itoa(d.ns))
	d.in("ip", "addr", "add", "10.78.0.1/24", "dev", "srv0")
	d.in("ip", "link", "set", "srv0", "up")
	return d
}

func (d *dhcp) in(args ...string) {
	d.t.Helper()
	out, err := exec.Command("nsenter", append([]string{"--net=/proc/" + strconv.Itoa(d.ns) + "/ns/net"}, args...)...).CombinedOutput()
	require.NoError(d.t, err, "%v: %s", args, out)
}

// serve has it give addresses of a range alone, and know nothing of before.
func (d *dhcp) serve(first, last, mode string) {
	d.t.Helper()
	d.stop()
	d.cmd = exec.Command("nsenter", "--net=/proc/"+strconv.Itoa(d.ns)+"/ns/net", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=",
		"--port=0", "--log-facility=-", "--user=root", "--interface=srv0", "--bind-interfaces", "--no-ping", mode,
		"--dhcp-range="+first+","+last+",2m", "--dhcp-leasefile="+filepath.Join(d.t.TempDir(), "leases"))
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := d.cmd.StderrPipe()
	require.NoError(d.t, err)
	require.NoError(d.t, d.cmd.Start())
	for lines := bufio.NewScanner(out); ; {
		require.True(d.t, lines.Scan(), "dnsmasq ends")
		if strings.Contains(lines.Text(), "started, version") {
			go func() {
				for lines.Scan() {
				}
			}()
			return
		}
	}
}

func (d *dhcp) stop() {
	if d.cmd != nil {
		_ = d.cmd.Process.Kill()
		_ = d.cmd.Wait()
		d.cmd = nil
	}
}

// TestLease goes from a NIC that is down to an address, and keeps it through renewals, a
// lapse and a server that has another mind.
func TestLease(t *testing.T) {
	if !isolated(t) {
		return
	}
	d := newDHCP(t)
	defer d.stop()
	d.serve("10.78.0.10", "10.78.0.10", "--dhcp-authoritative")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n, err := Acquire(ctx, mac, t.Logf)
	require.NoError(t, err)
	require.Equal(t, "cli0", n.Name)
	require.Equal(t, "10.78.0.10/24", n.Lease.Address.String())
	require.Equal(t, 2*time.Minute, n.Lease.Time)
	has := func() {
		t.Helper()
		require.Contains(t, ip(t, "-4 addr show dev cli0"), "inet 10.78.0.10/24 brd 10.78.0.255")
		require.Contains(t, ip(t, "route"), "default via 10.78.0.1 dev cli0")
	}
	has()
	require.Contains(t, n.Conf(), "DEVICE='cli0'\nPROTO='dhcp'\nIPV4ADDR='10.78.0.10'\nIPV4NETMASK='255.255.255.0'\nIPV4GATEWAY='10.78.0.1'\n")

	ip(t, "link set cli0 name renamed0") // as udev does
	c := newClient(n.Index, n.MAC, t.Logf)
	for _, age := range []time.Duration{n.Lease.Time / 2, n.Lease.Time / 10 * 9, 2 * n.Lease.Time} {
		l, err := c.extend(ctx, n.Lease, n.Lease.Since.Add(age))
		require.NoError(t, err, "at the age of %v", age)
		require.Equal(t, n.Lease.Address, l.Address)
		require.True(t, l.Since.After(n.Lease.Since))
	}
	ip(t, "link set renamed0 name cli0")

	d.serve("10.78.0.20", "10.78.0.30", "--dhcp-authoritative")
	_, err = c.extend(ctx, n.Lease, n.Lease.Since.Add(n.Lease.Time/2))
	require.ErrorIs(t, err, errRefused)
	has()

	d.serve("10.78.0.10", "10.78.0.10", "--log-dhcp") // it has no record of the lease, and is not sure of its network
	c.known = time.Second
	l, err := c.extend(ctx, n.Lease, n.Lease.Since.Add(2*n.Lease.Time))
	require.NoError(t, err)
	require.Equal(t, n.Lease.Address, l.Address)

	d.stop()
	short, cancelShort := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancelShort()
	_, err = c.extend(short, n.Lease, n.Lease.Since.Add(2*n.Lease.Time))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	has()
}

// TestNoNIC: what is missing is told.
func TestNoNIC(t *testing.T) {
	if !isolated(t) {
		return
	}
	newDHCP(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := Acquire(ctx, "52:54:00:00:00:99", t.Logf)
	require.ErrorContains(t, err, "no NIC with the MAC address 52:54:00:00:00:99")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestPause(t *testing.T) {
	t.Parallel()
	since := time.Unix(1e9, 0)
	l := Lease{Time: 8 * time.Hour, Since: since}
	for age, want := range map[time.Duration]time.Duration{
		0:                     4 * time.Hour,
		3 * time.Hour:         time.Hour,
		4 * time.Hour:         time.Hour, // half of what is left until T2, at most an hour
		6*time.Hour + 1800e9:  15 * time.Minute,
		7 * time.Hour:         30 * time.Minute,
		8*time.Hour - 1e9:     leastPause,
		9 * time.Hour:         time.Minute,
		1000 * time.Hour:      time.Minute,
		8*time.Hour - 30*60e9: 15 * time.Minute,
	} {
		require.Equal(t, want, pause(l, since.Add(age)), "at the age of %v", age)
	}
	short := Lease{Time: shortest, Since: since}
	require.Equal(t, 5*time.Second, pause(short, since))
}

// answer is what a server says to q.
func answer(q *question, kind byte, options ...byte) []byte {
	p := q.encode()[:offsetOptions]
	p[0] = 2
	copy(p[16:], []byte{10, 78, 0, 10})
	p = append(p, 0, optionKind, 1, kind, optionServer, 4, 10, 78, 0, 1)
	return append(append(p, options...), 255)
}

func TestParse(t *testing.T) {
	t.Parallel()
	q := &question{kind: kindDiscover, transaction: 7, mac: []byte{0x52, 0x54, 0, 0, 0, 1}}
	mask, hour := []byte{optionMask, 4, 255, 255, 255, 0}, []byte{optionTime, 4, 0, 0, 14, 16}
	good := append(append(append([]byte{}, mask...), hour...), optionDNS, 4, 1, 2, 3, 4, optionDNS, 4, 5, 6, 7, 8)
	kind, l, err := parse(answer(q, kindAck, good...), q)
	require.NoError(t, err)
	require.Equal(t, byte(kindAck), kind)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("1.2.3.4"), netip.MustParseAddr("5.6.7.8")}, l.DNS)
	require.Equal(t, time.Hour, l.Time)
	kind, _, err = parse(answer(q, kindNak), q)
	require.NoError(t, err)
	require.Equal(t, byte(kindNak), kind)

	for _, length := range []int{0, 253, 254, 255} { // 2 more than some are more than a byte holds
		long := append(append([]byte{43, byte(length)}, make([]byte, length)...), good...)
		_, l, err := parse(answer(q, kindAck, long...), q)
		require.NoError(t, err, "an option of %d bytes", length)
		require.Equal(t, time.Hour, l.Time)
		_, _, err = parse(answer(q, kindAck, long[:2]...), q)
		require.Error(t, err, "an option of %d bytes that breaks off", length)
	}

	other := *q
	other.transaction++
	_, _, err = parse(answer(&other, kindAck, good...), q)
	require.ErrorIs(t, err, errNotOurs)
	_, _, err = parse(q.encode(), q)
	require.ErrorIs(t, err, errNotOurs)
	for want, options := range map[string][]byte{
		"netmask":     append([]byte{optionMask, 4, 255, 0, 255, 0}, hour...),
		"how long":    mask,
		"breaks off":  {optionTime, 200, 1},
		"breaks  off": nil,
	} {
		p := answer(q, kindAck, options...)
		if options == nil {
			want, p = "netmask", answer(q, kindOffer)
		}
		_, _, err := parse(p, q)
		require.ErrorContains(t, err, want)
	}
}

func FuzzParse(f *testing.F) {
	q := &question{kind: kindDiscover, transaction: 7, mac: []byte{0x52, 0x54, 0, 0, 0, 1}}
	f.Add(answer(q, kindAck, optionMask, 4, 255, 255, 255, 0, optionTime, 4, 0, 0, 14, 16))
	f.Add(answer(q, kindNak))
	for _, length := range []int{253, 254, 255} {
		f.Add(answer(q, kindAck, append([]byte{43, byte(length)}, make([]byte, length)...)...))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		kind, l, err := parse(p, q)
		if err == nil && kind != kindNak && (!l.Address.IsValid() || !l.Server.IsValid() || l.Time < shortest) {
			t.Fatalf("%+v", l)
		}
	})
}
