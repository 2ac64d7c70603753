package nbd

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The request loop over a Unix socket with 32 requests in flight. What counts
// is allocs/op: 0 once pools are warm, for the reader's own answers, for
// those of workers, and for writes.
func BenchmarkRequests(b *testing.B) {
	for _, k := range []struct {
		name   string
		kind   uint16
		length uint32
		cached bool
		sr     bool
	}{
		{"ReadInline4K", cmdRead, 4096, true, false},
		{"ReadInlineStructured4K", cmdRead, 4096, true, true},
		{"ReadInline128K", cmdRead, 128 << 10, true, false},
		{"ReadWorker4K", cmdRead, 4096, false, false},
		{"Read1M", cmdRead, 1 << 20, true, false},
		{"Write4K", cmdWrite, 4096, true, false},
		{"Write128K", cmdWrite, 128 << 10, true, false},
	} {
		b.Run(k.name, func(b *testing.B) {
			d := newMemDevice(1 << 20)
			d.cached = k.cached
			_, path, _ := startServer(b, exportMap{"disk": d}, Options{})
			w := ready(b, path, k.sr)
			require.NoError(b, w.SetDeadline(time.Time{}))
			benchRequests(b, w, k.kind, k.length, k.sr)
		})
	}
}

// benchRequests sends batches of 32 requests and reads the replies.
func benchRequests(b *testing.B, w *wire, kind uint16, length uint32, structured bool) {
	const depth = 32
	request := requestBytes(kind, 0, 1, 0, length)
	reply := simpleSize
	if kind == cmdWrite {
		request = append(request, make([]byte, length)...)
	} else if reply += int(length); structured {
		reply += dataChunkSize - simpleSize
	}
	batch, p := bytes.Repeat(request, depth), make([]byte, 256<<10)
	writes := make(chan int, 1)
	go func() {
		for n := range writes {
			_, _ = w.Write(batch[:n*len(request)])
		}
	}()
	defer close(writes)
	b.SetBytes(int64(length))
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= depth {
		n := min(left, depth)
		writes <- n
		for want := n * reply; want > 0; {
			m, err := w.Read(p[:min(want, len(p))])
			if err != nil {
				b.Fatal(err)
			}
			want -= m
		}
	}
}
