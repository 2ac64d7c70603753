package nbd

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// openExport has one device and a hook in Open.
type openExport struct {
	Device
	open func()
}

func (o openExport) Open(context.Context, string) (Device, error) {
	if o.open != nil {
		o.open()
	}
	return o.Device, nil
}

func (o openExport) List(context.Context) ([]ExportInfo, error) { return nil, nil }

// stallingDevice holds writes from 1 MiB on until it is released.
type stallingDevice struct {
	*memDevice
	release chan struct{}
}

func (d *stallingDevice) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	if off >= 1<<20 {
		d.running.Add(1)
		<-d.release
		d.running.Add(-1)
	}
	return d.memDevice.WriteAt(ctx, p, off, fua)
}

// stalls waits until a write is held: one that still has to wait for a worker
// is not done when its client leaves.
func (d *stallingDevice) stalls(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return d.running.Load() > 0 }, 30*time.Second, time.Millisecond)
}

// TestALeavingClientsWritesComeFirst: a kernel client whose request timer fires
// closes the socket and sends everything again on a new one. What the old
// connection still holds must not land after what the new one was told is
// written (design section 0, fact 9).
func TestALeavingClientsWritesComeFirst(t *testing.T) {
	d := &stallingDevice{newMemDevice(64 << 20), make(chan struct{})}
	_, path, _ := startServer(t, openExport{Device: d}, Options{})
	old := ready(t, path, false)
	for i := range 32 { // all of the connection's workers
		old.send(requestBytes(cmdWrite, cmdFlagFUA, uint64(i), 1<<20+uint64(i)*4096, 4096), bytes.Repeat([]byte("x"), 4096))
	}
	old.send(requestBytes(cmdWrite, cmdFlagFUA, 99, 0, 4096), bytes.Repeat([]byte("A"), 4096)) // waits for a worker
	time.Sleep(100 * time.Millisecond)
	require.NoError(t, old.Close())
	time.AfterFunc(300*time.Millisecond, func() { close(d.release) })
	w := ready(t, path, false)
	w.send(requestBytes(cmdWrite, cmdFlagFUA, 100, 0, 4096), bytes.Repeat([]byte("B"), 4096))
	require.Zero(t, w.simple(100))
	time.Sleep(300 * time.Millisecond)
	w.send(requestBytes(cmdRead, 0, 102, 0, 1))
	require.Zero(t, w.simple(102))
	require.Equal(t, "B", string(w.read(1)))
}

// TestNothingOldIsDoneAfterAResend: a client with several connections closes
// one and sends again on another that is already open. What the closed one had
// in line is not done any more.
func TestNothingOldIsDoneAfterAResend(t *testing.T) {
	d := &stallingDevice{newMemDevice(2 << 20), make(chan struct{})}
	s, path, _ := startServer(t, openExport{Device: d}, Options{ConnectionWorkers: 2})
	a, b := ready(t, path, false), ready(t, path, false)
	for i := range uint64(2) { // both workers
		a.send(requestBytes(cmdWrite, cmdFlagFUA, i, 1<<20, 512), make([]byte, 512))
	}
	a.send(requestBytes(cmdWrite, cmdFlagFUA, 9, 0, 1), []byte("A")) // in line
	a.send(requestBytes(cmdWriteZeroes, cmdFlagFUA, 9, 1, 1))        // in line
	a.send(requestBytes(cmdRead, 0, 9, 0, 1))                        // the reader's
	require.Zero(t, a.simple(9), "all before was read")
	a.read(1)
	require.NoError(t, a.Close())
	for i, text := range []string{"A", "BB"} {
		b.send(requestBytes(cmdWrite, 0, uint64(i), 0, uint32(len(text))), []byte(text))
		require.Zero(t, b.simple(uint64(i)))
	}
	close(d.release)
	require.Eventually(t, func() bool { return s.InUse("disk") == 1 && s.budget.held() == 0 }, 10*time.Second, time.Millisecond)
	require.Equal(t, "BB", d.text(0, 2))
}

