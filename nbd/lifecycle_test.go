package nbd

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func short(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// DISC has no reply; what is outstanding is answered first.
func TestDisconnectAnswersOutstanding(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.gate = make(chan struct{})
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, false)
	require.Equal(t, 1, s.InUse("disk"))
	const n = 16
	for i := range uint64(n) {
		w.send(requestBytes(cmdRead, 0, i, 0, 512))
	}
	w.send(requestBytes(cmdDisc, 0, 0, 0, 0))
	time.Sleep(20 * time.Millisecond)
	require.Zero(t, d.closes.Load())
	close(d.gate)
	seen := map[uint64]bool{}
	for range n {
		h := w.read(simpleSize)
		require.Zero(t, be.Uint32(h[4:]))
		seen[be.Uint64(h[8:])] = true
		w.read(512)
	}
	require.Len(t, seen, n)
	w.closed()
	require.Equal(t, int64(1), d.closes.Load())
	require.Zero(t, s.InUse("disk"))
}

// The time that the client has for its last replies begins when they are there.
func TestDisconnectWaitsForTheDevice(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.gate = make(chan struct{})
	s := NewServer(exportMap{"disk": d}, Options{})
	s.finishTimeout = 200 * time.Millisecond
	w := ready(t, serveOn(t, s), false)
	w.send(requestBytes(cmdFlush, 0, 1, 0, 0), requestBytes(cmdDisc, 0, 0, 0, 0))
	time.Sleep(2 * s.finishTimeout)
	close(d.gate)
	require.Zero(t, w.simple(1))
	w.closed()
}

// A client that does not take its last replies is not waited for.
func TestDisconnectGivesUp(t *testing.T) {
	s := NewServer(exportMap{"disk": newMemDevice(8 << 20)}, Options{})
	s.finishTimeout = 50 * time.Millisecond
	w := ready(t, serveOn(t, s), false)
	w.send(requestBytes(cmdRead, 0, 1, 0, 8<<20), requestBytes(cmdDisc, 0, 0, 0, 0))
	require.Eventually(t, func() bool { return s.InUse("disk") == 0 }, 10*time.Second, time.Millisecond)
}

// Shutdown answers what was read, never with an error, flushes, and closes.
func TestShutdownDrains(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.gate = make(chan struct{}, 100)
	d.entered = make(chan struct{}, 100)
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	idle, busy := ready(t, path, false), ready(t, path, false)
	hand := greeted(t, path, 3)
	for i := range uint64(8) {
		busy.send(requestBytes(cmdWrite, 0, i, i*512, 512), make([]byte, 512))
	}
	for range 8 {
		<-d.entered
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(short(t)) }()
	require.Eventually(t, s.closing, 5*time.Second, time.Millisecond)
	hand.closed()
	for range 16 {
		d.gate <- struct{}{}
	}
	for range 8 {
		require.Zero(t, be.Uint32(busy.read(simpleSize)[4:]))
	}
	busy.closed()
	idle.closed()
	require.NoError(t, busy.Close())
	require.NoError(t, idle.Close())
	require.NoError(t, hand.Close())
	require.NoError(t, <-done)
	require.Equal(t, int64(2), d.flushes.Load())
	require.Equal(t, int64(2), d.closes.Load())
	require.Zero(t, s.ActiveConnections())
	_, err := net.Dial("unix", path)
	require.Error(t, err)
}

// Shutdown waits for no handshake: not for a client to take a reply, not for
// another's writes, and not if it comes first.
func TestShutdownCutsHandshakes(t *testing.T) {
	d := &stallingDevice{newMemDevice(2 << 20), make(chan struct{})}
	s, path, _ := startServer(t, longList{exportMap{"disk": d}}, Options{HandshakeTimeout: time.Minute})
	greeted(t, path, 3).option(optList, nil) // takes nothing
	require.Eventually(t, func() bool { return s.budget.held() > 0 }, 10*time.Second, time.Millisecond)
	a := ready(t, path, false)
	a.send(requestBytes(cmdWrite, cmdFlagFUA, 1, 1<<20, 1), []byte("x"), requestBytes(cmdRead, 0, 2, 0, 1))
	require.Zero(t, a.simple(2))
	a.read(1)
	d.stalls(t)
	require.NoError(t, a.Conn.(*net.UnixConn).CloseWrite())
	greeted(t, path, 3).option(optGo, goData("disk")) // waits for a's write
	require.Eventually(t, func() bool { return s.InUse("disk") == 2 }, 10*time.Second, time.Millisecond)

	done := make(chan error, 1)
	go func() { done <- s.Shutdown(short(t)) }()
	require.Eventually(t, func() bool { return s.ActiveConnections() == 1 }, 10*time.Second, time.Millisecond)
	close(d.release)
	require.Zero(t, a.simple(1))
	require.NoError(t, <-done)
}

