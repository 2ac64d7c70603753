package sandbox

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"goldstream/personalize/sandbox/wire"
)

// link is the host's end of the serial line. One goroutine reads (receive), one
// call at a time writes.
type link struct {
	out io.Writer

	frames chan wire.Frame // Data and Result of the open call
	hello  chan struct{}   // closed by the guest's Hello
	disk   chan struct{}   // closed when the disk is there
	ended  chan struct{}   // closed with receive

	mu          sync.Mutex
	room        sync.Cond // for mu: acked or err changed
	sent, acked uint64    // bytes
	readOnly    bool      // what the disk shall be
	err         error     // why the link ended
}

func newLink(out io.Writer) *link {
	l := &link{
		out: out, frames: make(chan wire.Frame),
		hello: make(chan struct{}), disk: make(chan struct{}), ended: make(chan struct{}),
	}
	l.room.L = &l.mu
	return l
}

// receive reads until the line ends or the guest breaks the protocol, which it
// returns. It stands still while a call does not take its frames: that holds the
// guest back. stop ends that.
func (l *link) receive(in io.Reader, stop <-chan struct{}) error {
	err := l.receiveAll(in, stop)
	l.end(err)
	close(l.ended)
	return err
}

// end lets a sender go that waits for Acks. The first cause stays.
func (l *link) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	l.room.Broadcast()
}

func (l *link) receiveAll(in io.Reader, stop <-chan struct{}) error {
	for {
		f, err := wire.ReadFrame(in, wire.MaxFromGuest)
		if err != nil {
			return err
		}
		switch f.Kind {
		case wire.Hello:
			err = l.greeted(f)
		case wire.Ack:
			err = l.acknowledge(f)
		case wire.Disk:
			err = l.showed(f)
		case wire.Data, wire.Result:
			select {
			case l.frames <- f:
			case <-stop:
				return io.EOF
			}
		default:
			err = fmt.Errorf("%w: it sent kind %d", wire.ErrProtocol, f.Kind)
		}
		if err != nil {
			return err
		}
	}
}

func (l *link) greeted(f wire.Frame) error {
	version, err := wire.ParseNumber(f.Payload)
	if err != nil {
		return err
	}
	if version != wire.Version {
		return fmt.Errorf("%w: the tool root's goldstream-guest speaks version %d and this program version %d: install both from one build, then run 'goldstream sandbox prepare'", wire.ErrProtocol, version, wire.Version)
	}
	return once(l.hello, "hello")
}

// expect says what the disk shall be; it comes before the disk.
func (l *link) expect(readOnly bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readOnly = readOnly
}

func (l *link) showed(f wire.Frame) error {
	readOnly, err := wire.ParseNumber(f.Payload)
	if err != nil {
		return err
	}
	l.mu.Lock()
	wanted := l.readOnly
	l.mu.Unlock()
	if readOnly != 0 && !wanted {
		return errReadOnly
	}
	return once(l.disk, "disk")
}

// errReadOnly is a kernel that could not open the disk to write, and went on.
var errReadOnly = errors.New("the sandbox's kernel may not write to the disk: check the owner and the mode of its file")

// once closes c; only receive does.
func once(c chan struct{}, what string) error {
	select {
	case <-c:
		return fmt.Errorf("%w: a second %s", wire.ErrProtocol, what)
	default:
		close(c)
		return nil
	}
}

func (l *link) acknowledge(f wire.Frame) error {
	n, err := wire.ParseNumber(f.Payload)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < l.acked || n > l.sent {
		return fmt.Errorf("%w: it acknowledged %d bytes, of %d that were sent", wire.ErrProtocol, n, l.sent)
	}
	l.acked = n
	l.room.Broadcast()
	return nil
}

// send waits until the frame fits into the window.
func (l *link) send(f wire.Frame) error {
	l.mu.Lock()
	for l.err == nil && l.sent+uint64(f.Size()) > l.acked+wire.Window {
		l.room.Wait()
	}
	err := l.err
	if err == nil {
		l.sent += uint64(f.Size()) // before the guest can acknowledge it
	}
	l.mu.Unlock()
	if err != nil {
		return errors.Join(errEnded, err)
	}
	_, err = l.out.Write(f.Append(nil))
	return err
}

// errEnded is a call on a link that has ended; the cell knows why.
var errEnded = errors.New("the cell has ended")

// sendMessage sends a request.
func (l *link) sendMessage(m wire.Message) error {
	b, err := m.Encode()
	if err != nil {
		return err
	}
	for len(b) > wire.MaxToGuest {
		if err := l.send(wire.Frame{Kind: wire.Request, Payload: b[:wire.MaxToGuest]}); err != nil {
			return err
		}
		b = b[wire.MaxToGuest:]
	}
	return l.send(wire.Frame{Kind: wire.Request, Flags: wire.Last, Payload: b})
}
