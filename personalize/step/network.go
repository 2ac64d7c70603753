package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"strings"

	"goldstream/personalize/attribute"
)

// Network gives NICs the addresses of attributes of type nic.
type Network struct {
	NICs []string `json:"nics" yaml:"nics"` // names of attributes
	// Backend is ifupdown, networkd or networkmanager; "" takes what the disk
	// has.
	Backend string `json:"backend,omitempty" yaml:"backend,omitempty"`
}

// nic is one NIC as it shall be.
type nic struct {
	name    string // of the attribute
	mac     string // small letters
	boot    bool   // the disk hangs on it: it keeps what it has
	dhcp    bool
	address netip.Prefix
	gateway string
	dns     []string
	domain  string
}

func (n *Network) plan(ctx context.Context, tree Files, x *expander) ([]Op, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	render, err := n.renderer(ctx, tree)
	if err != nil {
		return nil, err
	}
	var ops []Op
	for _, name := range n.NICs {
		one, off, err := nicOf(name, x.values)
		if err != nil {
			return nil, err
		}
		if off {
			continue
		}
		for _, w := range render(one) {
			more, err := w.plan(ctx, tree)
			if err != nil {
				return nil, err
			}
			ops = append(ops, more...)
		}
	}
	return ops, nil
}

// nicOf reads the members of an attribute; off tells that the NIC is disabled.
func nicOf(name string, values attribute.Lookup) (n nic, off bool, err error) {
	if _, _, known := values(name, attribute.MAC); !known {
		return n, false, attribute.Invalid("the build plan declares no NIC %q", name)
	}
	get := func(member string) string { v, _, _ := values(name, member); return v.Reveal() }
	n = nic{name: name, mac: strings.ToLower(get(attribute.MAC)), dhcp: get(attribute.DHCP) == "true", gateway: get("gateway"), domain: get("domain")}
	if n.mac == "none" {
		return n, true, nil
	}
	if _, err := net.ParseMAC(n.mac); err != nil {
		return n, false, attribute.Invalid("NIC %q has no MAC address: the disk cannot know which of its NICs is meant", name)
	}
	if vlan := get(attribute.VLAN); vlan != "" && vlan != "0" {
		return n, false, attribute.Invalid("NIC %q has the VLAN %s: network steps know no tagged VLANs; use a script", name, vlan)
	}
	for _, initiator := range []string{"_Initiator1", "_Initiator2"} {
		v, _, _ := values(initiator, attribute.MAC)
		n.boot = n.boot || strings.EqualFold(v.Reveal(), n.mac)
	}
	for _, member := range []string{"dns1", "dns2", "dns3"} {
		if server := get(member); server != "" {
			n.dns = append(n.dns, server)
		}
	}
	if n.dhcp || n.boot {
		return n, false, nil
	}
	n.address, err = prefix(get("ipaddress"), get("netmask"))
	if err != nil {
		return n, false, attribute.Invalid("NIC %q: %v", name, err)
	}
	return n, false, nil
}

func prefix(address, mask string) (netip.Prefix, error) {
	a, err := netip.ParseAddr(address)
	m, maskErr := netip.ParseAddr(mask)
	if err != nil || maskErr != nil || !a.Is4() || !m.Is4() {
		return netip.Prefix{}, fmt.Errorf("%q with netmask %q is no address", address, mask)
	}
	b := m.As4()
	ones, bits := net.IPv4Mask(b[0], b[1], b[2], b[3]).Size()
	if bits == 0 {
		return netip.Prefix{}, fmt.Errorf("%q is no netmask", mask)
	}
	return netip.PrefixFrom(a, ones), nil
}

func (n *Network) check() error {
	if len(n.NICs) == 0 {
		return attribute.Invalid("a network step names no NICs")
	}
	return nil
}

type renderer func(nic) []want