func TestShutdownBeforeTheHandshake(t *testing.T) {
	s := NewServer(exportMap{"disk": newMemDevice(512)}, Options{HandshakeTimeout: time.Minute})
	near, far := net.Pipe()
	c := newConn(s, far)
	require.True(t, s.addConn(c))
	for _, c := range s.stop() { // what Shutdown does
		c.drain()
	}
	require.ErrorIs(t, c.negotiate(), errDraining)
	c.cancel()
	require.NoError(t, near.Close())
	require.NoError(t, far.Close())
}

// A client that keeps sending does not keep Shutdown from ending, and gets an
// answer to everything that was read.
func TestShutdownUnderLoad(t *testing.T) {
	d := newMemDevice(1 << 20)
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, false)
	go func() {
		p := append(requestBytes(cmdWrite, 0, 1, 0, 4096), make([]byte, 4096)...)
		for {
			if _, err := w.Write(p); err != nil {
				return
			}
		}
	}()
	got := make(chan int)
	go func() {
		n, p := 0, make([]byte, simpleSize)
		for {
			if _, err := w.Read(p); err != nil {
				got <- n
				return
			}
			n++
		}
	}()
	time.Sleep(50 * time.Millisecond)
	start := time.Now()
	require.NoError(t, s.Shutdown(short(t)))
	require.Less(t, time.Since(start), 5*time.Second)
	require.NoError(t, w.Close())
	require.Positive(t, <-got)
	require.Zero(t, s.budget.held())
}

func TestShutdownGivesUp(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.gate = make(chan struct{})
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, false)
	w.send(requestBytes(cmdRead, 0, 1, 0, 512))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
	w.closed()
}

func TestCloseCancelsDeviceCalls(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.gate = make(chan struct{})
	d.entered = make(chan struct{}, 1)
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, false)
	w.send(requestBytes(cmdFlush, 0, 1, 0, 0))
	<-d.entered
	require.NoError(t, s.Close())
	require.Equal(t, int64(1), d.closes.Load())
}

// After Fence no write of the old connection can reach the device.
func TestFence(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.gate = make(chan struct{})
	d.entered = make(chan struct{}, 1)
	s, path, _ := startServer(t, exportMap{"disk": d, "other": newMemDevice(512)}, Options{})
	w := ready(t, path, false)
	other := greeted(t, path, 3)
	other.option(optGo, goData("other"))
	other.expect(optGo, repInfo, repAck)
	w.send(requestBytes(cmdWrite, 0, 1, 0, 512), make([]byte, 512))
	<-d.entered
	require.NoError(t, s.Fence(short(t), "disk"))
	require.Equal(t, int64(1), d.closes.Load())
	require.Zero(t, d.running.Load())
	require.Zero(t, s.InUse("disk"))
	require.Equal(t, 1, s.InUse("other"))
}

// A call that does not end keeps Fence from returning, not from cutting the
// other connections.
func TestFenceCutsAll(t *testing.T) {
	d := &gatedFlush{memDevice: newMemDevice(1 << 20), gate: make(chan struct{})}
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	defer close(d.gate)
	for range 4 {
		w := ready(t, path, false)
		w.send(requestBytes(cmdFlush, 0, 1, 0, 0), requestBytes(cmdRead, 0, 2, 0, 1))
		require.Zero(t, w.simple(2))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Fence(ctx, "disk"), context.DeadlineExceeded)
	for _, c := range s.users("disk") {
		require.Error(t, c.ctx.Err())
	}
}

