package attach

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Generic netlink, as much of it as nbd needs. A message is
//
//	nlmsghdr (16 bytes) | genlmsghdr: command, version, 2 unused | attributes
//
// and an attribute is length (its header's 4 bytes too) and type, 16 bits each,
// and a value that is padded to 4 bytes. Numbers are in the machine's order.

var order = binary.NativeEndian

const (
	cmdConnect     = 1
	cmdDisconnect  = 2
	cmdReconfigure = 3
	cmdLinkDead    = 4

	attrIndex       = 1
	attrSize        = 2
	attrBlockSize   = 3
	attrTimeout     = 4
	attrServerFlags = 5
	attrSockets     = 7
	attrDeadTimeout = 8

	sockItem = 1
	sockFD   = 1

	headers = unix.NLMSG_HDRLEN + unix.GENL_HDRLEN
	nested  = unix.NLA_F_NESTED
)

// ErrNoNBD says that the kernel has no NBD client.
var ErrNoNBD = errors.New("this kernel has no nbd: load the module with 'modprobe nbd', or use a kernel that is built with CONFIG_BLK_DEV_NBD")

// attribute appends one.
func attribute(p []byte, kind uint16, value []byte) []byte {
	p = order.AppendUint16(p, uint16(unix.NLA_HDRLEN+len(value)))
	p = order.AppendUint16(p, kind)
	p = append(p, value...)
	for len(p)%unix.NLA_ALIGNTO != 0 {
		p = append(p, 0)
	}
	return p
}

func attribute32(p []byte, kind uint16, v uint32) []byte {
	return attribute(p, kind, order.AppendUint32(nil, v))
}

func attribute64(p []byte, kind uint16, v uint64) []byte {
	return attribute(p, kind, order.AppendUint64(nil, v))
}

// attributes calls yield with each; a damaged end is left out.
func attributes(p []byte, yield func(kind uint16, value []byte)) {
	for len(p) >= unix.NLA_HDRLEN {
		n := int(order.Uint16(p))
		if n < unix.NLA_HDRLEN || n > len(p) {
			return
		}
		yield(order.Uint16(p[2:])&^uint16(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), p[unix.NLA_HDRLEN:n])
		p = p[min(len(p), (n+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1)):]
	}
}

// sockets is the attribute that hands over sockets.
func sockets(p []byte, fds []int) []byte {
	var list []byte
	for _, fd := range fds {
		list = attribute(list, sockItem|nested, attribute32(nil, sockFD, uint32(fd)))
	}
	return attribute(p, attrSockets|nested, list)
}

// netlink is a socket to the kernel. It is for one goroutine.
type netlink struct {
	fd     int
	seq    uint32
	family uint16 // of nbd
	group  uint32 // of its multicasts
	buf    []byte
}

// dialKernel finds nbd in the kernel. The error is ErrNoNBD where it is not.
func dialKernel() (*netlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("no netlink socket: %w", err)
	}
	n := &netlink{fd: fd, buf: make([]byte, 64<<10)}
	if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err == nil {
		err = n.resolve()
	}
	if err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *netlink) close() { _ = unix.Close(n.fd) }

func (n *netlink) resolve() error {
	name := attribute(nil, unix.CTRL_ATTR_FAMILY_NAME, []byte("nbd\x00"))
	reply, err := n.call(unix.GENL_ID_CTRL, unix.CTRL_CMD_GETFAMILY, name)
	if errors.Is(err, unix.ENOENT) {
		return ErrNoNBD
	}
	if err != nil {
		return fmt.Errorf("asking the kernel for nbd: %w", err)
	}
	attributes(reply, func(kind uint16, v []byte) {
		switch {
		case kind == unix.CTRL_ATTR_FAMILY_ID && len(v) >= 2:
			n.family = order.Uint16(v)
		case kind == unix.CTRL_ATTR_MCAST_GROUPS:
			attributes(v, func(_ uint16, group []byte) {
				attributes(group, func(kind uint16, v []byte) {
					if kind == unix.CTRL_ATTR_MCAST_GRP_ID && len(v) >= 4 {
						n.group = order.Uint32(v) // nbd has one
					}
				})
			})
		}
	})
	if n.family == 0 {
		return ErrNoNBD
	}
	return nil
}

