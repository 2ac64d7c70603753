package nbd

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type onStallKey struct{}

// onStall is how fullDevice is told of the hook.
func onStall(ctx context.Context, stalled func() (context.Context, func())) context.Context {
	return context.WithValue(ctx, onStallKey{}, stalled)
}

// fullDevice has room for writes below full; others stall until there is more.
// It cannot read from memory.
type fullDevice struct {
	*memDevice
	full    int64
	stalled atomic.Int64
	room    chan struct{} // closed when there is room
}

func newFullDevice(size int, full int64) *fullDevice {
	d := &fullDevice{memDevice: newMemDevice(size), full: full, room: make(chan struct{})}
	d.cached = false
	return d
}

func (d *fullDevice) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	if off >= d.full {
		if err := d.await(ctx); err != nil {
			return err
		}
	}
	return d.memDevice.WriteAt(ctx, p, off, fua)
}

func (d *fullDevice) WriteZeroes(ctx context.Context, off, n int64, noHole, fua bool) error {
	if off >= d.full {
		if err := d.await(ctx); err != nil {
			return err
		}
	}
	return d.memDevice.WriteZeroes(ctx, off, n, noHole, fua)
}

func (d *fullDevice) await(ctx context.Context) error {
	wait, resume := ctx.Value(onStallKey{}).(func() (context.Context, func()))()
	defer resume()
	d.stalled.Add(1)
	defer d.stalled.Add(-1)
	select {
	case <-d.room:
		return nil
	case <-wait.Done():
		return context.Cause(wait)
	}
}

// stalls waits until n writes stall.
func (d *fullDevice) stalls(t *testing.T, n int64) {
	t.Helper()
	require.Eventually(t, func() bool { return d.stalled.Load() == n }, 20*time.Second, time.Millisecond)
}

// write sends a WRITE of 4 KiB of one byte.
func (w *wire) write(cookie, off uint64, flags uint16, b byte) {
	w.t.Helper()
	w.send(requestBytes(cmdWrite, flags, cookie, off, 4096), bytes.Repeat([]byte{b}, 4096))
}

// serves requires that the connection reads, flushes and writes below full.
func (w *wire) serves(cookie uint64) {
	w.t.Helper()
	w.write(cookie, 0, cmdFlagFUA, 'o')
	require.Zero(w.t, w.simple(cookie))
	w.send(requestBytes(cmdRead, 0, cookie, 0, 1))
	require.Zero(w.t, w.simple(cookie))
	require.Equal(w.t, "o", string(w.read(1)))
	w.send(requestBytes(cmdTrim, 0, cookie, 4096, 4096))
	require.Zero(w.t, w.simple(cookie))
	w.send(requestBytes(cmdFlush, 0, cookie, 0, 0))
	require.Zero(w.t, w.simple(cookie))
}

// TestStalledWritesHoldUpNobody: neither on their connection nor on others,
// however few slots and workers there are; and each is answered in the end.
func TestStalledWritesHoldUpNobody(t *testing.T) {
	const n = 60
	d := newFullDevice(64<<20, 32<<20)
	_, path, _ := startServer(t, openExport{Device: d}, Options{IOWorkers: 2, ConnectionWorkers: 2, OnStall: onStall})
	w, other := ready(t, path, false), ready(t, path, false)
	for i := range uint64(n) {
		switch i % 3 {
		case 0: // as often as not on the reader
			w.write(i, 32<<20+i*4096, 0, byte(i))
		case 1: // on a worker
			w.write(i, 32<<20+i*4096, cmdFlagFUA, byte(i))
		case 2: // on a long slot
			w.send(requestBytes(cmdWriteZeroes, 0, i, 32<<20+i*4096, 4096))
		}
	}
	d.stalls(t, n)
	w.serves(1000)
	other.serves(1001)

	close(d.room)
	answered := map[uint64]bool{}
	for range n {
		h := w.read(simpleSize)
		require.Zero(t, be.Uint32(h[4:]))
		answered[be.Uint64(h[8:])] = true
	}
	require.Len(t, answered, n)
	w.serves(1000)
	other.serves(1001)
}

// TestShutdownEndsStalls: at once, and without a word about those writes.
func TestShutdownEndsStalls(t *testing.T) {
	d := newFullDevice(64<<20, 32<<20)
	s, path, _ := startServer(t, openExport{Device: d}, Options{OnStall: onStall, MaxInFlight: 8})
	for _, flags := range []uint16{0, cmdFlagFUA} {
		w := ready(t, path, false)
		before := d.stalled.Load()
		for i := range uint64(8) { // all that may be in flight: the reader waits
			w.write(i, 32<<20+i*4096, flags, 'x')
		}
		d.stalls(t, before+8)
		w.write(99, 40<<20, flags, 'x')
		defer w.closed()
	}
	require.NoError(t, s.Shutdown(short(t)))
	require.EqualValues(t, 2, d.closes.Load())
	require.Zero(t, s.budget.held())
	require.True(t, isZero(d.p[32<<20:]))
}

func isZero(p []byte) bool { return bytes.Count(p, []byte{0}) == len(p) }

// TestALeavingClientsStallsEnd: its next connection need not wait for them.
func TestALeavingClientsStallsEnd(t *testing.T) {
	d := newFullDevice(64<<20, 32<<20)
	_, path, _ := startServer(t, openExport{Device: d}, Options{OnStall: onStall, MaxInFlight: 8})
	for _, n := range []int64{1, 8} { // the reader waits for the client; or for a place
		w := ready(t, path, false)
		for i := range uint64(n) {
			w.write(i, 32<<20+i*4096, 0, 'x')
		}
		d.stalls(t, n)
		if n == 8 {
			w.write(99, 40<<20, 0, 'x')
		}
		require.NoError(t, w.Close())
		w = ready(t, path, false)
		require.Zero(t, d.stalled.Load())
		w.serves(5)
	}
	require.True(t, isZero(d.p[32<<20:]))
}

// TestStallsLeaveHalfTheMemory: many clients with stalled writes do not keep
// others from theirs.
func TestStallsLeaveHalfTheMemory(t *testing.T) {
	const piece = 1 << 20
	d := newFullDevice(128<<20, 32<<20)
	s, path, _ := startServer(t, openExport{Device: d}, Options{OnStall: onStall, MaxBytes: 32 << 20})
	var all []*wire
	for range 4 {
		w := ready(t, path, false)
		all = append(all, w)
		w.send(requestBytes(cmdWrite, 0, 1, 32<<20, piece), make([]byte, piece))
	}
	d.stalls(t, 4)
	sent := make(chan error, len(all))
	for _, w := range all {
		go func() { // more than there is memory for: sending blocks
			for i := range uint64(16) {
				if _, err := w.Write(append(requestBytes(cmdWrite, 0, 2+i, 33<<20+i*piece, piece), make([]byte, piece)...)); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
	}
	require.Eventually(t, func() bool { return s.budget.held() > 16<<20 }, 20*time.Second, time.Millisecond)
	w := ready(t, path, false)
	for range 10 {
		w.send(requestBytes(cmdWrite, 0, 7, 0, 8*piece), make([]byte, 8*piece))
		require.Zero(t, w.simple(7))
	}
	require.Eventually(t, func() bool { // the last reply may still be on its way out of the books
		return s.budget.held() <= int64(16<<20+len(all)*piece)
	}, 20*time.Second, time.Millisecond)
	close(d.room)
	for _, w := range all {
		for range 17 {
			require.Zero(t, be.Uint32(w.read(simpleSize)[4:]))
		}
	}
	for range all {
		require.NoError(t, <-sent)
	}
}