// Serve ends with its context; its connections go on.
func TestServeContext(t *testing.T) {
	s := NewServer(exportMap{"disk": newMemDevice(512)}, Options{})
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- s.Serve(ctx, l) }()
	w := ready(t, path, false)
	cancel()
	require.ErrorIs(t, <-served, context.Canceled)
	w.send(requestBytes(cmdFlush, 0, 1, 0, 0))
	require.Zero(t, w.simple(1))
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Serve(context.Background(), l), ErrServerClosed)
}

func TestMaxConnections(t *testing.T) {
	s, path, _ := startServer(t, exportMap{"disk": newMemDevice(512)}, Options{MaxConnections: 2, MaxHandshakes: 2})
	a, b := ready(t, path, false), ready(t, path, false)
	dialWire(t, path).closed()
	require.NoError(t, a.Close())
	require.Eventually(t, func() bool { return s.ActiveConnections() == 1 }, 5*time.Second, time.Millisecond)
	ready(t, path, false)
	b.send(requestBytes(cmdFlush, 0, 1, 0, 0))
	require.Zero(t, b.simple(1))
}

// A client that never reads replies makes the server hold no more than the
// connection's share, and others do not notice.
func TestSlowClientHoldsItsShare(t *testing.T) {
	for _, cached := range []bool{false, true} {
		d := newMemDevice(1 << 20)
		d.cached = cached
		s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
		slow := ready(t, path, false)
		sent := make(chan error, 1)
		go func() {
			var err error
			for i := uint64(0); err == nil && i < 200000; i++ {
				_, err = slow.Write(requestBytes(cmdRead, 0, i, 0, 1<<20))
			}
			sent <- err
		}()
		require.Eventually(t, func() bool { return s.budget.held() >= 30<<20 }, 10*time.Second, time.Millisecond)
		other := ready(t, path, false)
		for i := range uint64(50) {
			other.send(requestBytes(cmdRead, 0, i, 0, 4096))
			require.Zero(t, other.simple(i))
			other.read(4096)
			require.LessOrEqual(t, s.budget.held(), int64(33<<20))
		}
		require.NoError(t, slow.Close())
		require.Error(t, <-sent)
		require.Eventually(t, func() bool { return s.ActiveConnections() == 1 && s.budget.held() == 0 }, 10*time.Second, time.Millisecond)
	}
}