// TestAFullReaderDoesNothingOld: the reader had to wait for room, and what it
// then finds in the socket comes from a client that has left.
func TestAFullReaderDoesNothingOld(t *testing.T) {
	d := &stallingDevice{newMemDevice(2 << 20), make(chan struct{})}
	s, path, _ := startServer(t, openExport{Device: d}, Options{MaxInFlight: 1})
	a, b := ready(t, path, false), ready(t, path, false)
	a.send(requestBytes(cmdWrite, cmdFlagFUA, 1, 1<<20, 1), []byte("x"))
	a.send(requestBytes(cmdWrite, 0, 2, 0, 1), []byte("A"))
	time.Sleep(10 * time.Millisecond)
	require.NoError(t, a.Close())
	b.send(requestBytes(cmdWrite, 0, 1, 0, 1), []byte("B"))
	require.Zero(t, b.simple(1))
	close(d.release)
	require.Eventually(t, func() bool { return s.InUse("disk") == 1 && s.budget.held() == 0 }, 10*time.Second, time.Millisecond)
	require.Equal(t, "B", d.text(0, 1))
}

// TestWritesBeforeDisconnectAreDone: DISC says that nothing is sent again.
func TestWritesBeforeDisconnectAreDone(t *testing.T) {
	d := &stallingDevice{newMemDevice(2 << 20), make(chan struct{})}
	_, path, _ := startServer(t, openExport{Device: d}, Options{ConnectionWorkers: 1})
	a := ready(t, path, false)
	a.send(requestBytes(cmdWrite, cmdFlagFUA, 1, 1<<20, 1), []byte("x"))
	a.send(requestBytes(cmdWrite, cmdFlagFUA, 2, 0, 1), []byte("A"), requestBytes(cmdDisc, 0, 0, 0, 0))
	require.NoError(t, a.Conn.(*net.UnixConn).CloseWrite())
	close(d.release)
	require.Zero(t, a.simple(1))
	require.Zero(t, a.simple(2))
	a.closed()
	require.Equal(t, "A", d.text(0, 1))
}

// opened returns the reply to GO that ends it: ACK or an error.
func (w *wire) opened() (kind uint32, text string) {
	w.t.Helper()
	w.option(optGo, goData("disk"))
	for {
		kind, p := w.optReply(optGo)
		if kind != repInfo {
			return kind, string(p)
		}
	}
}

// TestReadersThatLeaveKeepNobodyWaiting: a client that closed its half and
// takes no replies has nothing that could change the export.
func TestReadersThatLeaveKeepNobodyWaiting(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		d := newMemDevice(8 << 20)
		d.readOnly = readOnly
		s, path, _ := startServer(t, openExport{Device: d}, Options{})
		a := ready(t, path, false)
		a.send(requestBytes(cmdRead, 0, 1, 0, 8<<20))
		require.NoError(t, a.Conn.(*net.UnixConn).CloseWrite())
		kind, text := greeted(t, path, 3).opened()
		require.Equal(t, uint32(repAck), kind, text)
		require.Equal(t, 2, s.InUse("disk"))
	}
}

// TestAnOpenThatWaitsTooLongIsAnswered: with an error, not by a close.
func TestAnOpenThatWaitsTooLongIsAnswered(t *testing.T) {
	d := &stallingDevice{newMemDevice(2 << 20), make(chan struct{})}
	_, path, _ := startServer(t, openExport{Device: d}, Options{HandshakeTimeout: 400 * time.Millisecond})
	defer close(d.release)
	a := ready(t, path, false)
	a.send(requestBytes(cmdWrite, cmdFlagFUA, 1, 1<<20, 1), []byte("x"), requestBytes(cmdRead, 0, 2, 0, 1))
	require.Zero(t, a.simple(2))
	d.stalls(t)
	require.NoError(t, a.Conn.(*net.UnixConn).CloseWrite())
	kind, text := greeted(t, path, 3).opened()
	require.Equal(t, uint32(repErrUnknown), kind)
	require.Contains(t, text, "still writing")
}

