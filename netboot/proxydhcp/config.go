package proxydhcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Boot programs of Debian's package ipxe.
const (
	ProgramBIOS = "undionly.kpxe"
	ProgramUEFI = "ipxe.efi"
)

// ErrAddress is one that no proxy can serve.
var ErrAddress = errors.New("servers cannot be told of this boot address")

// network is where one proxy works.
type network struct {
	device string
	prefix netip.Prefix // of the address that boots are handed out on
	port   uint16
}

// networkOf finds the interface of an address.
func networkOf(at netip.AddrPort) (n network, err error) {
	if at.Addr().IsUnspecified() || !at.Addr().Unmap().Is4() {
		return n, fmt.Errorf("%w: %s: give the IPv4 address of this host on the servers' network", ErrAddress, at)
	}
	list, err := net.Interfaces()
	if err != nil {
		return n, err
	}
	for _, i := range list {
		addresses, err := i.Addrs()
		if err != nil {
			return n, err
		}
		for _, a := range addresses {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Unmap() == at.Addr().Unmap() {
				return network{i.Name, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()), at.Port()}, nil
			}
		}
	}
	return n, fmt.Errorf("%w: %s is no address of this host", ErrAddress, at)
}

func (n network) url(path string) string {
	return "http://" + netip.AddrPortFrom(n.prefix.Addr(), n.port).String() + path
}

// config is dnsmasq's, as its manual page has it. Firmware of BIOS asks as x86PC, that
// of UEFI on x86-64 as BC_EFI or X86-64_EFI.
func (n network) config(programs, path, pidFile string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Made by goldstream at each start.")
	line("port=0") // no DNS
	line("keep-in-foreground")
	line("log-facility=-")
	line("pid-file=%s", pidFile)
	line("leasefile-ro")
	line("bind-interfaces")
	line("interface=%s", n.device)
	line("except-interface=lo")
	line("dhcp-range=%s,proxy,%s", n.prefix.Addr(), net.IP(net.CIDRMask(n.prefix.Bits(), 32)))
	line("enable-tftp=%s", n.device)
	line("tftp-root=%s", programs)
	line("dhcp-match=set:ipxe,175")
	for _, kind := range []string{"x86PC", "X86-64_EFI", "BC_EFI"} {
		program := ProgramUEFI
		if kind == "x86PC" {
			program = ProgramBIOS
		}
		line(`pxe-service=tag:!ipxe,%s,"goldstream",%s`, kind, program)
		line(`pxe-service=tag:ipxe,%s,"goldstream",%s`, kind, n.url(path))
	}
	return b.String()
}