// Over the limits the server stops reading; nothing fails.
func TestLimitsDelayOnly(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.gate = make(chan struct{})
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{
		MaxInFlight: 4, MaxInFlightBytes: 10000, MaxBytes: 8192, IOWorkers: 2})
	w := ready(t, path, false)
	const n = 64
	go func() {
		for i := range uint64(n) {
			if _, err := w.Write(requestBytes(cmdRead, 0, i, 0, 4096+uint32(i)*100)); err != nil {
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)
	require.LessOrEqual(t, s.budget.held(), int64(8192))
	require.LessOrEqual(t, d.most.Load(), int64(2))
	close(d.gate)
	for range n {
		h := w.read(simpleSize)
		require.Zero(t, be.Uint32(h[4:]))
		w.read(4096 + int(be.Uint64(h[8:]))*100)
	}
}

// Slow work is done beside: a flush that hangs keeps no read waiting.
func TestSlowWorkDoesNotBlockTheReader(t *testing.T) {
	d := newMemDevice(1 << 20)
	slow := &gatedFlush{memDevice: d, gate: make(chan struct{})}
	_, path, _ := startServer(t, exportMap{"disk": slow}, Options{})
	w := ready(t, path, false)
	w.send(requestBytes(cmdFlush, 0, 1, 0, 0))
	for i := range uint64(10) {
		w.send(requestBytes(cmdWrite, 0, 100+i, 0, 4), []byte("data"))
		require.Zero(t, w.simple(100+i))
		w.send(requestBytes(cmdRead, 0, 200+i, 0, 4))
		require.Zero(t, w.simple(200+i))
		require.Equal(t, "data", string(w.read(4)))
	}
	close(slow.gate)
	require.Zero(t, w.simple(1))
}

type gatedFlush struct {
	*memDevice
	gate chan struct{}
}

func (d *gatedFlush) Flush(ctx context.Context) error {
	<-d.gate
	return d.memDevice.Flush(ctx)
}

// A client that writes everything before it reads anything gets on.
func TestClientThatReadsLate(t *testing.T) {
	_, path := serveMem(t)
	w := ready(t, path, false)
	const n = 100
	for i := range uint64(n) {
		w.send(requestBytes(cmdRead, 0, 2*i, 0, 64<<10))
		w.send(requestBytes(cmdWrite, 0, 2*i+1, 0, 64<<10), make([]byte, 64<<10))
		if i%20 != 19 {
			continue
		}
		for range 40 {
			h := w.read(simpleSize)
			require.Zero(t, be.Uint32(h[4:]))
			if be.Uint64(h[8:])%2 == 0 {
				w.read(64 << 10)
			}
		}
	}
}

// flakyListener fails at first, as a listener without file descriptors does.
type flakyListener struct {
	net.Listener
	failures int
}

func (l *flakyListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

func TestAcceptFailurePasses(t *testing.T) {
	s := NewServer(exportMap{"disk": newMemDevice(512)}, Options{})
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	served := make(chan error)
	go func() { served <- s.Serve(context.Background(), &flakyListener{l, 3}) }()
	ready(t, path, false)
	require.NoError(t, s.Close())
	require.ErrorIs(t, <-served, ErrServerClosed)
}

func TestBufferClasses(t *testing.T) {
	var p bufferPool
	for _, n := range []int{0, 1, 512, 513, 4095, 4096, 4097, 65536, 65537, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3 << 20, 5<<20 + 7, maxPayload} {
		b, class := p.reply(n), classOf(n)
		require.GreaterOrEqual(t, len(b.b), n+replyRoom)
		require.Equal(t, classBytes(class)+replyRoom, len(b.b))
		if class > 0 {
			require.Less(t, classBytes(class-1), n)
		}
		b.release()
	}
	require.Equal(t, classes-1, classOf(maxPayload))
	require.Equal(t, maxPayload, classBytes(classes-1))
	require.Zero(t, costOf(0))
	require.Equal(t, int64(512), costOf(1))
	require.Equal(t, int64(maxPayload), costOf(17<<20))
}

// What is charged is the memory, not the data in it.
func TestBuffersAreChargedWhole(t *testing.T) {
	d := newMemDevice(64 << 10)
	d.gate = make(chan struct{})
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, false)
	w.send(requestBytes(cmdRead, 0, 1, 0, 1), requestBytes(cmdRead, 0, 1, 0, 32<<10+1))
	w.send(requestBytes(cmdWrite, cmdFlagFUA, 1, 0, 5000), make([]byte, 5000))
	require.Eventually(t, func() bool { return s.budget.held() == 512+64<<10+8192 }, 10*time.Second, time.Millisecond)
	close(d.gate)
	require.Eventually(t, func() bool { return s.budget.held() == 0 }, 10*time.Second, time.Millisecond)
}

// steppedDevice notes how far the memory of a write is from the disk's pages.
type steppedDevice struct {
	*memDevice
	seen chan [2]int
}

func (d steppedDevice) WriteAt(ctx context.Context, p []byte, off int64, fua bool) error {
	d.seen <- [2]int{int(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) % pageSize, len(p)}
	return d.memDevice.WriteAt(ctx, p, off, fua)
}

// A payload's memory has its page borders where the disk has its own, or none.
func TestPayloadsAreInStep(t *testing.T) {
	d := steppedDevice{newMemDevice(4 << 20), make(chan [2]int, 1)}
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	w := ready(t, path, false)
	for _, n := range []int{1, 512, 4095, 4096, 4097, 8192, 20000, 64 << 10, 200_000, 1<<20 + 7} {
		for _, off := range []int{0, 4096, 512, 8192 + 1376, 4095} {
			p := bytes.Repeat([]byte{byte(n + off)}, n)
			w.send(requestBytes(cmdWrite, 0, 1, uint64(off), uint32(n)), p)
			at := <-d.seen
			require.Equal(t, n, at[1])
			require.True(t, at[0] == off%pageSize || at[0]+n <= pageSize, "%d bytes at %d lie at %d of a page", n, off, at[0])
			require.Zero(t, w.simple(1))
			require.Equal(t, string(p), d.text(off, n))
		}
	}
}

// A payload that is too long and only thrown away has as much time as others,
// whatever deadline an earlier one left.
func TestOversizePayloadHasItsTime(t *testing.T) {
	s, path, _ := startServer(t, exportMap{"disk": newMemDevice(1 << 20)}, Options{PayloadTimeout: 3 * time.Second})
	w := ready(t, path, false)
	w.send(requestBytes(cmdWrite, 0, 1, 0, 200000))
	time.Sleep(10 * time.Millisecond)
	w.send(make([]byte, 200000))
	require.Zero(t, w.simple(1))
	time.Sleep(3 * time.Second) // what was set for the first one is over
	w.send(requestBytes(cmdWrite, 0, 2, 0, maxPayload+1))
	time.Sleep(time.Second)
	w.send(make([]byte, maxPayload+1))
	require.Equal(t, uint32(errnoInval), w.simple(2))
	w.send(requestBytes(cmdWrite, 0, 2, 0, maxPayload+1))
	w.closed()
	require.Zero(t, s.budget.held())
}

// Extents may be many: what is held of them is charged, and no more than need
// be. A client that takes no answers is made to wait.
func TestBlockStatusIsCharged(t *testing.T) {
	d := newMemDevice(1 << 20)
	var n atomic.Int64 // where the runs of one byte end
	n.Store(1)
	d.runs = func(i int64) bool { return i < n.Load() && i%2 == 0 }
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{MaxInFlightBytes: 256 << 10})
	w := ready(t, path, true)
	for range 2 {
		w.send(requestBytes(cmdBlockStatus, 0, 1, 0, 1<<20))
		_, _, p := w.chunk(1)
		require.Len(t, p, 4+statusRunSize*int(min(n.Load()+1, maxRuns)))
		require.Eventually(t, func() bool { return s.budget.held() == 0 }, 10*time.Second, time.Millisecond)
		n.Store(1 << 20)
	}
	go func() {
		for range 100 {
			if _, err := w.Write(requestBytes(cmdBlockStatus, 0, 1, 0, 1<<20)); err != nil {
				return
			}
		}
	}()
	require.Eventually(t, func() bool { return s.budget.held() == 256<<10 }, 10*time.Second, time.Millisecond)
	require.NoError(t, w.Close())
	require.Eventually(t, func() bool { return s.budget.held() == 0 }, 10*time.Second, time.Millisecond)
}