// TestOpenersThatLeftKeepNobodyWaiting: not each other, and not a third.
func TestOpenersThatLeftKeepNobodyWaiting(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	e := openExport{newMemDevice(1 << 20), func() { entered <- struct{}{}; <-leave }}
	s, path, _ := startServer(t, e, Options{HandshakeTimeout: time.Minute})
	a, b := greeted(t, path, 3), greeted(t, path, 3)
	for _, w := range []*wire{a, b} { // the two openings overlap
		w.option(optGo, goData("disk"))
		<-entered
	}
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	close(leave)
	require.Eventually(t, func() bool { return s.InUse("disk") == 0 }, 10*time.Second, time.Millisecond)
	w := greeted(t, path, 3)
	w.option(optGo, goData("disk"))
	<-entered
	w.expect(optGo, repInfo, repAck)
}

// TestAnOpenerThatLeavesWaitsNoLonger: its connection is free at once.
func TestAnOpenerThatLeavesWaitsNoLonger(t *testing.T) {
	d := &stallingDevice{newMemDevice(2 << 20), make(chan struct{})}
	s, path, _ := startServer(t, openExport{Device: d}, Options{HandshakeTimeout: time.Minute})
	defer close(d.release)
	a := ready(t, path, false)
	a.send(requestBytes(cmdWrite, cmdFlagFUA, 1, 1<<20, 1), []byte("x"), requestBytes(cmdRead, 0, 2, 0, 1))
	require.Zero(t, a.simple(2))
	d.stalls(t)
	require.NoError(t, a.Conn.(*net.UnixConn).CloseWrite())
	b := greeted(t, path, 3)
	b.option(optGo, goData("disk"))
	require.Eventually(t, func() bool { return s.InUse("disk") == 2 }, 10*time.Second, time.Millisecond)
	require.NoError(t, b.Close())
	require.Eventually(t, func() bool { return s.InUse("disk") == 1 }, 10*time.Second, time.Millisecond)
}

// TestALatePayloadIsNoErrorForOthers: the connection is closed, but no request
// that was in flight is answered with an error (fact 6).
func TestALatePayloadIsNoErrorForOthers(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.gate = make(chan struct{})
	_, path, _ := startServer(t, openExport{Device: d}, Options{PayloadTimeout: 100 * time.Millisecond})
	w := ready(t, path, false)
	w.send(requestBytes(cmdRead, 0, 1, 0, 4096))
	w.send(requestBytes(cmdWrite, 0, 2, 0, 4096)) // and no payload
	b, _ := io.ReadAll(w)
	require.Empty(t, b)
}

// TestHoldersOfTheBudgetStopNobody: clients that do not take large replies use
// up the budget but for what small requests need.
func TestHoldersOfTheBudgetStopNobody(t *testing.T) {
	_, path, _ := startServer(t, openExport{Device: newMemDevice(64 << 20)}, Options{MaxBytes: 128 << 20})
	for range 5 {
		ready(t, path, false).send(requestBytes(cmdRead, 0, 1, 0, 32<<20))
	}
	time.Sleep(200 * time.Millisecond)
	w := ready(t, path, false)
	w.send(requestBytes(cmdFlush, 0, 7, 0, 0))
	require.Zero(t, w.simple(7))
	w.send(requestBytes(cmdRead, 0, 8, 0, 4096))
	require.Zero(t, w.simple(8))
	w.read(4096)
}

// TestHoldersOfSmallRepliesStopNobody: nor do those that take no small ones.
func TestHoldersOfSmallRepliesStopNobody(t *testing.T) {
	s, path, _ := startServer(t, openExport{Device: newMemDevice(mib)}, Options{MaxBytes: 16 * mib, MaxInFlightBytes: 6 * mib})
	for range 4 {
		w := ready(t, path, false)
		go func() {
			for range 128 {
				if _, err := w.Write(requestBytes(cmdRead, 0, 1, 0, smallRequest)); err != nil {
					return
				}
			}
		}()
	}
	require.Eventually(t, func() bool { return s.budget.held() > 15*mib }, 10*time.Second, time.Millisecond)
	w := ready(t, path, false)
	for i := range uint64(10) {
		w.send(requestBytes(cmdRead, 0, i, 0, 4096))
		require.Zero(t, w.simple(i))
		w.read(4096)
	}
}

