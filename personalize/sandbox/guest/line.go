package guest

import (
	"bufio"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"goldstream/personalize/sandbox/wire"
)

// line is the guest's end of the serial line.
type line struct {
	in  io.Reader
	out io.Writer
	r   *bufio.Reader // of itself, so that Acks count what has left the terminal

	read, acked uint64 // by the one reader

	mu  sync.Mutex // for out and buf
	buf []byte
}

func newLine(in io.Reader, out io.Writer) *line {
	l := &line{in: in, out: out}
	l.r = bufio.NewReaderSize(ackingReader{l}, wire.Window)
	return l
}

// descriptor is a file without Go's poller, which has no use for a terminal.
type descriptor int

func (d descriptor) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(d), b)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (d descriptor) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Write(int(d), b[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// openLine opens the terminal raw: every byte passes as it is.
func openLine(name string) (*line, error) {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD | unix.CLOCAL
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return newLine(descriptor(fd), descriptor(fd)), nil
}

type ackingReader struct{ l *line }

func (a ackingReader) Read(b []byte) (int, error) {
	n, err := a.l.in.Read(b)
	a.l.read += uint64(n)
	// A frame's worth may stay unacknowledged: the window leaves room for one.
	if a.l.read-a.l.acked > wire.MaxToGuest {
		a.l.acked = a.l.read
		if err := a.l.send(wire.Ack, 0, wire.Number(a.l.read)); err != nil {
			return n, err
		}
	}
	return n, err
}

func (l *line) receive() (wire.Frame, error) { return wire.ReadFrame(l.r, wire.MaxToGuest) }

func (l *line) send(kind wire.Kind, flags byte, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = wire.Frame{Kind: kind, Flags: flags, Payload: payload}.Append(l.buf[:0])
	_, err := l.out.Write(l.buf)
	return err
}

// result ends a call.
func (l *line) result(m wire.Message) error {
	b, err := m.Encode()
	if err != nil {
		b, err = wire.Message{Code: uint16(unix.E2BIG), Args: []string{err.Error()}}.Encode()
	}
	if err != nil {
		return err
	}
	for len(b) > wire.MaxFromGuest {
		if err := l.send(wire.Result, 0, b[:wire.MaxFromGuest]); err != nil {
			return err
		}
		b = b[wire.MaxFromGuest:]
	}
	return l.send(wire.Result, wire.Last, b)
}

// output is a stream of Data to the host.
type output struct {
	l     *line
	flags byte
}

func (o output) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		n := min(len(b)-done, wire.MaxFromGuest)
		if err := o.l.send(wire.Data, o.flags, b[done:done+n]); err != nil {
			return done, err
		}
		done += n
	}
	return len(b), nil
}

// input is the stream of Data that belongs to a call.
type input struct {
	l    *line
	rest []byte
	err  error // io.EOF at its end, else why the host gave it up
}

func (in *input) Read(b []byte) (int, error) {
	for len(in.rest) == 0 {
		if in.err != nil {
			return 0, in.err
		}
		in.next()
	}
	n := copy(b, in.rest)
	in.rest = in.rest[n:]
	return n, nil
}

func (in *input) next() {
	f, err := in.l.receive()
	switch {
	case err != nil:
		in.err = err
	case f.Kind != wire.Data:
		in.err = wire.ErrProtocol
	case f.Flags&wire.Abort != 0:
		in.err = errAborted
	default:
		in.rest = f.Payload
		if f.Flags&wire.Last != 0 {
			in.err = io.EOF
		}
	}
}

// drain reads what the command left.
func (in *input) drain() error {
	for in.err == nil {
		in.next()
	}
	in.rest = nil
	if in.err == io.EOF || in.err == errAborted {
		return nil
	}
	return in.err
}
