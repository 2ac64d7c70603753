package sandbox

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/jail"
	"goldstream/personalize/sandbox/wire"
)

// fakeCell is a cell without a kernel: guest has the other end of its line until
// the jail's process, which only sleeps, ends.
func fakeCell(t *testing.T, guest func(in, out *os.File)) *Cell {
	t.Helper()
	const sleep = "/bin/sleep"
	binds, err := jail.Executables(sleep)
	require.NoError(t, err)
	toGuest, err := openPair()
	require.NoError(t, err)
	fromGuest, err := openPair()
	require.NoError(t, err)
	c := &Cell{link: newLink(toGuest.w), console: &console{}, turn: make(chan struct{}, 1), last: time.Millisecond, done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancelCause(t.Context())
	c.process, err = jail.Start(c.ctx, jail.Spec{Path: sleep, Args: []string{"1000"}, Binds: binds, Profile: jail.Script()})
	require.NoError(t, err)
	c.limit = time.AfterFunc(time.Hour, c.Kill)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		guest(toGuest.r, fromGuest.w)
		<-c.process.Done()
		_, _ = toGuest.r.Close(), fromGuest.w.Close()
	}()
	go c.run(toGuest.w, fromGuest.r)
	t.Cleanup(func() {
		c.Kill()
		_ = c.Wait()
		<-ended
	})
	return c
}

// answer is a result without an error.
func answer(t *testing.T) wire.Frame {
	t.Helper()
	b, err := wire.Message{Args: []string{""}}.Encode()
	require.NoError(t, err)
	return wire.Frame{Kind: wire.Result, Flags: wire.Last, Payload: b}
}

// within has f return before the test's patience ends.
func within(t *testing.T, f func() error) error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- f() }()
	select {
	case err := <-result:
		return err
	case <-patience(t).Done():
		t.Fatal("it does not return")
		return nil
	}
}

// TestFramesAfterTheResult: a guest that sends more than its result, and no Acks,
// ends the call and the cell.
func TestFramesAfterTheResult(t *testing.T) {
	b := answer(t).Append(nil)
	for range 3 {
		b = wire.Frame{Kind: wire.Data, Payload: []byte("more")}.Append(b)
	}
	c := fakeCell(t, func(in, out *os.File) {
		_, _ = wire.ReadFrame(in, wire.MaxToGuest)
		_, _ = out.Write(b)
	})
	err := within(t, func() error {
		return c.Write(t.Context(), "/x", strings.NewReader(strings.Repeat("x", 3*wire.Window)), 0o600)
	})
	require.ErrorIs(t, err, wire.ErrProtocol)
	require.Error(t, within(t, c.Wait))
	require.ErrorIs(t, within(t, func() error { return c.do(t.Context(), wire.OpTouch, "/x") }), errKilled)
}

// TestNoAcks: the end of the caller's context ends a call whose guest answers and
// acknowledges nothing.
func TestNoAcks(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := answer(t).Append(nil)
	c := fakeCell(t, func(in, out *os.File) {
		_, _ = wire.ReadFrame(in, wire.MaxToGuest)
		_, _ = out.Write(b)
		cancel()
	})
	err := within(t, func() error {
		return c.Write(ctx, "/x", strings.NewReader(strings.Repeat("x", 3*wire.Window)), 0o600)
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Error(t, within(t, c.Wait))
}

// TestNoPowerOff: a guest that says it powers off, and does not, is killed.
func TestNoPowerOff(t *testing.T) {
	b := answer(t).Append(nil)
	c := fakeCell(t, func(in, out *os.File) {
		_, _ = wire.ReadFrame(in, wire.MaxToGuest)
		_, _ = out.Write(b)
	})
	err := within(t, func() error { return c.Close(t.Context()) })
	require.ErrorContains(t, err, "did not end in order")
}

// TestTooManyRows: a list is refused before it is taken apart.
func TestTooManyRows(t *testing.T) {
	b := answer(t).Append(nil)
	c := fakeCell(t, func(in, out *os.File) {
		for range 2 {
			_, _ = wire.ReadFrame(in, wire.MaxToGuest)
			_, _ = out.Write(append(wire.Frame{Kind: wire.Data, Payload: make([]byte, 2*mostRows+2)}.Append(nil), b...))
		}
		_, _ = wire.ReadFrame(in, wire.MaxToGuest)
		for range mostRowBytes/wire.MaxFromGuest + 1 {
			_, _ = out.Write(wire.Frame{Kind: wire.Data, Payload: make([]byte, wire.MaxFromGuest)}.Append(nil))
		}
	})
	_, err := c.Devices(t.Context())
	require.ErrorIs(t, err, ErrTooLong)
	require.ErrorContains(t, err, "more than 1024 rows")
	list, err := c.List(t.Context(), "/")
	require.NoError(t, err)
	require.Len(t, list, mostRows+1)
	_, err = c.Filesystems(t.Context())
	require.ErrorIs(t, err, ErrTooLong)
	require.Error(t, within(t, c.Wait))
}

// TestOtherVersion: a guest of another build is told of.
func TestOtherVersion(t *testing.T) {
	c := fakeCell(t, func(_, out *os.File) {
		_, _ = out.Write(wire.Frame{Kind: wire.Hello, Payload: wire.Number(wire.Version + 1)}.Append(nil))
	})
	err := within(t, func() error { return c.awaitBoot(Config{}.withDefaults()) })
	require.ErrorIs(t, err, ErrBoot)
	require.ErrorContains(t, err, "install both from one build")
}

// TestForgedLines: a label has one line, whatever it holds.
func TestForgedLines(t *testing.T) {
	text := "/dev/sda1\x00ext4\x00root\nnote\tforged\r\x1b\x00u\nid\x004096\x00"
	b := wire.Frame{Kind: wire.Data, Payload: []byte(text)}.Append(nil)
	b = answer(t).Append(b)
	c := fakeCell(t, func(in, out *os.File) {
		_, _ = wire.ReadFrame(in, wire.MaxToGuest)
		_, _ = out.Write(b)
	})
	list, err := c.Filesystems(t.Context())
	require.NoError(t, err)
	require.Equal(t, []Filesystem{{Device: "/dev/sda1", Type: "ext4", Label: "root?note?forged??", UUID: "u?id", Size: 4096}}, list)
}
