package guest

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"goldstream/personalize/sandbox/wire"
)

// errAborted is an input that the host could not read to its end.
var errAborted = errors.New("the input broke off")

// call is one request being carried out.
type call struct {
	op   wire.Op
	args []string
	in   *input
	out  output // standard output
	rows []byte // of a list, not sent yet
}

// problem is an error with a text of its own.
type problem struct {
	errno unix.Errno
	text  string
}

func (p *problem) Error() string { return p.text }
func (p *problem) Unwrap() error { return p.errno }

func failure(errno unix.Errno, format string, args ...any) error {
	return &problem{errno, fmt.Sprintf(format, args...)}
}

// server carries out requests until the line ends.
type server struct {
	l        *line
	commands map[wire.Op]command
}

// command carries out one op and returns the args of its Result.
type command struct {
	args  int  // how many; anyArgs: it checks itself
	input bool // Data follows the request
	run   func(*call) ([]string, error)
}

const anyArgs = -1

func (s *server) serve() error {
	for {
		m, err := s.request()
		if err != nil {
			return err
		}
		if err := s.carryOut(m); err != nil {
			return err
		}
	}
}

// request assembles one message.
func (s *server) request() (wire.Message, error) {
	var b []byte
	for {
		f, err := s.l.receive()
		if err != nil {
			return wire.Message{}, err
		}
		if f.Kind != wire.Request || len(b)+len(f.Payload) > wire.MaxMessage {
			return wire.Message{}, fmt.Errorf("%w: kind %d where a request belongs", wire.ErrProtocol, f.Kind)
		}
		if b = append(b, f.Payload...); f.Flags&wire.Last != 0 {
			return wire.DecodeMessage(b)
		}
	}
}

// carryOut only fails with the line; a command's error is its Result.
func (s *server) carryOut(m wire.Message) error {
	c := &call{op: wire.Op(m.Code), args: m.Args, in: &input{l: s.l}, out: output{l: s.l}}
	command, known := s.commands[c.op]
	if !known {
		return fmt.Errorf("%w: operation %d", wire.ErrProtocol, m.Code)
	}
	if !command.input {
		c.in.err = io.EOF
	}
	var results []string
	err := failure(unix.EINVAL, "%d arguments instead of %d", len(c.args), command.args)
	if command.args == anyArgs || command.args == len(c.args) {
		results, err = command.run(c)
	}
	if err := c.in.drain(); err != nil {
		return err
	}
	return s.l.result(resultOf(results, err))
}

func resultOf(results []string, err error) wire.Message {
	if err == nil {
		return wire.Message{Args: append([]string{""}, results...)}
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		errno = unix.EIO
	}
	text := err.Error()
	const most = 4096 // of a message: it may hold a path
	if len(text) > most {
		text = text[:most]
	}
	return wire.Message{Code: uint16(errno), Args: []string{strings.ToValidUTF8(text, "?")}}
}

func echo(c *call) ([]string, error) {
	_, err := io.Copy(c.out, c.in)
	return c.args, err
}
