package lease

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lookEvery = 100 * time.Millisecond // for a NIC whose driver is loaded meanwhile, and for its link
	etherType = "1"                    // ARPHRD_ETHER
)

// waitFor returns the NIC of a MAC address as soon as it is there and has a link; it
// brings it up. Without an address it is the first NIC with a link.
func waitFor(ctx context.Context, mac string) (name string, address net.HardwareAddr, err error) {
	for {
		names, err := nics(mac)
		if err != nil {
			return "", nil, err
		}
		for _, name := range names {
			if err := up(name); err != nil {
				return "", nil, err
			}
			if text(name, "carrier") == "1" {
				address, err := net.ParseMAC(text(name, "address"))
				if err == nil && len(address) == 6 {
					return name, address, nil
				}
			}
		}
		select {
		case <-ctx.Done():
			if len(names) == 0 {
				return "", nil, fmt.Errorf("there is no NIC with the MAC address %s: has the initrd its driver? %w", orAny(mac), context.Cause(ctx))
			}
			return "", nil, fmt.Errorf("%s has no link: %w", strings.Join(names, ", "), context.Cause(ctx))
		case <-time.After(lookEvery):
		}
	}
}

func orAny(mac string) string {
	if mac == "" {
		return "of any"
	}
	return mac
}

// sysNet is where the kernel tells of NICs.
const sysNet = "/sys/class/net"

func text(nic, name string) string {
	p, err := os.ReadFile(filepath.Join(sysNet, nic, name))
	if err != nil { // carrier: EINVAL while it is down
		return ""
	}
	return strings.TrimSpace(string(p))
}

// nics are those of Ethernet with a MAC address. A bridge or a VLAN on top of one has the
// same: those with a device of their own come first.
func nics(mac string) (names []string, err error) {
	list, err := os.ReadDir(sysNet)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if text(e.Name(), "type") == etherType && (mac == "" || strings.EqualFold(text(e.Name(), "address"), mac)) {
			names = append(names, e.Name())
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names, nil
}

func rank(nic string) int {
	if _, err := os.Stat(filepath.Join(sysNet, nic, "device")); err == nil {
		return 0
	}
	return 1
}

func withSocket(f func(fd int) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	return f(fd)
}

func up(nic string) error {
	return withSocket(func(fd int) error {
		r, err := unix.NewIfreq(nic)
		if err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil {
			return fmt.Errorf("%s: %w", nic, err)
		}
		if r.Uint16()&unix.IFF_UP != 0 {
			return nil
		}
		r.SetUint16(r.Uint16() | unix.IFF_UP)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
			return fmt.Errorf("%s cannot be brought up: %w", nic, err)
		}
		return nil
	})
}

// configure gives the NIC its address, and the system its default route by it.
func configure(nic string, l Lease) error {
	if err := setAddress(nic, l.Address); err != nil {
		return fmt.Errorf("%s cannot have the address %s: %w", nic, l.Address, err)
	}
	if !l.Router.IsValid() || l.Router.IsUnspecified() {
		return nil
	}
	if err := addRoute(nic, l.Router); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("no default route by %s: %w", l.Router, err)
	}
	return nil
}

// setAddress sets address, netmask and broadcast address, for good.
func setAddress(nic string, p netip.Prefix) error {
	mask := net.CIDRMask(p.Bits(), 32)
	last := p.Addr().As4()
	for i := range last {
		last[i] |= ^mask[i]
	}
	return withSocket(func(fd int) error {
		for _, step := range []struct {
			request uint
			value   []byte
		}{{unix.SIOCSIFADDR, p.Addr().AsSlice()}, {unix.SIOCSIFNETMASK, mask}, {unix.SIOCSIFBRDADDR, last[:]}} {
			r, err := unix.NewIfreq(nic)
			if err == nil {
				err = r.SetInet4Addr(step.value)
			}
			if err == nil {
				err = unix.IoctlIfreq(fd, step.request, r)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// addRoute adds the default route, by rtnetlink: nlmsghdr, rtmsg, attributes.
func addRoute(nic string, router netip.Addr) error {
	i, err := net.InterfaceByName(nic)
	if err != nil {
		return err
	}
	order := binary.NativeEndian
	attribute := func(p []byte, kind uint16, v []byte) []byte {
		p = order.AppendUint16(p, uint16(unix.SizeofRtAttr+len(v)))
		return append(order.AppendUint16(p, kind), v...)
	}
	body := make([]byte, unix.SizeofRtMsg)
	body[0], body[4], body[5], body[7] = unix.AF_INET, unix.RT_TABLE_MAIN, unix.RTPROT_DHCP, unix.RTN_UNICAST
	body = attribute(body, unix.RTA_GATEWAY, router.AsSlice())
	body = attribute(body, unix.RTA_OIF, order.AppendUint32(nil, uint32(i.Index)))
	p := order.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	p = order.AppendUint16(p, unix.RTM_NEWROUTE)
	p = order.AppendUint16(p, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	p = append(append(p, make([]byte, 8)...), body...)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, p, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || order.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("the kernel's answer about the route is none")
	}
	if code := int32(order.Uint32(answer[unix.SizeofNlMsghdr:])); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}
