package nbd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// qemuNbd serves a file by qemu-nbd and returns the socket.
func qemuNbd(t testing.TB, file string, args ...string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "q")
	cmd := exec.Command("qemu-nbd", append(args, "-k", socket, "-t", "-e", "8", file)...)
	var out bytes.Buffer
	cmd.Stderr = &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool { // the file is there before anybody listens
		c, err := net.Dial("unix", socket)
		return err == nil && c.Close() == nil
	}, 10*time.Second, 5*time.Millisecond, "%s", &out)
	return socket
}

func TestClientWithQemuNbd(t *testing.T) {
	d := patterned(t)
	qcow := filepath.Join(t.TempDir(), "disk.qcow2")
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", d.f.Name(), qcow)
	c, err := Dial(short(t), "unix", qemuNbd(t, qcow, "-f", "qcow2"), "")
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, int64(diskSize), c.Size())
	require.False(t, c.ReadOnly())
	require.True(t, c.allocation)

	want, err := os.ReadFile(d.f.Name())
	require.NoError(t, err)
	checkExtents(t, c, want)
	checkParallelReads(t, c, want)

	ctx := short(t)
	p := bytes.Repeat([]byte("written"), 20000)
	n, err := c.WriteAt(ctx, p, 9<<20)
	require.NoError(t, err)
	require.Equal(t, len(p), n)
	require.NoError(t, c.Flush(ctx))
	require.NoError(t, c.Trim(ctx, 20<<20, 1<<20))
	got := make([]byte, len(p))
	_, err = c.ReadAt(ctx, got, 9<<20)
	require.NoError(t, err)
	require.True(t, bytes.Equal(p, got))
}

// checkExtents requires that runs cover the disk, and zero runs are zero.
func checkExtents(t *testing.T, c *Client, want []byte) {
	runs, err := c.Extents(short(t), 0, c.Size())
	require.NoError(t, err)
	var at, zero int64
	for _, e := range runs {
		if e.Zero {
			zero += e.Length
			require.Empty(t, bytes.Trim(want[at:at+e.Length], "\x00"))
		}
		at += e.Length
	}
	require.Equal(t, c.Size(), at)
	require.Greater(t, zero, c.Size()/2)
}

