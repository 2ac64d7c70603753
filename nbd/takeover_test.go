package nbd

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stallingWrites is a device whose writes wait while stall is set.
type stallingWrites struct {
	*memDevice
	stall atomic.Bool
	gate  chan struct{}
}

func (d *stallingWrites) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	if d.stall.Load() {
		select {
		case <-d.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return d.memDevice.WriteAt(ctx, p, off, fua)
}

// Writes that stall on the reader keep neither reads, nor other writes, nor
// the end of the connection waiting.
func TestStalledWriteIsTakenOver(t *testing.T) {
	d := &stallingWrites{memDevice: newMemDevice(1 << 20), gate: make(chan struct{})}
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, false)
	var stalled uint64
	for range 3 {
		// Quick writes until the reader does them itself again.
		d.stall.Store(false)
		for range slowRest + 5 {
			w.send(requestBytes(cmdWrite, 0, 7, 0, 4), []byte("data"))
			require.Zero(t, w.simple(7))
		}
		d.stall.Store(true)
		for range 2 {
			stalled++
			w.send(requestBytes(cmdWrite, 0, 1000, 512, 4), []byte("late"))
			w.send(requestBytes(cmdRead, 0, 8, 0, 4))
			require.Zero(t, w.simple(8))
			require.Equal(t, "data", string(w.read(4)))
		}
		time.Sleep(5 * time.Millisecond) // lets the timer stop and start again
	}
	w.send(requestBytes(cmdDisc, 0, 0, 0, 0))
	time.Sleep(5 * time.Millisecond)
	require.Equal(t, 1, s.InUse("disk"))
	close(d.gate)
	for range stalled {
		require.Zero(t, w.simple(1000))
	}
	w.closed()
	require.Zero(t, s.InUse("disk"))
}

// A stalled write does not keep Fence from cutting the connection.
func TestFenceCutsStalledWrites(t *testing.T) {
	d := &stallingWrites{memDevice: newMemDevice(1 << 20), gate: make(chan struct{})}
	d.stall.Store(true)
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, false)
	w.send(requestBytes(cmdWrite, 0, 1, 0, 4), []byte("late"))
	time.Sleep(time.Millisecond)
	require.NoError(t, s.Fence(short(t), "disk"))
	require.Equal(t, make([]byte, 4), d.p[:4])
}

// A reader that was replaced writes its reply without waiting for the client:
// else nobody would notice that the connection ends.
func TestReplacedReaderDoesNotWaitForTheClient(t *testing.T) {
	d := &stallingWrites{memDevice: newMemDevice(1 << 20), gate: make(chan struct{})}
	d.stall.Store(true)
	s := NewServer(exportMap{"disk": d}, Options{})
	s.finishTimeout = 50 * time.Millisecond
	near, far := net.Pipe() // which holds nothing: every write waits
	s.admit(&listener{}, far)
	defer func() { require.NoError(t, s.Close()) }()
	w := &wire{t, near}
	w.read(greetingSize)
	w.send(be.AppendUint32(nil, 3))
	w.option(optGo, goData("disk"))
	w.expect(optGo, repInfo, repAck)
	w.send(requestBytes(cmdWrite, 0, 1, 0, 4), []byte("late"))
	w.send(requestBytes(cmdDisc, 0, 0, 0, 0)) // taken by another reader
	close(d.gate)
	require.Eventually(t, func() bool { return s.InUse("disk") == 0 }, 10*time.Second, time.Millisecond)
	require.NoError(t, near.Close())
}
