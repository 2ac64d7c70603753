package v1

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSparseRoundTrip(t *testing.T) {
	var wire, disk bytes.Buffer
	w := &sparseWriter{w: &wire}
	data := bytes.Repeat([]byte("golden"), 400_000) // more than one piece
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Zero(1<<20))
	require.NoError(t, w.end(int64(len(data))+1<<20))
	size, err := ReadSparse(&wire, NewFlatSink(&disk))
	require.NoError(t, err)
	require.EqualValues(t, len(data)+1<<20, size)
	require.Equal(t, append(data, make([]byte, 1<<20)...), disk.Bytes())
}

func TestSparseRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing":        "",
		"no end":         "Z\x00\x00\x00\x00\x00\x00\x00\x01",
		"half a header":  "Z\x00\x00",
		"half of data":   "D\x00\x00\x00\x00\x00\x00\x00\x04ab",
		"wrong size":     "Z\x00\x00\x00\x00\x00\x00\x00\x01E\x00\x00\x00\x00\x00\x00\x00\x02",
		"unknown kind":   "Q\x00\x00\x00\x00\x00\x00\x00\x01",
		"negative":       "Z\xff\x00\x00\x00\x00\x00\x00\x01",
		"overflow":       "Z\x7f\xff\xff\xff\xff\xff\xff\xffZ\x7f\xff\xff\xff\xff\xff\xff\xff",
		"huge error":     "X\x7f\xff\xff\xff\xff\xff\xff\xff",
		"error no JSON":  "X\x00\x00\x00\x00\x00\x00\x00\x01?",
		"half an error":  "X\x00\x00\x00\x00\x00\x00\x00\x09{",
		"data after end": "D\x00\x00\x00\x00\x00\x00\x00\x00E\x00\x00\x00\x00\x00\x00\x00\x09",
	} {
		_, err := ReadSparse(bytes.NewReader([]byte(in)), countSink{})
		require.Error(t, err, name)
	}
	_, err := ReadSparse(bytes.NewReader(nil), countSink{})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestSparseCarriesError(t *testing.T) {
	var wire bytes.Buffer
	w := &sparseWriter{w: &wire}
	require.NoError(t, w.fail(&Error{Code: CodeDamaged, Message: "bad block"}))
	_, err := ReadSparse(&wire, countSink{})
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, Error{Code: CodeDamaged, Message: "bad block"}, *e)
}

// countSink takes everything and keeps nothing.
type countSink struct{}

func (countSink) Write(p []byte) (int, error) { return len(p), nil }
func (countSink) Zero(int64) error            { return nil }

func FuzzReadSparse(f *testing.F) {
	f.Add([]byte("D\x00\x00\x00\x00\x00\x00\x00\x02abZ\x00\x00\x00\x00\x00\x00\x00\x02E\x00\x00\x00\x00\x00\x00\x00\x04"))
	f.Add([]byte("X\x00\x00\x00\x00\x00\x00\x00\x02{}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		size, err := ReadSparse(bytes.NewReader(in), countSink{})
		if err == nil && size < 0 {
			t.Fatalf("size %d", size)
		}
	})
}