func checkParallelReads(t *testing.T, c *Client, want []byte) {
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			p := make([]byte, 300001)
			for at := int64(g) * 100003; at < c.Size(); at += 16 * 100003 {
				n, err := c.ReadAt(context.Background(), p, at)
				if err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(p[:n], want[at:min(at+int64(len(p)), c.Size())]) {
					t.Errorf("read at %d: %d bytes, %v", at, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestClientReadOnly(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.readOnly = true
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	c, err := Dial(short(t), "unix", path, "disk")
	require.NoError(t, err)
	defer c.Close()
	require.True(t, c.ReadOnly())
	_, err = c.WriteAt(short(t), []byte("x"), 0)
	require.ErrorIs(t, err, syscall.EPERM)
	require.ErrorContains(t, err, "read-only")
	n, err := c.ReadAt(short(t), make([]byte, 100), 1<<20-40)
	require.Equal(t, 40, n)
	require.ErrorIs(t, err, io.EOF)
	_, err = c.ReadAt(short(t), nil, -1)
	require.Error(t, err)
	_, err = c.Extents(short(t), 1, 1<<20)
	require.Error(t, err)
}

func TestDialErrors(t *testing.T) {
	_, path := serveMem(t)
	_, err := Dial(short(t), "unix", path, "nope")
	var refused *OptionError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, uint32(repErrUnknown), refused.Type)
	require.ErrorContains(t, err, "no export named")
	_, err = Dial(short(t), "unix", path+"x", "disk")
	require.Error(t, err)

	silent, err := net.Listen("unix", t.TempDir()+"/silent")
	require.NoError(t, err)
	defer silent.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	_, err = Dial(ctx, "unix", silent.Addr().String(), "disk")
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// A call that its context ends returns at once, and the client stays usable.
func TestClientCancel(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.gate = make(chan struct{})
	_, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	c, err := Dial(short(t), "unix", path, "disk")
	require.NoError(t, err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	p := make([]byte, 4096)
	_, err = c.ReadAt(ctx, p, 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(d.gate)
	_, err = c.ReadAt(short(t), p, 0)
	require.NoError(t, err)
}

func TestClientServerGone(t *testing.T) {
	d := newMemDevice(1 << 20)
	d.gate = make(chan struct{})
	s, path, _ := startServer(t, exportMap{"disk": d}, Options{})
	c, err := Dial(short(t), "unix", path, "disk")
	require.NoError(t, err)
	failed := make(chan error)
	go func() {
		_, err := c.ReadAt(context.Background(), make([]byte, 4096), 0)
		failed <- err
	}()
	time.Sleep(10 * time.Millisecond)
	require.NoError(t, s.Close())
	require.ErrorContains(t, <-failed, "connection lost")
	require.Error(t, c.Flush(short(t)))
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
}

// hostile answers one request of a client with given bytes.
func hostile(t testing.TB, structured bool, reply []byte) *Client {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _ = theirs.Close() })
	c := &Client{nc: ours, size: 1 << 20,
		maxBlock: maxPayload, structured: structured, allocation: structured, contextID: 7, flags: flagFlush}
	c.in.init(ours)
	c.mu.calls = make(map[uint64]*call)
	c.done = make(chan struct{})
	go c.receive()
	go func() {
		_, _ = io.CopyN(io.Discard, theirs, requestSize)
		_, _ = theirs.Write(reply)
		_, _ = io.Copy(io.Discard, theirs)
	}()
	return c
}

func chunkBytes(flags, kind uint16, payload ...[]byte) []byte {
	p := make([]byte, chunkSize)
	body := bytes.Join(payload, nil)
	putChunk(p, flags, kind, 1, uint32(len(body)))
	return append(p, body...)
}

func u64(v uint64) []byte { return be.AppendUint64(nil, v) }
func u32(v uint32) []byte { return be.AppendUint32(nil, v) }

func TestClientRejects(t *testing.T) {
	simple := make([]byte, simpleSize)
	putSimple(simple, 1, 0)
	stranger := make([]byte, simpleSize)
	putSimple(stranger, 2, 0)
	read := func(c *Client) error {
		_, err := c.ReadAt(short(t), make([]byte, 64), 1000)
		return err
	}
	extents := func(c *Client) error {
		_, err := c.Extents(short(t), 0, 1<<20)
		return err
	}
	data := func(flags uint16, off uint64, n int) []byte {
		return chunkBytes(flags, chunkOffsetData, u64(off), make([]byte, n))
	}
	for _, k := range []struct {
		name       string
		structured bool
		do         func(*Client) error
		reply      []byte
		want       string
	}{
		{"magic", true, read, make([]byte, 64), "bad magic"},
		{"chunk without SR", false, read, data(1, 1000, 64), "bad magic"},
		{"simple READ with SR", true, read, simple, "simple reply"},
		{"unknown cookie", false, read, stranger, "not made"},
		{"nothing", true, read, chunkBytes(1, chunkNone), "in part"},
		{"part", true, read, data(1, 1000, 63), "in part"},
		{"twice", true, read, append(data(0, 1000, 40), data(1, 1039, 25)...), "twice"},
		{"before", true, read, data(1, 999, 64), "outside"},
		{"after", true, read, data(1, 1001, 64), "outside"},
		{"far", true, read, data(1, 1<<63, 64), "outside"},
		{"hole of nothing", true, read, chunkBytes(1, chunkOffsetHole, u64(1000), u32(0)), "outside"},
		{"hole too long", true, read, chunkBytes(1, chunkOffsetHole, u64(1000), u32(0xffffffff)), "outside"},
		{"endless none", true, read, chunkBytes(0, chunkNone), "not the last"},
		{"status for READ", true, read, chunkBytes(1, chunkBlockStatus, u32(7), u64(1)), "unexpected chunk"},
		{"unknown chunk", true, read, chunkBytes(1, 77), "unexpected chunk"},
		{"error cut", true, read, chunkBytes(1, chunkError, u32(5), []byte{0}), "malformed error"},
		{"error lies", true, read, chunkBytes(1, chunkError, u32(5), []byte{0, 9}), "malformed error"},
		{"no error", true, read, chunkBytes(1, chunkError, u32(0), []byte{0, 0}), "malformed error"},
		{"status none", true, extents, chunkBytes(1, chunkNone), "without extents"},
		{"status simple", true, extents, simple, "without extents"},
		{"status odd", true, extents, chunkBytes(1, chunkBlockStatus, u32(7), u64(1), []byte{1}), "malformed extents"},
		{"status empty", true, extents, chunkBytes(1, chunkBlockStatus, u32(7)), "malformed extents"},
		{"status zero", true, extents, chunkBytes(1, chunkBlockStatus, u32(7), u32(0), u32(1)), "empty extent"},
		{"status foreign", true, extents, chunkBytes(1, chunkBlockStatus, u32(8), u32(1), u32(1)), "not selected"},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := hostile(t, k.structured, k.reply)
			defer c.Close()
			require.ErrorContains(t, k.do(c), k.want)
		})
	}
}

// Legal answers in pieces and out of order.
func TestClientAcceptsPieces(t *testing.T) {
	reply := bytes.Join([][]byte{
		chunkBytes(0, chunkOffsetData, u64(1032), bytes.Repeat([]byte{2}, 32)),
		chunkBytes(0, chunkOffsetHole, u64(1016), u32(16)),
		chunkBytes(0, chunkOffsetData, u64(1000), bytes.Repeat([]byte{1}, 16)),
		chunkBytes(1, chunkNone),
	}, nil)
	c := hostile(t, true, reply)
	defer c.Close()
	p := bytes.Repeat([]byte{9}, 64)
	_, err := c.ReadAt(short(t), p, 1000)
	require.NoError(t, err)
	want := append(bytes.Repeat([]byte{1}, 16), make([]byte, 16)...)
	require.Equal(t, append(want, bytes.Repeat([]byte{2}, 32)...), p)
}

func TestClientErrorText(t *testing.T) {
	c := hostile(t, true, chunkBytes(1, chunkErrorOffset, u32(28), []byte{0, 4}, []byte("full"), u64(1000)))
	defer c.Close()
	_, err := c.ReadAt(short(t), make([]byte, 64), 1000)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "full")
}

// A server that takes no more requests does not keep Close waiting.
func TestClientCloseDoesNotWaitForTheServer(t *testing.T) {
	near, far := net.Pipe() // nobody reads the other end
	defer far.Close()
	c := &Client{nc: near, done: make(chan struct{})}
	c.in.init(near)
	go c.receive()
	done := make(chan error)
	go func() { done <- c.Close() }()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(10 * goodbyeTimeout):
		require.Fail(t, "Close still waits")
	}
}
