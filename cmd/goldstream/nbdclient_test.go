package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
)

// A small NBD client for tests: fixed newstyle, simple replies, any number of
// requests in flight. nbdcopy and the like do not let go of a request's fate
// one by one, which the crash test needs.

const (
	nbdMagic       = 0x4e42444d41474943
	nbdOptMagic    = 0x49484156454f5054
	nbdReplyMagic  = 0x3e889045565a9
	nbdReqMagic    = 0x25609513
	nbdSimpleMagic = 0x67446698

	nbdOptGo    = 7
	nbdRepAck   = 1
	nbdRepInfo  = 3
	nbdRepError = 1 << 31

	nbdRead, nbdWrite, nbdDisc, nbdFlush, nbdTrim, nbdZeroes = 0, 1, 2, 3, 4, 6

	nbdFlagFUA    = 1
	nbdFlagNoHole = 2
)

type nbdConn struct {
	c    net.Conn
	r    *bufio.Reader
	size int64
	done chan struct{} // closed when the reader has ended

	wmu sync.Mutex // held while a request is written

	mu struct {
		sync.Mutex
		cookie  uint64
		waiting map[uint64]*nbdCall
		broken  error
	}
}

type nbdCall struct {
	data []byte // of a read
	err  error
	done chan struct{}
}

func dialNBD(socket, export string) (*nbdConn, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	n := &nbdConn{c: c, r: bufio.NewReaderSize(c, 256<<10), done: make(chan struct{})}
	n.mu.waiting = map[uint64]*nbdCall{}
	if err := n.handshake(export); err != nil {
		c.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	go n.replies()
	return n, nil
}

func (n *nbdConn) handshake(export string) error {
	var hello [18]byte
	if _, err := io.ReadFull(n.r, hello[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(hello[:]) != nbdMagic || binary.BigEndian.Uint64(hello[8:]) != nbdOptMagic {
		return errors.New("no newstyle server")
	}
	out := binary.BigEndian.AppendUint32(nil, 3) // fixed newstyle, no zeroes
	out = binary.BigEndian.AppendUint64(out, nbdOptMagic)
	out = binary.BigEndian.AppendUint32(out, nbdOptGo)
	out = binary.BigEndian.AppendUint32(out, uint32(4+len(export)+2))
	out = binary.BigEndian.AppendUint32(out, uint32(len(export)))
	out = append(out, export...)
	out = append(out, 0, 0)
	if _, err := n.c.Write(out); err != nil {
		return err
	}
	for {
		typ, body, err := n.optionReply()
		switch {
		case err != nil:
			return err
		case typ == nbdRepAck:
			return nil
		case typ&nbdRepError != 0:
			return fmt.Errorf("error %#x: %s", typ, body)
		case typ == nbdRepInfo && len(body) == 12:
			n.size = int64(binary.BigEndian.Uint64(body[2:]))
		}
	}
}

func (n *nbdConn) optionReply() (typ uint32, body []byte, err error) {
	var h [20]byte
	if _, err := io.ReadFull(n.r, h[:]); err != nil {
		return 0, nil, err
	}
	if binary.BigEndian.Uint64(h[:]) != nbdReplyMagic {
		return 0, nil, errors.New("bad option reply")
	}
	body = make([]byte, binary.BigEndian.Uint32(h[16:]))
	_, err = io.ReadFull(n.r, body)
	return binary.BigEndian.Uint32(h[12:]), body, err
}

// do sends one request and waits for its reply. Of a read, p is filled.
// errLost means that no reply came.
func (n *nbdConn) do(cmd, flags uint16, off int64, length int, p []byte) error {
	call := &nbdCall{done: make(chan struct{})}
	if cmd == nbdRead {
		call.data = p
	}
	n.mu.Lock()
	if n.mu.broken != nil {
		n.mu.Unlock()
		return n.mu.broken
	}
	n.mu.cookie++
	cookie := n.mu.cookie
	n.mu.waiting[cookie] = call
	n.mu.Unlock()

	h := binary.BigEndian.AppendUint32(nil, nbdReqMagic)
	h = binary.BigEndian.AppendUint16(h, flags)
	h = binary.BigEndian.AppendUint16(h, cmd)
	h = binary.BigEndian.AppendUint64(h, cookie)
	h = binary.BigEndian.AppendUint64(h, uint64(off))
	h = binary.BigEndian.AppendUint32(h, uint32(length))
	if cmd == nbdWrite {
		h = append(h, p...)
	}
	n.wmu.Lock()
	_, _ = n.c.Write(h) // the reader notices
	n.wmu.Unlock()
	<-call.done
	return call.err
}

// errLost is the error of a request whose reply never came.
var errLost = errors.New("connection lost")

func (n *nbdConn) replies() {
	defer close(n.done)
	for {
		if err := n.reply(); err != nil {
			n.lose()
			return
		}
	}
}

func (n *nbdConn) reply() error {
	var h [16]byte
	if _, err := io.ReadFull(n.r, h[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(h[:]) != nbdSimpleMagic {
		return errors.New("bad reply")
	}
	n.mu.Lock()
	cookie := binary.BigEndian.Uint64(h[8:])
	call := n.mu.waiting[cookie]
	n.mu.Unlock()
	if call == nil {
		return errors.New("reply to nothing")
	}
	if errno := binary.BigEndian.Uint32(h[4:]); errno != 0 {
		call.err = syscall.Errno(errno)
	} else if _, err := io.ReadFull(n.r, call.data); err != nil {
		return err
	}
	n.mu.Lock()
	delete(n.mu.waiting, cookie)
	n.mu.Unlock()
	close(call.done)
	return nil
}

// lose ends every call that waits.
func (n *nbdConn) lose() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.broken = errLost
	for cookie, call := range n.mu.waiting {
		call.err = errLost
		close(call.done)
		delete(n.mu.waiting, cookie)
	}
}

func (n *nbdConn) close() {
	n.c.Close()
	<-n.done
}
