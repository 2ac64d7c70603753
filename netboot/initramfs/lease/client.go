package lease

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	shortest    = 10 * time.Second // that a lease is taken for
	firstWait   = time.Second      // for an answer; it doubles
	longestWait = 16 * time.Second
	portServer  = 67
	portClient  = 68
)

// broadcast is everybody on the NIC's network.
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// errRefused is a server's no.
var errRefused = errors.New("the DHCP server refuses the address")

// client asks by one NIC.
type client struct {
	index int // of the NIC: udev may rename it
	mac   net.HardwareAddr
	log   func(format string, args ...any)
	known time.Duration // that a server may take to know an address whose lease has expired
}

func newClient(index int, mac net.HardwareAddr, log func(format string, args ...any)) *client {
	return &client{index: index, mac: mac, log: log, known: oneAttempt / 2}
}

// ask sends a question until accept takes an answer or ctx ends.
func (c *client) ask(ctx context.Context, q question, to netip.Addr, accept func(kind byte, l Lease) bool) error {
	nic, err := net.InterfaceByIndex(c.index)
	if err != nil {
		return fmt.Errorf("the NIC is gone: %w", err)
	}
	conn, err := listen(ctx, nic.Name)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	q.mac, q.transaction = c.mac, transaction()
	began, wait := time.Now(), firstWait
	buf := make([]byte, mostMessage)
	for ctx.Err() == nil {
		q.seconds = uint16(min(time.Since(began)/time.Second, 0xffff))
		if _, err := conn.WriteToUDPAddrPort(q.encode(), netip.AddrPortFrom(to, portServer)); err != nil && !temporary(err) {
			return err
		}
		for end := time.Now().Add(wait); ctx.Err() == nil; {
			_ = conn.SetReadDeadline(end)
			n, _, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil && (errors.Is(err, context.DeadlineExceeded) || isTimeout(err)) {
				break
			} else if err != nil {
				if !temporary(err) {
					return err
				}
				continue
			}
			kind, l, err := parse(buf[:n], &q)
			if err != nil {
				if !errors.Is(err, errNotOurs) {
					c.log("a DHCP answer is left out: %v", err)
				}
				continue
			}
			if accept(kind, l) {
				return nil
			}
		}
		wait = min(2*wait, longestWait)
	}
	return context.Cause(ctx)
}

// obtain gets a lease from anyone.
func (c *client) obtain(ctx context.Context) (l Lease, err error) {
	for ctx.Err() == nil {
		var offer Lease
		if err = c.ask(ctx, question{kind: kindDiscover}, broadcast, func(kind byte, o Lease) bool {
			offer = o
			return kind == kindOffer
		}); err != nil {
			return l, err
		}
		l, err = c.request(ctx, question{wanted: offer.Address.Addr(), server: offer.Server}, broadcast)
		if err == nil || !errors.Is(err, errRefused) {
			return l, err
		}
		c.log("%v: asking again", err)
	}
	return l, context.Cause(ctx)
}

// request asks for an address to be ours, or to stay so.
func (c *client) request(ctx context.Context, q question, to netip.Addr) (l Lease, err error) {
	q.kind = kindRequest
	since, refused := time.Now(), false
	err = c.ask(ctx, q, to, func(kind byte, answer Lease) bool {
		// With two servers, the one whose offer was not taken has no say.
		if kind == kindOffer || q.server.IsValid() && answer.Server != q.server {
			return false
		}
		l, refused = answer, kind == kindNak
		return true
	})
	if err == nil && refused {
		err = fmt.Errorf("%w (%s)", errRefused, l.Server)
	}
	l.Since = since
	return l, err
}

// renew asks the lease's server, or anyone, for more time.
func (c *client) renew(ctx context.Context, l Lease, anyone bool) (Lease, error) {
	to := l.Server
	if anyone {
		to = broadcast
	}
	renewed, err := c.request(ctx, question{current: l.Address.Addr()}, to)
	if err == nil && renewed.Address.Addr() != l.Address.Addr() {
		err = fmt.Errorf("%w: it gives %s for %s", errRefused, renewed.Address.Addr(), l.Address.Addr())
	}
	return renewed, err
}

func transaction() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint32(b[:])
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// temporary tells errors of a network that is away for a while.
func temporary(err error) bool {
	for _, e := range []syscall.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.ECONNREFUSED, unix.EAGAIN, unix.ENOBUFS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// listen opens the client's port on one NIC alone, and beside other clients'.
func listen(ctx context.Context, nic string) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var errs error
		err := c.Control(func(fd uintptr) {
			errs = errors.Join(unix.BindToDevice(int(fd), nic),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		})
		return errors.Join(err, errs)
	}}
	// Of any address: a refusal comes by broadcast (RFC 2131, 4.1).
	conn, err := lc.ListenPacket(ctx, "udp4", net.JoinHostPort("0.0.0.0", fmt.Sprint(portClient)))
	if err != nil {
		return nil, fmt.Errorf("the port of DHCP clients: %w", err)
	}
	return conn.(*net.UDPConn), nil
}
