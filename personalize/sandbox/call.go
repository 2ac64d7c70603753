package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"golang.org/x/sync/errgroup"

	"goldstream/personalize/sandbox/wire"
)

// Error is a command that the guest carried out and that failed. It unwraps to
// its errno, so that errors.Is(err, fs.ErrNotExist) works.
type Error struct {
	Op    string
	Args  []string
	Errno syscall.Errno
	Text  string // from the guest: data, not to be trusted
}

func (e *Error) Error() string {
	text := e.Op
	if len(e.Args) > 0 {
		text += " " + e.Args[0]
	}
	return text + ": " + printable(e.Text)
}

func (e *Error) Unwrap() error { return e.Errno }

// request is one call.
type request struct {
	op     wire.Op
	args   []string
	input  io.Reader // Data to the guest; nil: the op takes none
	output io.Writer // standard output; nil: the op has none
	stderr io.Writer // nil: with the output
	limit  int64     // of output bytes, both streams; 0: defaultOutput
}

// defaultOutput bounds what a call keeps in memory.
const defaultOutput = 16 << 20

// ErrTooLong is output over its limit. The cell is killed where the guest would
// not stop by itself.
var ErrTooLong = errors.New("the output is too long")

// call carries out one request. Its error is an *Error, or the cell is dead:
// there is no way back into step with a guest that has broken off.
func (c *Cell) call(ctx context.Context, r request) ([]string, error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	stop := context.AfterFunc(ctx, c.Kill)
	defer stop()
	m, inputErr, err := c.exchange(r)
	<-c.turn // explain waits for run, and run may wait for the turn
	if err != nil {
		if !errors.Is(err, errEnded) {
			c.Kill()
		}
		return nil, c.explain(ctx, r.op, err)
	}
	if inputErr != nil {
		return nil, inputErr
	}
	if m.Code == 0 {
		return m.Args[1:], nil
	}
	return nil, &Error{Op: r.op.String(), Args: r.args, Errno: syscall.Errno(m.Code), Text: m.Args[0]}
}

// exchange sends and receives at the same time, so that neither side can wait
// for the other for ever. A failed input leaves the two in step.
func (c *Cell) exchange(r request) (m wire.Message, inputErr, err error) {
	var both errgroup.Group
	sent := make(chan struct{})
	both.Go(func() (err error) {
		defer close(sent)
		err = c.link.sendMessage(wire.Message{Code: uint16(r.op), Args: r.args})
		if err == nil && r.input != nil {
			inputErr, err = c.sendInput(r.input)
		}
		return err
	})
	var broken error
	both.Go(func() error {
		if m, broken = c.receiveResult(r); broken == nil {
			broken = c.awaitSent(sent)
		}
		if broken != nil && broken != errEnded {
			c.Kill() // lets the other side go
		}
		return broken
	})
	if err = both.Wait(); broken != nil {
		err = broken
	}
	return m, inputErr, err
}

// awaitSent comes after the result, which ends what the guest may send. A frame
// that nobody took would keep its Acks from the sender.
func (c *Cell) awaitSent(sent <-chan struct{}) error {
	select {
	case <-sent:
		return nil
	case <-c.link.ended:
		return nil // the sender knows
	case f := <-c.link.frames:
		return fmt.Errorf("%w: kind %d after the result", wire.ErrProtocol, f.Kind)
	}
}

// sendInput sends until the input ends or fails; err is the link's.
func (c *Cell) sendInput(in io.Reader) (inputErr, err error) {
	buf := make([]byte, wire.MaxToGuest)
	for {
		n, inputErr := io.ReadFull(in, buf)
		f := wire.Frame{Kind: wire.Data, Payload: buf[:n]}
		switch {
		case inputErr == io.EOF || inputErr == io.ErrUnexpectedEOF:
			f.Flags = wire.Last
		case inputErr != nil:
			f.Flags, f.Payload = wire.Last|wire.Abort, nil
		}
		if sendErr := c.link.send(f); sendErr != nil {
			return nil, sendErr
		}
		if f.Flags&wire.Abort != 0 {
			return fmt.Errorf("reading the input: %w", inputErr), nil
		}
		if f.Flags&wire.Last != 0 {
			return nil, nil
		}
	}
}

func (c *Cell) receiveResult(r request) (wire.Message, error) {
	if r.limit == 0 {
		r.limit = defaultOutput
	}
	if r.stderr == nil {
		r.stderr = r.output
	}
	var result []byte
	for {
		var f wire.Frame
		select {
		case f = <-c.link.frames:
		case <-c.link.ended:
			return wire.Message{}, errEnded
		}
		if f.Kind == wire.Data {
			if err := r.take(f); err != nil {
				return wire.Message{}, err
			}
			continue
		}
		if result = append(result, f.Payload...); len(result) > wire.MaxMessage {
			return wire.Message{}, fmt.Errorf("%w: a result of more than %d bytes", wire.ErrProtocol, wire.MaxMessage)
		}
		if f.Flags&wire.Last != 0 {
			return decodeResult(result)
		}
	}
}

func decodeResult(b []byte) (wire.Message, error) {
	m, err := wire.DecodeMessage(b)
	if err == nil && len(m.Args) == 0 {
		err = fmt.Errorf("%w: a result without a text", wire.ErrProtocol)
	}
	return m, err
}

// take passes output on.
func (r *request) take(f wire.Frame) error {
	if r.output == nil {
		return fmt.Errorf("%w: output of %v", wire.ErrProtocol, r.op)
	}
	if r.limit -= int64(len(f.Payload)); r.limit < 0 {
		return ErrTooLong
	}
	out := r.output
	if f.Flags&wire.Stderr != 0 {
		out = r.stderr
	}
	_, err := out.Write(f.Payload)
	return err
}
