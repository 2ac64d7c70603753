package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// A message of DHCP (RFC 2131, section 2; numbers in network order):
//
//	0    op 1 request, 2 reply; hardware type 1, address length 6, hops
//	4    transaction; 8 seconds; 10 flags, 0x8000: answer by broadcast
//	12   ciaddr; 16 yiaddr; 20 siaddr; 24 giaddr; 28 chaddr, 16 bytes
//	44   server name, 64; 108 boot file, 128
//	236  99, 130, 83, 99; then options: code, length, value; 0 pads, 255 ends

const (
	offsetOptions = 240
	mostMessage   = 1500

	kindDiscover = 1
	kindOffer    = 2
	kindRequest  = 3
	kindAck      = 5
	kindNak      = 6

	optionMask     = 1
	optionRouter   = 3
	optionDNS      = 6
	optionRequest  = 50
	optionTime     = 51
	optionKind     = 53
	optionServer   = 54
	optionWanted   = 55
	optionMost     = 57
	optionClientID = 61
)

var cookie = []byte{99, 130, 83, 99}

// Lease is an address for a while.
type Lease struct {
	Address netip.Prefix
	Router  netip.Addr // may be none
	Server  netip.Addr
	DNS     []netip.Addr
	Time    time.Duration // from Since on
	Since   time.Time
}

// question is what a client sends.
type question struct {
	kind        byte
	transaction uint32
	mac         net.HardwareAddr
	current     netip.Addr // the address that the NIC has, in use
	wanted      netip.Addr // the address that is asked for
	server      netip.Addr // of the offer that is taken
	seconds     uint16     // since the first of these questions
}

func (q *question) encode() []byte {
	p := make([]byte, offsetOptions)
	p[0], p[1], p[2] = 1, 1, 6
	binary.BigEndian.PutUint32(p[4:], q.transaction)
	binary.BigEndian.PutUint16(p[8:], q.seconds)
	if q.current.IsValid() {
		copy(p[12:], q.current.AsSlice())
	} else {
		p[10] = 0x80 // there is no address yet that an answer could go to
	}
	copy(p[28:], q.mac)
	copy(p[236:], cookie)
	p = append(p, optionKind, 1, q.kind)
	p = append(p, optionClientID, 7, 1)
	p = append(p, q.mac...)
	p = append(p, optionMost, 2, mostMessage>>8, mostMessage&0xff)
	for option, address := range map[byte]netip.Addr{optionRequest: q.wanted, optionServer: q.server} {
		if address.IsValid() {
			p = append(append(p, option, 4), address.AsSlice()...)
		}
	}
	p = append(p, optionWanted, 5, optionMask, optionRouter, optionDNS, optionTime, optionServer)
	return append(p, 255)
}

// errNotOurs is a message that answers no question of ours.
var errNotOurs = errors.New("no answer to our question")

// parse reads an answer.
func parse(p []byte, q *question) (kind byte, l Lease, err error) {
	if len(p) < offsetOptions || p[0] != 2 || binary.BigEndian.Uint32(p[4:]) != q.transaction ||
		!slices.Equal(p[28:34], q.mac) || !slices.Equal(p[236:240], cookie) {
		return 0, l, errNotOurs
	}
	options := map[byte][]byte{}
	for rest := p[offsetOptions:]; len(rest) > 0 && rest[0] != 255; {
		if rest[0] == 0 {
			rest = rest[1:]
			continue
		}
		if len(rest) < 2 || len(rest) < 2+int(rest[1]) {
			return 0, l, fmt.Errorf("option %d breaks off", rest[0])
		}
		end := 2 + int(rest[1])                                     // more than a byte holds
		options[rest[0]] = append(options[rest[0]], rest[2:end]...) // RFC 3396: they are joined
		rest = rest[end:]
	}
	if v := options[optionKind]; len(v) == 1 {
		kind = v[0]
	}
	l.Server = first(options[optionServer])
	if kind == kindNak {
		return kind, l, nil
	}
	if kind != kindOffer && kind != kindAck {
		return 0, l, errNotOurs
	}
	return kind, l, l.read(netip.AddrFrom4([4]byte(p[16:20])), options)
}

func (l *Lease) read(address netip.Addr, options map[byte][]byte) error {
	mask := net.IPMask(options[optionMask])
	bits, size := mask.Size()
	switch {
	case address.IsUnspecified(): // of a proxy, which gives no addresses
		return errNotOurs
	case len(mask) != 4 || size != 32 || bits < 1:
		return fmt.Errorf("the netmask %v is none", mask)
	case address.IsMulticast() || address.IsLoopback() || address == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%s is no address for a NIC", address)
	case !l.Server.IsValid() || l.Server.IsUnspecified():
		return errors.New("it does not say which server it is from")
	case len(options[optionTime]) != 4:
		return errors.New("it does not say for how long")
	}
	l.Address = netip.PrefixFrom(address, bits)
	l.Router = first(options[optionRouter])
	for v := options[optionDNS]; len(v) >= 4; v = v[4:] {
		l.DNS = append(l.DNS, first(v))
	}
	l.Time = max(time.Duration(binary.BigEndian.Uint32(options[optionTime]))*time.Second, shortest)
	return nil
}

func first(v []byte) netip.Addr {
	if len(v) < 4 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(v[:4]))
}
