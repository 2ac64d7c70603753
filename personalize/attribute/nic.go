package attribute

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Members of a NIC beside its addresses.
const (
	MAC     = "mac"
	DHCP    = "dhcp"
	VLAN    = "vlanid"
	Disable = "ipv4disable"
	// Mode is how a profile says where the addresses come from.
	Mode = "constraint"
)

func addressMembers() []string {
	return []string{"ipaddress", "netmask", "gateway", "dns1", "dns2", "dns3", "ipaddress1", "ipaddress2"}
}

// members are all that a NIC has; the last three stand in profiles only.
func members() []string {
	return append(addressMembers(), "domain", MAC, "mac1", "mac2", DHCP, VLAN, Disable, Mode, "connectionid", "networkuri", "networkname")
}

// settleNIC brings the members of a NIC into their normal form and makes its
// mode show in them as scripts expect: a NIC that is disabled has the MAC
// "none", one with DHCP no addresses.
func (r *Values) settleNIC(d Definition) (errs []error) {
	given := false
	for key, v := range r.values {
		name, member, _ := strings.Cut(key, ".")
		if name != d.Name {
			continue
		}
		text, err := nicMember(member, strings.TrimSpace(v.Reveal()))
		if err != nil {
			errs = append(errs, invalidf("attribute %q cannot be %.200q: %v", key, v.Reveal(), err))
		}
		if text == "" {
			delete(r.values, key)
			continue
		}
		given = true
		r.values[key] = NewValue(key, NIC, text)
	}
	if errs != nil {
		return errs
	}
	if err := r.settleMode(d, given); err != nil {
		return []error{err}
	}
	return nil
}

func (r *Values) settleMode(d Definition, given bool) error {
	l, err := d.Constraints.read()
	if err != nil {
		return err
	}
	is := func(member, text string) bool { return strings.EqualFold(r.values[d.Name+"."+member].Reveal(), text) }
	static := r.values[d.Name+".ipaddress"].Reveal() != "" || r.values[d.Name+".ipaddress1"].Reveal() != ""
	dhcp := is(DHCP, "true") || is(Mode, "dhcp")
	disabled := is(Disable, "true")
	switch {
	case disabled && off(l.Disable):
		return invalidf("NIC %q cannot be disabled: the plan needs it", d.Name)
	case disabled, !given && !off(l.Disable):
		r.setNIC(d, MAC, "none")
		r.clearAddresses(d)
		r.setNIC(d, DHCP, "false")
		return nil
	case dhcp && static:
		return invalidf("NIC %q has both DHCP and an address: give one of them", d.Name)
	case dhcp && off(l.DHCP):
		return invalidf("NIC %q cannot use DHCP: the plan allows static addresses only; give %s.ipaddress and %s.netmask", d.Name, d.Name, d.Name)
	case static && off(l.Static):
		return invalidf("NIC %q cannot have a static address: the plan allows DHCP only", d.Name)
	case static:
		return r.settleStatic(d)
	case dhcp, !off(l.DHCP) && !is(Mode, "auto") && !is(Mode, "userspecified") && !is(DHCP, "false"):
		r.clearAddresses(d)
		r.setNIC(d, DHCP, "true")
		return nil
	case !slices.Contains(l.Parameters, "ipaddress") && len(l.Parameters) > 0:
		return nil // scripts want nothing but the MAC
	}
	return invalidf("NIC %q has no address: give %s.ipaddress and %s.netmask%s", d.Name, d.Name, d.Name, unlessOff(l.DHCP, ", or "+d.Name+".dhcp=true"))
}

func unlessOff(l *loose, text string) string {
	if off(l) {
		return ""
	}
	return text
}

func (r *Values) settleStatic(d Definition) error {
	if r.values[d.Name+".ipaddress"].Reveal() != "" && r.values[d.Name+".netmask"].Reveal() == "" {
		return invalidf("NIC %q has an address but no netmask: give %s.netmask, such as 255.255.255.0", d.Name, d.Name)
	}
	r.setNIC(d, DHCP, "false")
	return nil
}

func (r *Values) setNIC(d Definition, member, text string) {
	key := d.Name + "." + member
	r.values[key] = NewValue(key, NIC, text)
}

func (r *Values) clearAddresses(d Definition) {
	for _, m := range addressMembers() {
		delete(r.values, d.Name+"."+m)
	}
}

// nicMember returns a member's value in its normal form.
func nicMember(member, text string) (string, error) {
	if !slices.Contains(members(), member) {
		return text, fmt.Errorf("a NIC has no member %.64q, only %s", member, list(members()))
	}
	if err := plain(text, false); err != nil || text == "" {
		return text, err
	}
	switch member {
	case "netmask":
		return netmask(text)
	case MAC, "mac1", "mac2":
		return mac(text)
	case DHCP, Disable:
		lower := strings.ToLower(text)
		if lower != "true" && lower != "false" {
			return text, fmt.Errorf("it must be true or false")
		}
		return lower, nil
	case VLAN:
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n > 4094 {
			return text, fmt.Errorf("a VLAN is a number from 0 (none) to 4094")
		}
		return strconv.FormatUint(n, 10), nil
	case Mode:
		lower := strings.ToLower(text)
		if !slices.Contains([]string{"auto", "dhcp", "userspecified"}, lower) {
			return text, fmt.Errorf("it must be auto, dhcp or userspecified")
		}
		return lower, nil
	case "domain":
		return text, hostname(text)
	}
	if slices.Contains(addressMembers(), member) {
		return ipv4(text)
	}
	return text, nil
}

func netmask(text string) (string, error) {
	a, err := netip.ParseAddr(text)
	if err == nil && a.Is4() {
		b := a.As4()
		if ones, bits := net.IPv4Mask(b[0], b[1], b[2], b[3]).Size(); bits == 32 && ones > 0 {
			return a.String(), nil
		}
	}
	return text, fmt.Errorf("it is no netmask, such as 255.255.255.0")
}

func mac(text string) (string, error) {
	if strings.EqualFold(text, "none") {
		return "none", nil
	}
	a, err := net.ParseMAC(text)
	if err != nil || len(a) != 6 {
		return text, fmt.Errorf("it is no MAC address, such as 52:54:00:12:34:56")
	}
	return strings.ToUpper(a.String()), nil
}