// call sends one request and returns the attributes of the answer, if there was
// one before the acknowledgement.
func (n *netlink) call(family uint16, command uint8, attrs []byte) ([]byte, error) {
	n.seq++
	p := order.AppendUint32(nil, uint32(headers+len(attrs)))
	p = order.AppendUint16(p, family)
	p = order.AppendUint16(p, unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	p = order.AppendUint32(p, n.seq)
	p = order.AppendUint32(p, 0) // the kernel knows whose
	p = append(append(p, command, 1, 0, 0), attrs...)
	if err := unix.Sendto(n.fd, p, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	var reply []byte
	for {
		messages, err := n.receive()
		if err != nil {
			return nil, err
		}
		done, errno := false, unix.Errno(0)
		eachMessage(messages, func(kind uint16, seq uint32, body []byte) {
			switch {
			case seq != n.seq: // a multicast, or of an earlier call
			case kind == unix.NLMSG_ERROR && len(body) >= 4:
				done, errno = true, unix.Errno(-int32(order.Uint32(body)))
			case kind == family && len(body) >= unix.GENL_HDRLEN:
				reply = append([]byte{}, body[unix.GENL_HDRLEN:]...)
			}
		})
		if errno != 0 {
			return nil, errno
		}
		if done {
			return reply, nil
		}
	}
}

func (n *netlink) receive() ([]byte, error) {
	for {
		m, _, err := unix.Recvfrom(n.fd, n.buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		return n.buf[:m], nil
	}
}

// eachMessage calls f with the messages of one datagram.
func eachMessage(p []byte, f func(kind uint16, seq uint32, body []byte)) {
	for len(p) >= unix.NLMSG_HDRLEN {
		size := int(order.Uint32(p))
		if size < unix.NLMSG_HDRLEN || size > len(p) {
			return
		}
		f(order.Uint16(p[4:]), order.Uint32(p[8:]), p[unix.NLMSG_HDRLEN:size])
		p = p[min(len(p), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
}

// join subscribes to LINK_DEAD.
func (n *netlink) join() error {
	return os.NewSyscallError("join nbd_mc_group", unix.SetsockoptInt(n.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(n.group)))
}

// deadLinks waits up to patience and returns how many connections of the device
// died. Where messages may have been lost it returns all.
func (n *netlink) deadLinks(index uint32, patience time.Duration, all int) (dead int, err error) {
	tv := unix.NsecToTimeval(int64(patience))
	if err := unix.SetsockoptTimeval(n.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	messages, err := n.receive()
	switch {
	case errors.Is(err, unix.EAGAIN):
		return 0, nil
	case errors.Is(err, unix.ENOBUFS):
		return all, nil
	case err != nil:
		return 0, err
	}
	eachMessage(messages, func(kind uint16, _ uint32, body []byte) {
		if kind != n.family || len(body) < unix.GENL_HDRLEN || body[0] != cmdLinkDead {
			return
		}
		attributes(body[unix.GENL_HDRLEN:], func(kind uint16, v []byte) {
			if kind == attrIndex && len(v) >= 4 && order.Uint32(v) == index {
				dead++
			}
		})
	})
	return dead, nil
}

// connect makes the device of the sockets; the kernel has its own hold of them.
func (n *netlink) connect(c *Config, e export, fds []int) error {
	p := attribute32(nil, attrIndex, uint32(c.Index))
	p = attribute64(p, attrSize, e.size)
	p = attribute64(p, attrBlockSize, e.blockSize)
	p = attribute64(p, attrTimeout, uint64(c.Timeout/time.Second))
	p = attribute64(p, attrServerFlags, uint64(e.flags))
	p = attribute64(p, attrDeadTimeout, uint64(c.Dead/time.Second))
	_, err := n.call(n.family, cmdConnect, sockets(p, fds))
	return err
}

// replace gives the device a socket for one that died; the kernel ignores it if
// none did. From then on an answer may take as long as timeout.
func (n *netlink) replace(index, fd int, timeout time.Duration) error {
	_, err := n.call(n.family, cmdReconfigure, sockets(reconfiguration(index, timeout), []int{fd}))
	return err
}

// setTimeout changes how long an answer may take.
func (n *netlink) setTimeout(index int, timeout time.Duration) error {
	_, err := n.call(n.family, cmdReconfigure, reconfiguration(index, timeout))
	return err
}

func reconfiguration(index int, timeout time.Duration) []byte {
	return attribute64(attribute32(nil, attrIndex, uint32(index)), attrTimeout, uint64(timeout/time.Second))
}

func (n *netlink) disconnect(index int) error {
	_, err := n.call(n.family, cmdDisconnect, attribute32(nil, attrIndex, uint32(index)))
	return err
}
