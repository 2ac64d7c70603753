package nbd

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// splicingDevice has its data in a file too, from which it splices.
type splicingDevice struct {
	*memDevice
	f    *os.File
	most int64 // it moves no more than this
}

func newSplicingDevice(t *testing.T) *splicingDevice {
	d := newMemDevice(4 << 20)
	for i := range d.p {
		d.p[i] = byte(i * 2654435761 >> 13)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	_, err = f.Write(d.p)
	require.NoError(t, err)
	return &splicingDevice{d, f, 1 << 30}
}

func (d *splicingDevice) TrySplice(pipe int, length, off int64) (moved int64, ok bool) {
	for moved < min(length, d.most) {
		n, err := unix.Splice(int(d.f.Fd()), &off, pipe, nil, int(min(length, d.most)-moved), unix.SPLICE_F_NONBLOCK)
		if err != nil {
			return moved, false
		}
		moved += n
	}
	return moved, moved == length
}

// anyRead reads a good reply to a READ, whichever comes; length tells how long
// each is.
func (w *wire) anyRead(structured bool, length func(cookie uint64) int) (cookie uint64, data []byte) {
	w.t.Helper()
	if !structured {
		h := w.read(simpleSize)
		require.Equal(w.t, uint32(magicSimple), be.Uint32(h))
		require.Zero(w.t, be.Uint32(h[4:]))
		cookie = be.Uint64(h[8:])
		return cookie, w.read(length(cookie))
	}
	h := w.read(chunkSize)
	require.Equal(w.t, uint32(magicChunk), be.Uint32(h))
	require.EqualValues(w.t, chunkOffsetData, be.Uint16(h[6:]))
	return be.Uint64(h[8:]), w.read(int(be.Uint32(h[16:])))[8:]
}

// pipesAtRest tells that no reply has a pipe.
func pipesAtRest(s *Server) bool { return len(s.pipes.free)+len(s.pipes.left) == maxPipes }

// TestLongReadsAreSpliced: many more than there are pipes, before the client
// takes the first reply.
func TestLongReadsAreSpliced(t *testing.T) {
	d := newSplicingDevice(t)
	s, path, addr := startServer(t, exportMap{"disk": d}, Options{})
	for _, address := range []string{path, addr} {
		for _, structured := range []bool{false, true} {
			w := ready(t, address, structured)
			sizes := []int{minSplice, minSplice - 1, maxInline, maxInline + 1, 128 << 10, 1, 100_001}
			type read struct{ off, n int }
			var reads []read
			for i := range 60 {
				r := read{i * 12345, sizes[i%len(sizes)]}
				reads = append(reads, r)
				w.send(requestBytes(cmdRead, 0, uint64(i), uint64(r.off), uint32(r.n)))
			}
			for range reads {
				cookie, data := w.anyRead(structured, func(cookie uint64) int { return reads[cookie].n })
				r := reads[cookie]
				require.True(t, string(d.p[r.off:r.off+r.n]) == string(data), "%s, structured %v: read of %d at %d", address, structured, r.n, r.off)
			}
			require.NoError(t, w.Close())
		}
	}
	require.NotEmpty(t, s.pipes.free, "some were used")
	require.Eventually(t, func() bool { return pipesAtRest(s) }, 30*time.Second, time.Millisecond)
}

// TestASpliceThatFailsHalfWay is answered by a copy, and its pipe is not used again.
func TestASpliceThatFailsHalfWay(t *testing.T) {
	d := newSplicingDevice(t)
	d.most = 50_000
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, true)
	for i := range uint64(3 * maxPipes) {
		w.send(requestBytes(cmdRead, 0, i, i, 128<<10))
		_, kind, payload := w.chunk(i)
		require.EqualValues(t, chunkOffsetData, kind)
		require.True(t, string(d.p[i:i+128<<10]) == string(payload[8:]))
	}
	require.Empty(t, s.pipes.free)
	require.Len(t, s.pipes.left, maxPipes)
}

// TestAClientThatGoesLeavesNoPipe behind.
func TestAClientThatGoesLeavesNoPipe(t *testing.T) {
	d := newSplicingDevice(t)
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, true)
	for i := range uint64(64) {
		w.send(requestBytes(cmdRead, 0, i, 0, maxInline))
	}
	require.Eventually(t, func() bool { return len(s.pipes.left) < maxPipes }, 30*time.Second, time.Millisecond)
	w.read(100_000) // it stops in the middle of one
	require.NoError(t, w.Close())
	require.Eventually(t, func() bool { return pipesAtRest(s) }, 30*time.Second, time.Millisecond)
}
