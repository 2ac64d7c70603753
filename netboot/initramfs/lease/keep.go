package lease

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

const (
	leastPause = 10 * time.Second // between two questions of a renewal
	mostPause  = time.Hour
	oneAttempt = 30 * time.Second // that an answer is waited for
)

// NIC is one that has its address.
type NIC struct {
	Name  string // when it was found
	Index int
	MAC   net.HardwareAddr
	Lease Lease
}

// Acquire gets the NIC of a MAC address, or the first with a link, an address. It takes
// as long as ctx lets it.
func Acquire(ctx context.Context, mac string, log func(format string, args ...any)) (n NIC, err error) {
	if n.Name, n.MAC, err = waitFor(ctx, mac); err != nil {
		return n, err
	}
	i, err := net.InterfaceByName(n.Name)
	if err != nil {
		return n, err
	}
	n.Index = i.Index
	c := newClient(n.Index, n.MAC, log)
	if n.Lease, err = c.obtain(ctx); err != nil {
		return n, err
	}
	return n, configure(n.Name, n.Lease)
}

// Keep renews the lease until ctx ends.
func Keep(ctx context.Context, n NIC, log func(format string, args ...any)) error {
	c := newClient(n.Index, n.MAC, log)
	told := false
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause(n.Lease, time.Now())):
		}
		now := time.Now()
		attempt, cancel := context.WithTimeout(ctx, oneAttempt)
		l, err := c.extend(attempt, n.Lease, now)
		cancel()
		expired := now.Sub(n.Lease.Since) >= n.Lease.Time
		switch {
		case err == nil:
			if told {
				log("%s: the lease of %s is renewed", n.Name, l.Address.Addr())
			}
			n.Lease, told = l, false
		case ctx.Err() != nil:
		case errors.Is(err, errRefused):
			log("%s: %v: it is kept, the disk hangs on it; another server may be given it", n.Name, err)
			told = true
		case expired && !told:
			log("%s: the lease of %s has expired (%v): the address is kept, the disk hangs on it", n.Name, n.Lease.Address.Addr(), err)
			told = true
		}
	}
}

// extend asks as the age of the lease has it.
func (c *client) extend(ctx context.Context, l Lease, now time.Time) (Lease, error) {
	age := now.Sub(l.Since)
	if age >= l.Time {
		return c.regain(ctx, l)
	}
	return c.renew(ctx, l, age >= l.Time/8*7)
}

// regain asks for an address whose lease has expired: as after a reboot (RFC 2131, 4.3.2:
// INIT-REBOOT), and where no server knows of it any more, as one that is new there.
func (c *client) regain(ctx context.Context, l Lease) (Lease, error) {
	known, cancel := context.WithTimeout(ctx, c.known)
	defer cancel()
	address := l.Address.Addr()
	renewed, err := c.request(known, question{wanted: address}, broadcast)
	if err == nil && renewed.Address.Addr() != address {
		err = errRefused
	}
	if err == nil || !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return renewed, err
	}
	var offer Lease
	if err := c.ask(ctx, question{kind: kindDiscover, wanted: address}, broadcast, func(kind byte, o Lease) bool {
		offer = o
		return kind == kindOffer && o.Address.Addr() == address
	}); err != nil {
		return l, err
	}
	return c.request(ctx, question{wanted: address, server: offer.Server}, broadcast)
}

// pause is how long nothing is asked: until T1, then half of what is left until T2 or
// the end, and after that in steady steps.
func pause(l Lease, now time.Time) time.Duration {
	age := now.Sub(l.Since)
	left := l.Time - age
	switch {
	case age < l.Time/2:
		return max(l.Time/2-age, time.Second)
	case age < l.Time/8*7:
		left = l.Time/8*7 - age
	case left < 0:
		left = 2 * time.Minute
	}
	return min(max(left/2, leastPause), mostPause)
}

// Conf is the file that other programs of an initramfs look for as /run/net-NIC.conf
// (klibc's ipconfig): addresses alone, so that a shell may read it.
func (n NIC) Conf() string {
	text := "DEVICE='" + n.Name + "'\nPROTO='dhcp'\nIPV4ADDR='" + n.Lease.Address.Addr().String() + "'\nIPV4NETMASK='" +
		net.IP(net.CIDRMask(n.Lease.Address.Bits(), 32)).String() + "'\n"
	for _, line := range []struct {
		name string
		a    netip.Addr
	}{{"IPV4GATEWAY", n.Lease.Router}, {"ROOTSERVER", n.Lease.Server}, {"IPV4DNS0", n.dns(0)}, {"IPV4DNS1", n.dns(1)}} {
		if line.a.IsValid() {
			text += line.name + "='" + line.a.String() + "'\n"
		}
	}
	return text
}

func (n NIC) dns(i int) netip.Addr {
	if i < len(n.Lease.DNS) {
		return n.Lease.DNS[i]
	}
	return netip.Addr{}
}