func TestShortBlockStatusHoldsLittle(t *testing.T) {
	c := &conn{srv: NewServer(nil, Options{}), dev: newMemDevice(4096), contexts: contextAllocation}
	c.account = newAccount(c.srv.budget, 1<<20)
	j := job{request: request{kind: cmdBlockStatus, length: 4096}}
	j.cost = costOf(c.statusRoom(j.request))
	require.True(t, c.account.try(j.cost))
	require.NoError(t, c.blockStatus(&j))
	require.Equal(t, int64(512), j.cost)
	require.Equal(t, int64(512), c.srv.budget.held())
	require.Equal(t, statusHeader+statusRunSize, statusLength(j.buf))
}

// A WRITE whose data does not come ends the connection and frees its memory;
// silence between requests does not.
func TestPayloadTimeout(t *testing.T) {
	d := newMemDevice(1 << 20)
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{PayloadTimeout: 40 * time.Millisecond})
	w := ready(t, path, false)
	for range 3 {
		w.send(requestBytes(cmdWrite, 0, 1, 0, 200000))
		time.Sleep(10 * time.Millisecond)
		w.send(make([]byte, 200000))
		require.Zero(t, w.simple(1))
		time.Sleep(80 * time.Millisecond)
	}
	w.send(requestBytes(cmdWrite, 0, 1, 0, 200000), make([]byte, 199999))
	w.closed()
	require.Zero(t, s.budget.held())
}