// renderer chooses by what is installed on the disk.
func (n *Network) renderer(ctx context.Context, tree Files) (renderer, error) {
	all := map[string]renderer{"ifupdown": ifupdown, "networkd": networkd, "networkmanager": networkManager}
	if n.Backend != "" {
		r, ok := all[n.Backend]
		if !ok {
			return nil, attribute.Invalid("%.64q is no backend of network steps: use ifupdown, networkd or networkmanager", n.Backend)
		}
		return r, nil
	}
	for _, row := range []struct {
		backend string
		signs   []string
	}{
		{"networkmanager", []string{"/usr/sbin/NetworkManager"}},
		{"ifupdown", []string{"/usr/sbin/ifup", "/sbin/ifup"}},
		{"networkd", []string{"/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"}},
	} {
		for _, path := range row.signs {
			_, err := tree.Stat(ctx, path)
			if err == nil {
				return all[row.backend], sourced(ctx, tree, row.backend)
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	return nil, attribute.Invalid("the disk has neither NetworkManager nor ifupdown, and systemd-networkd is not enabled: install or enable one in the image, or name the backend")
}

// sourced tells whether ifupdown would read what is written for it.
func sourced(ctx context.Context, tree Files, backend string) error {
	if backend != "ifupdown" {
		return nil
	}
	text, err := read(ctx, tree, "/etc/network/interfaces")
	if err == nil && !strings.Contains(text, "/etc/network/interfaces.d") {
		err = attribute.Invalid("/etc/network/interfaces of the disk does not read /etc/network/interfaces.d: add 'source /etc/network/interfaces.d/*' to the image")
	}
	return err
}

func lines(text ...string) []byte {
	text = slices.DeleteFunc(text, func(s string) bool { return s == "-" })
	return []byte("# written by goldstream\n" + strings.Join(text, "\n") + "\n")
}

// given is a line, or "-", which lines leaves out.
func given(key, value string) string {
	if value == "" {
		return "-"
	}
	return key + value
}

func networkd(n nic) []want {
	body := []string{"[Match]", "MACAddress=" + n.mac, "", "[Network]"}
	switch {
	case n.boot:
		body = append(body, "KeepConfiguration=yes", "DHCP=no")
	case n.dhcp:
		body = append(body, "DHCP=ipv4")
	default:
		body = append(body, "Address="+n.address.String(), given("Gateway=", n.gateway))
	}
	if !n.boot {
		for _, server := range n.dns {
			body = append(body, "DNS="+server)
		}
		body = append(body, given("Domains=", n.domain))
	}
	return []want{{path: "/etc/systemd/network/10-goldstream-" + n.name + ".network", data: lines(body...), mode: 0o644}}
}

// ifupdown knows NICs by their names alone: udev gives it one by its MAC.
func ifupdown(n nic) []want {
	if n.boot { // it is up before ifupdown is: what is not named is left alone
		return nil
	}
	name := "gs-" + strings.ReplaceAll(n.mac, ":", "")[2:] // 13 bytes; 15 are allowed
	link := lines("[Match]", "MACAddress="+n.mac, "", "[Link]", "Name="+name)
	body := []string{"auto " + name}
	if n.dhcp {
		body = append(body, "iface "+name+" inet dhcp")
	} else {
		body = append(body, "iface "+name+" inet static", "    address "+n.address.String(), given("    gateway ", n.gateway))
	}
	body = append(body, given("    dns-nameservers ", strings.Join(n.dns, " ")), given("    dns-search ", n.domain))
	return []want{
		{path: "/etc/systemd/network/10-goldstream-" + n.name + ".link", data: link, mode: 0o644},
		{path: "/etc/network/interfaces.d/goldstream-" + strings.ToLower(n.name), data: lines(body...), mode: 0o644},
	}
}

func networkManager(n nic) []want {
	if n.boot {
		return []want{{path: "/etc/NetworkManager/conf.d/10-goldstream-" + n.name + ".conf", data: lines("[keyfile]", "unmanaged-devices+=mac:"+n.mac), mode: 0o644}}
	}
	body := []string{"[connection]", "id=goldstream-" + n.name, "type=ethernet", "", "[ethernet]", "mac-address=" + n.mac, "", "[ipv4]"}
	if n.dhcp {
		body = append(body, "method=auto")
	} else {
		address := "address1=" + n.address.String()
		if n.gateway != "" {
			address += "," + n.gateway
		}
		body = append(body, "method=manual", address)
	}
	if len(n.dns) > 0 {
		body = append(body, "dns="+strings.Join(n.dns, ";")+";")
	}
	body = append(body, given("dns-search=", n.domain))
	// NetworkManager takes no file that others can read.
	return []want{{path: "/etc/NetworkManager/system-connections/goldstream-" + n.name + ".nmconnection", data: lines(body...), mode: 0o600, enforce: true}}
}
