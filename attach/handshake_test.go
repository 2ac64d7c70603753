package attach

import (
	"context"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A server of others: nbdkit.
func TestOpenAtAnotherServer(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command("nbdkit", "-f", "-r", "-U", socket, "memory", "3M")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	require.Eventually(t, func() bool { // the file is there before anybody listens
		c, err := net.Dial("unix", socket)
		return err == nil && c.Close() == nil
	}, 30*time.Second, time.Millisecond)
	f, e, err := open(context.Background(), &Config{Network: "unix", Address: socket, Export: "any"})
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, uint64(3<<20), e.size)
	require.NotZero(t, e.flags&flagReadOnly)
	require.NotZero(t, e.flags&flagMultiConn)
	require.Equal(t, uint64(512), e.blockSize)
}

// served runs negotiate against what a server says.
func served(t *testing.T, says ...[]byte) (export, error) {
	t.Helper()
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer far.Close()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		for _, p := range says {
			if _, err := far.Write(p); err != nil {
				return
			}
		}
	}()
	e, err := negotiate(near, "web")
	_ = near.Close()
	<-done
	return e, err
}

func greeting() []byte {
	p := be.AppendUint64(nil, magicGreeting)
	return be.AppendUint16(be.AppendUint64(p, magicOption), 3)
}

func reply(kind uint32, data []byte) []byte {
	p := be.AppendUint64(nil, magicReply)
	p = be.AppendUint32(be.AppendUint32(p, optGo), kind)
	return append(be.AppendUint32(p, uint32(len(data))), data...)
}

func TestNegotiate(t *testing.T) {
	t.Parallel()
	exportInfo := be.AppendUint16(be.AppendUint64(be.AppendUint16(nil, infoExport), 1<<40), flagMultiConn|1)
	blocks := be.AppendUint32(be.AppendUint32(be.AppendUint32(be.AppendUint16(nil, infoBlockSize), 4096), 4096), 1<<25)
	e, err := served(t, greeting(), reply(repInfo, exportInfo), reply(repInfo, blocks), reply(repAck, nil))
	require.NoError(t, err)
	require.Equal(t, export{size: 1 << 40, flags: flagMultiConn | 1, blockSize: 4096}, e)

	for want, says := range map[string][][]byte{
		"no greeting":         {},
		"no NBD server":       {make([]byte, 18)},
		"wants TLS":           {greeting(), reply(repTLSRequired, nil)},
		"no export named web": {greeting(), reply(repError+6, []byte("no export named web"))},
		"closed":              {greeting()},
		"tell the size":       {greeting(), reply(repAck, nil)},
		"damaged":             {greeting(), make([]byte, 20)},
	} {
		_, err := served(t, says...)
		require.ErrorContains(t, err, want)
	}
}

func TestMessagesAreReadBack(t *testing.T) {
	t.Parallel()
	p := sockets(attribute32(nil, attrIndex, 7), []int{3, 4})
	var index uint32
	var fds []uint32
	attributes(p, func(kind uint16, v []byte) {
		switch kind {
		case attrIndex:
			index = order.Uint32(v)
		case attrSockets:
			attributes(v, func(_ uint16, item []byte) {
				attributes(item, func(_ uint16, fd []byte) { fds = append(fds, order.Uint32(fd)) })
			})
		}
	})
	require.Equal(t, uint32(7), index)
	require.Equal(t, []uint32{3, 4}, fds)
	for n := range len(p) { // damaged ones end, and nothing else
		attributes(p[:n], func(uint16, []byte) {})
		eachMessage(p[:n], func(uint16, uint32, []byte) {})
	}
}

// The kernel answers: it has netlink, if not nbd.
func TestAKernelWithoutNBDIsNamed(t *testing.T) {
	t.Parallel()
	n, err := dialKernel()
	if err == nil {
		n.close()
		t.Skip("this kernel has nbd")
	}
	require.ErrorIs(t, err, ErrNoNBD)
	require.NotErrorIs(t, err, unix.ENOENT)
	err = Main(context.Background(), nil, []string{"/dev/nbd0", "--server", "127.0.0.1:1", "--export", "x", "--foreground"}, io.Discard, io.Discard)
	require.ErrorContains(t, err, "modprobe nbd")
	require.ErrorContains(t, Detach("/dev/nbd0"), "modprobe nbd")
}
