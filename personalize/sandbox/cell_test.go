package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"goldstream/personalize/sandbox/wire"
)

const twoPartitions = "label: gpt\nsize=4MiB\nsize=8MiB\n"

// TestCell sees in one boot what every cell does: it shows the disk, passes each
// byte of the line, survives a failed input, and ends in order.
func TestCell(t *testing.T) {
	disk := makeDisk(t, 32<<20, twoPartitions)
	_, err := tools()
	require.NoError(t, err)
	began := time.Now()
	c := start(t, Config{Disk: disk})
	t.Logf("booted in %v", time.Since(began))
	ctx := patience(t)
	list, err := c.Devices(ctx)
	require.NoError(t, err)
	require.Equal(t, []Device{{"/dev/sda", 32 << 20}, {"/dev/sda1", 4 << 20}, {"/dev/sda2", 8 << 20}}, list)

	in := make([]byte, 1<<20+77)
	fill := rand.NewChaCha8([32]byte{1})
	_, _ = fill.Read(in)
	var out bytes.Buffer
	results, err := c.call(ctx, request{op: wire.OpEcho, args: []string{"a", ""}, input: bytes.NewReader(in), output: &out})
	require.NoError(t, err)
	require.Equal(t, []string{"a", ""}, results)
	require.True(t, bytes.Equal(in, out.Bytes()), "the line changed what it passed")
	t.Logf("echoed after %v", time.Since(began))

	broken := io.MultiReader(bytes.NewReader(in[:5000]), brokenReader{})
	_, err = c.call(ctx, request{op: wire.OpEcho, input: broken, output: io.Discard})
	require.ErrorIs(t, err, errBroken)

	// What the guest gets too much of, it does not lose.
	results, err = c.call(ctx, request{op: wire.OpEcho, args: []string{strings.Repeat("x", 60000)}, output: io.Discard, input: bytes.NewReader(nil)})
	require.NoError(t, err)
	require.Len(t, results[0], 60000)

	require.NoError(t, c.Close(ctx))
	_, err = c.Devices(ctx)
	require.ErrorContains(t, err, "the sandbox ended")
}

var errBroken = errors.New("broken input")

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

// TestAttachLater: no disk until it is attached; partitions are there at once. A
// read-only disk cannot be written.
func TestAttachLater(t *testing.T) {
	disk := makeDisk(t, 32<<20, twoPartitions)
	c := start(t, Config{Disk: disk, AttachLater: true, ReadOnly: true})
	ctx := patience(t)
	_, err := c.Devices(ctx)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, c.Attach(ctx))
	list, err := c.Devices(ctx)
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Error(t, c.Attach(ctx), "twice")
	// Output over its limit ends the cell: the guest would not stop.
	_, err = c.call(ctx, request{op: wire.OpEcho, input: bytes.NewReader(make([]byte, 5000)), output: io.Discard, limit: 4000})
	require.ErrorIs(t, err, ErrTooLong)
	require.Error(t, c.Wait())
}

func TestRefusedDisks(t *testing.T) {
	for _, head := range []string{"MOOO\x00\x00\x00\x02/etc/shadow", "OOOM\x02\x00\x00\x00/etc/shadow", "", "abc"} {
		file := filepath.Join(t.TempDir(), "disk")
		text := head
		if len(head) > 3 {
			text += strings.Repeat("\x00", 8192)
		}
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		_, err := tryStart(t, Config{Disk: file})
		require.ErrorIs(t, err, ErrDiskRefused, "%q", head)
	}
	_, err := tryStart(t, Config{Disk: "/does/not/exist"})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestDeadline: a cell ends by itself, whatever it does.
func TestDeadline(t *testing.T) {
	_, err := tryStart(t, Config{Deadline: time.Nanosecond})
	require.ErrorIs(t, err, ErrDeadline)
	_, err = tryStart(t, Config{BootTimeout: time.Nanosecond})
	require.ErrorIs(t, err, ErrBoot)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tl, err := tools()
	require.NoError(t, err)
	_, err = Start(ctx, Config{Tools: tl})
	require.ErrorIs(t, err, context.Canceled)
}

// TestPanic: a kernel that panics is not waited for.
func TestPanic(t *testing.T) {
	tl, err := tools()
	require.NoError(t, err)
	tl.Image = makeDisk(t, 1<<20, "") // no file system
	_, err = Start(t.Context(), Config{Tools: tl})
	require.ErrorIs(t, err, ErrBoot)
	require.ErrorIs(t, err, errPanicked)
	require.ErrorContains(t, err, "Unable to mount root fs")
}

const holderVariable = "SANDBOX_TEST_HOLD"

// hold is another process that has a cell: it tells the kernel's process id and
// waits to be killed.
func hold(spec string) int {
	dir, disk, _ := strings.Cut(spec, ":")
	tl, err := Find(context.Background(), testOptions(dir))
	if err != nil {
		panic(err)
	}
	c, err := Start(context.Background(), Config{Tools: tl, Disk: disk})
	if err != nil {
		panic(err)
	}
	_, _ = os.Stdout.WriteString(strconv.Itoa(c.process.PID()) + "\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 1
}
