package wire

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFrameRoundTrip(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, MaxToGuest, MaxFromGuest} {
		f := Frame{Kind: Data, Flags: Last | Stderr, Payload: bytes.Repeat([]byte{0xa5}, size)}
		line := f.Append(nil)
		require.Len(t, line, f.Size())
		got, err := ReadFrame(bytes.NewReader(line), MaxFromGuest)
		require.NoError(t, err)
		require.Equal(t, f, got)
	}
	require.LessOrEqual(t, 3*(headerSize+MaxToGuest), Window)
}

// Every bit counts: one that flips on the way is noticed, or the frame wants
// more bytes than there are.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	line := Frame{Kind: Data, Payload: []byte("payload")}.Append(nil)
	for bit := range len(line) * 8 {
		damaged := bytes.Clone(line)
		damaged[bit/8] ^= 1 << (bit % 8)
		_, err := ReadFrame(bytes.NewReader(damaged), MaxFromGuest)
		require.Error(t, err, "bit %d", bit)
	}
}

func TestReadFrameRefuses(t *testing.T) {
	t.Parallel()
	long := Frame{Kind: Data, Payload: make([]byte, 101)}.Append(nil)
	_, err := ReadFrame(bytes.NewReader(long), 100)
	require.ErrorIs(t, err, ErrProtocol)
	_, err = ReadFrame(bytes.NewReader(Frame{Kind: 77}.Append(nil)), 100)
	require.ErrorIs(t, err, ErrProtocol)
	_, err = ReadFrame(bytes.NewReader(long[:50]), 200)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = ReadFrame(bytes.NewReader(nil), 200)
	require.ErrorIs(t, err, io.EOF)
}

func TestMessageRoundTrip(t *testing.T) {
	t.Parallel()
	for _, m := range []Message{{Code: 7}, {Code: 65535, Args: []string{"", "a", strings.Repeat("b", 60000)}}} {
		b, err := m.Encode()
		require.NoError(t, err)
		got, err := DecodeMessage(b)
		require.NoError(t, err)
		require.Equal(t, m, got)
	}
}

func TestMessageLimits(t *testing.T) {
	t.Parallel()
	_, err := Message{Args: make([]string, MaxArgs+1)}.Encode()
	require.ErrorContains(t, err, "too many")
	_, err = Message{Args: []string{strings.Repeat("b", MaxMessage)}}.Encode()
	require.ErrorContains(t, err, "too long")
	for _, b := range []string{"", "\x00\x00\x01\x00", "\x00\x00\xff\xff", "\x00\x00\x01\x00\xff\xff\xff\xff", "\x00\x00\x00\x00x"} {
		_, err := DecodeMessage([]byte(b))
		require.ErrorIs(t, err, ErrProtocol, "%q", b)
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add([]byte("\x01\x00\x01\x00\x01\x00\x00\x00x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			return
		}
		again, err := m.Encode()
		require.NoError(t, err)
		require.Equal(t, b, again)
	})
}

func FuzzReadFrame(f *testing.F) {
	f.Add(Frame{Kind: Data, Payload: []byte("x")}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := ReadFrame(bytes.NewReader(b), MaxFromGuest); err == nil {
			require.Equal(t, b[:g.Size()], g.Append(nil))
		}
	})
}
