package attach

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The handshake, by which the server and this program agree on the export
// before the kernel gets the socket. proto: Fixed newstyle negotiation.

const (
	handshakeTimeout = 15 * time.Second
	magicGreeting    = 0x4e42444d41474943 // NBDMAGIC
	magicOption      = 0x49484156454f5054 // IHAVEOPT
	magicReply       = 0x0003e889045565a9
	optGo            = 7
	repAck           = 1
	repInfo          = 3
	repError         = 1 << 31
	repTLSRequired   = repError + 5
	infoExport       = 0
	infoBlockSize    = 3
	maxReply         = 64 << 10
	flagReadOnly     = 1 << 1
	flagMultiConn    = 1 << 8
)

var be = binary.BigEndian

// export is what the server says of it.
type export struct {
	size      uint64 // bytes
	flags     uint16 // transmission flags
	blockSize uint64 // bytes, 512 to 4096
}

// refusal is the server's word: to ask again may not help.
type refusal struct{ msg string }

func (r *refusal) Error() string { return "the server refuses: " + r.msg }

// open connects and picks the export. From then on the server is known by its
// address: to look a name up needs files that may be on the disk itself.
func open(ctx context.Context, c *Config) (*os.File, export, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, c.Network, c.Address)
	if err != nil {
		return nil, export{}, err
	}
	defer nc.Close() // File is a duplicate
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	e, err := negotiate(nc, c.Export)
	if err != nil {
		return nil, e, fmt.Errorf("export %q at %s: %w", c.Export, c.Address, err)
	}
	if c.Network == "tcp" {
		c.Address = nc.RemoteAddr().String()
	}
	f, err := nc.(interface{ File() (*os.File, error) }).File()
	if err == nil {
		tune(int(f.Fd()))
	}
	return f, e, err
}

// tune finds out about a server that is gone without a word: 11 s after its
// last sign of life, or 30 s after data that it does not take.
func tune(fd int) {
	for _, o := range [][3]int{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 5}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 30000},
	} {
		_ = unix.SetsockoptInt(fd, o[0], o[1], o[2]) // a Unix socket has none of TCP's
	}
}

// negotiate does the handshake up to transmission.
func negotiate(nc io.ReadWriter, name string) (export, error) {
	var g [18]byte
	if _, err := io.ReadFull(nc, g[:]); err != nil {
		return export{}, fmt.Errorf("no greeting: %w", err)
	}
	if be.Uint64(g[:]) != magicGreeting || be.Uint64(g[8:]) != magicOption || g[17]&1 == 0 {
		return export{}, errors.New("this is no NBD server that speaks fixed newstyle")
	}
	p := be.AppendUint32(nil, uint32(g[17]&3)) // what both can: fixed newstyle, no zeroes
	p = be.AppendUint64(p, magicOption)
	p = be.AppendUint32(p, optGo)
	p = be.AppendUint32(p, uint32(4+len(name)+4))
	p = append(be.AppendUint32(p, uint32(len(name))), name...)
	p = be.AppendUint16(be.AppendUint16(p, 1), infoBlockSize)
	if _, err := nc.Write(p); err != nil {
		return export{}, err
	}
	return answers(nc)
}

// answers reads the replies to GO.
func answers(r io.Reader) (export, error) {
	e, known := export{blockSize: 512}, false
	for {
		kind, data, err := answer(r)
		switch {
		case err != nil:
			return e, err
		case kind == repAck && !known:
			return e, errors.New("the server does not tell the size")
		case kind == repAck:
			return e, nil
		case kind == repTLSRequired:
			return e, &refusal{"it wants TLS, which the kernel's NBD client cannot: use a listener without, on a network of the servers alone"}
		case kind&repError != 0:
			return e, &refusal{fmt.Sprintf("%s (error %d)", data, kind&^repError)}
		case kind == repInfo && len(data) >= 12 && be.Uint16(data) == infoExport:
			e.size, e.flags, known = be.Uint64(data[2:]), be.Uint16(data[10:]), true
		case kind == repInfo && len(data) >= 6 && be.Uint16(data) == infoBlockSize:
			e.blockSize = min(max(512, uint64(be.Uint32(data[2:]))), 4096)
		}
	}
}

func answer(r io.Reader) (kind uint32, data []byte, err error) {
	var h [20]byte
	if _, err = io.ReadFull(r, h[:]); err != nil {
		return 0, nil, fmt.Errorf("the server closed the connection: %w", err)
	}
	n := be.Uint32(h[16:])
	if be.Uint64(h[:]) != magicReply || be.Uint32(h[8:]) != optGo || n > maxReply {
		return 0, nil, errors.New("the server's answer is damaged")
	}
	data = make([]byte, n)
	_, err = io.ReadFull(r, data)
	return be.Uint32(h[12:]), data, err
}