// TestHeadersWithoutPayloadHoldLittle: what a WRITE says is not what it holds.
func TestHeadersWithoutPayloadHoldLittle(t *testing.T) {
	s, path, _ := startServer(t, openExport{Device: newMemDevice(4 * mib)}, Options{})
	for range 10 {
		ready(t, path, false).send(requestBytes(cmdWrite, 0, 1, 0, 28*mib))
	}
	require.Eventually(t, func() bool { return s.budget.held() >= 10*smallRequest }, 10*time.Second, time.Millisecond)
	require.LessOrEqual(t, s.budget.held(), int64(10*smallRequest))
	w := ready(t, path, false)
	data := bytes.Repeat([]byte("0123456789abcde\n"), 2*mib/16)
	w.send(requestBytes(cmdWrite, 0, 2, 0, uint32(len(data))), data)
	require.Zero(t, w.simple(2))
	w.send(requestBytes(cmdRead, 0, 3, 0, uint32(len(data))))
	require.Zero(t, w.simple(3))
	require.True(t, bytes.Equal(data, w.read(len(data))))
}

// TestLongCallsOfOneExportStopNoOther: clients of a disk that is slow to sync
// have as many connections as they like.
func TestLongCallsOfOneExportStopNoOther(t *testing.T) {
	for _, long := range [][]byte{
		requestBytes(cmdFlush, 0, 1, 0, 0),
		requestBytes(cmdCache, 0, 1, 0, 4096),
		append(requestBytes(cmdWrite, cmdFlagFUA, 1, 0, 1), 'x'),
	} {
		slow := &stuckDevice{newMemDevice(1 << 20), make(chan struct{})}
		other := newMemDevice(1 << 20)
		other.cached = false
		_, path, _ := startServer(t, exportMap{"disk": slow, "other": other}, Options{IOWorkers: 8, ConnectionWorkers: 4})
		for range 4 {
			w := ready(t, path, false)
			for range 8 {
				w.send(long)
			}
			w.send(requestBytes(cmdRead, 0, 2, 0, 1)) // from memory
			require.Zero(t, w.simple(2))
		}
		w := greeted(t, path, 3)
		w.option(optGo, goData("other"))
		w.expect(optGo, repInfo, repAck)
		w.send(requestBytes(cmdRead, 0, 8, 0, 4096))
		require.Zero(t, w.simple(8))
		w.read(4096)
		w.send(requestBytes(cmdFlush, 0, 9, 0, 0))
		require.Zero(t, w.simple(9))
		close(slow.release)
	}
}

// stuckDevice syncs and prefetches nothing until it is released.
type stuckDevice struct {
	*memDevice
	release chan struct{}
}

func (d *stuckDevice) Flush(context.Context) error { <-d.release; return nil }

func (d *stuckDevice) Prefetch(context.Context, int64, int64) error { <-d.release; return nil }

func (d *stuckDevice) WriteAt(context.Context, []byte, int64, bool) error { <-d.release; return nil }

// TestFenceFindsAnOpenUnderWay: a connection that is just opening the export is
// fenced too.
func TestFenceFindsAnOpenUnderWay(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s, path, _ := startServer(t, openExport{newMemDevice(1 << 20), func() { close(entered); <-leave }}, Options{})
	w := greeted(t, path, 3)
	w.option(optGo, goData("disk"))
	<-entered
	fenced := make(chan error, 1)
	go func() { fenced <- s.Fence(context.Background(), "disk") }()
	select {
	case <-fenced:
		require.Fail(t, "fenced while Open ran")
	case <-time.After(100 * time.Millisecond):
	}
	close(leave)
	require.NoError(t, <-fenced)
}
