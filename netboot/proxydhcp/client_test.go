package proxydhcp

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inClient runs f in a network namespace that cli0 has been moved to.
func inClient(t *testing.T, f func()) {
	t.Helper()
	keep := exec.Command("sleep", "infinity")
	keep.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	require.NoError(t, keep.Start())
	defer func() { _ = keep.Process.Kill(); _ = keep.Wait() }()
	ip(t, fmt.Sprintf("link set cli0 netns %d", keep.Process.Pid))
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", keep.Process.Pid))
		require.NoError(t, err)
		defer ns.Close()
		require.NoError(t, unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET))
		ip(t, "addr add 10.77.0.50/24 dev cli0")
		ip(t, "link set cli0 up")
		f()
	}()
	<-done
}

const (
	discover = 1
	request  = 3
)

// askBIOS asks as the PXE specification has it: a menu comes first.
func askBIOS(t *testing.T, ipxe bool) string {
	t.Helper()
	var menu []byte
	answered(t, discover, 0, ipxe, "255.255.255.255:67", nil, func(options map[byte][]byte) {
		for p := options[43]; len(p) > 2 && p[0] != 255; p = p[2+p[1]:] {
			if p[0] == 8 { // boot servers: type, count, addresses
				menu = p[2:4]
			}
		}
	})
	require.Len(t, menu, 2)
	item := []byte{43, 7, 71, 4, menu[0], menu[1], 0, 0, 255}
	return answered(t, request, 0, ipxe, "10.77.0.1:4011", item, nil)
}

func askUEFI(t *testing.T, architecture byte, ipxe bool) string {
	t.Helper()
	answered(t, discover, architecture, ipxe, "255.255.255.255:67", nil, nil)
	return answered(t, request, architecture, ipxe, "10.77.0.1:4011", nil, nil)
}

// answered sends one DHCP message, again until it is answered, and returns the name of
// the boot file.
func answered(t *testing.T, kind, architecture byte, ipxe bool, to string, extra []byte, look func(map[byte][]byte)) string {
	t.Helper()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		e := c.Control(func(fd uintptr) {
			if err = unix.BindToDevice(int(fd), "cli0"); err == nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			}
		})
		if err == nil {
			err = e
		}
		return err
	}}
	c, err := lc.ListenPacket(t.Context(), "udp4", "0.0.0.0:68")
	require.NoError(t, err)
	defer c.Close()
	server, err := net.ResolveUDPAddr("udp4", to)
	require.NoError(t, err)
	m := message(kind, architecture, ipxe, extra)
	buf := make([]byte, 2048)
	for began := time.Now(); ; {
		require.Less(t, time.Since(began), time.Minute, "no answer")
		_, err = c.WriteTo(m, server)
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(2*time.Second)))
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			continue
		}
		options := map[byte][]byte{}
		for p := buf[240:n]; len(p) > 2 && p[0] != 255; p = p[2+p[1]:] {
			options[p[0]] = p[2 : 2+p[1]]
		}
		if look != nil {
			look(options)
		}
		return strings.TrimRight(string(buf[108:236]), "\x00")
	}
}

// message is a DHCP message of a PXE client (RFC 2131, RFC 4578).
func message(kind, architecture byte, ipxe bool, extra []byte) []byte {
	m := make([]byte, 236)
	m[0], m[1], m[2] = 1, 1, 6 // a request, of Ethernet
	binary.BigEndian.PutUint32(m[4:], 0x1234)
	m[10] = 0x80 // answered by broadcast
	if kind == request {
		copy(m[12:], net.IPv4(10, 77, 0, 50).To4())
	}
	copy(m[28:], []byte{0x52, 0x54, 0, 0, 0, 1})
	m = append(m, 0x63, 0x82, 0x53, 0x63, 53, 1, kind, 55, 4, 43, 60, 66, 67, 93, 2, 0, architecture, 94, 3, 1, 3, 16)
	class := fmt.Sprintf("PXEClient:Arch:%05d:UNDI:003016", architecture)
	m = append(append(m, 60, byte(len(class))), class...)
	m = append(append(m, 97, 17, 0), make([]byte, 16)...)
	if ipxe {
		m = append(m, 175, 3, 177, 1, 1)
	}
	return append(append(m, extra...), 255)
}
