package sandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fileSlot is a slot that copies: what is bound is the inode.
type fileSlot struct {
	file     string
	attached string
	failure  error // of the store
}

func (s *fileSlot) Path() string { return s.file }

func (s *fileSlot) Mount() string { return "" }

func (s *fileSlot) ReadAt(_ context.Context, p []byte, off int64) error {
	f, err := os.Open(s.file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(p, off)
	return err
}

func (s *fileSlot) Attach(_ context.Context, volume string, _ bool) error {
	s.attached = volume
	return copyFile(s.file, volume)
}

func (s *fileSlot) Detach(context.Context) error {
	if s.attached == "" {
		return nil
	}
	err := errors.Join(copyFile(s.attached, s.file), os.Truncate(s.file, 0), s.failure)
	s.attached = ""
	return err
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// TestPool: a cell is ready before it is asked for, serves one volume once, and is
// replaced; the store's errors are the lease's.
func TestPool(t *testing.T) {
	tl, err := tools()
	require.NoError(t, err)
	// A disk that the kernel may not write is noticed.
	locked := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(locked, make([]byte, mib), 0o444))
	if os.Geteuid() != 0 { // root's jail gets the owner's rights
		_, err = Start(t.Context(), Config{Tools: tl, Disk: locked})
		require.ErrorIs(t, err, errReadOnly)
	}
	slot := &fileSlot{file: filepath.Join(t.TempDir(), "disk")}
	require.NoError(t, os.WriteFile(slot.file, nil, 0o666))
	require.NoError(t, os.Chmod(slot.file, 0o666))
	p := NewPool(PoolOptions{Config: Config{Tools: tl}, Slots: []Slot{slot}, Log: slog.New(slog.DiscardHandler)})
	defer p.Close()
	ctx := patience(t)
	one := assemble(t, part{mib: 16, image: makeFS(t, "ext4", 16*mib, seed(t))})
	two := copyOf(t, one)

	_, err = p.Take(ctx, "/no/such/volume", false)
	require.ErrorIs(t, err, fs.ErrNotExist)
	var pids []int
	for _, volume := range []string{one, two} {
		l, err := p.Take(ctx, volume, false)
		require.NoError(t, err)
		pids = append(pids, l.process.PID())
		_, err = l.Mount(ctx, "/dev/sda1", "/", ReadWrite, "")
		require.NoError(t, err)
		text, err := l.ReadFile(ctx, "/etc/hostname")
		require.NoError(t, err)
		require.Equal(t, "golden\n", string(text), "the other volume's")
		require.NoError(t, l.Write(ctx, "/etc/hostname", strings.NewReader(filepath.Base(volume)), 0o644))
		slot.failure = unix.EIO
		require.ErrorIs(t, l.Close(ctx), unix.EIO, "the store's error")
		require.ErrorIs(t, l.Close(ctx), unix.EIO)
		slot.failure = nil
		require.Equal(t, unix.ESRCH, unix.Kill(pids[len(pids)-1], 0))
		require.Contains(t, tool(t, "debugfs", "-R", "cat /etc/hostname", extract(t, volume, mib, 16*mib)), "disk")
	}
	require.NotEqual(t, pids[0], pids[1])
	p.Close()
	_, err = p.Take(ctx, one, false)
	require.ErrorIs(t, err, ErrPoolClosed)
}

// stuckError is a slot's that is lost.
type stuckError struct{}

func (stuckError) Error() string { return "stuck" }
func (stuckError) Stuck() bool   { return true }

// TestPoolLosesSlots: no cell is booted in a slot that is stuck, and with the last one
// nobody waits any more.
func TestPoolLosesSlots(t *testing.T) {
	tl, err := tools()
	require.NoError(t, err)
	var slots []Slot
	for range 2 {
		slot := &fileSlot{file: filepath.Join(t.TempDir(), "disk"), failure: stuckError{}}
		require.NoError(t, os.WriteFile(slot.file, nil, 0o666))
		require.NoError(t, os.Chmod(slot.file, 0o666))
		slots = append(slots, slot)
	}
	var log bytes.Buffer
	p := NewPool(PoolOptions{Config: Config{Tools: tl}, Slots: slots, Log: slog.New(slog.NewTextHandler(&log, nil))})
	defer p.Close()
	ctx := patience(t)
	volume := assemble(t, part{mib: 16, image: makeFS(t, "ext4", 16*mib, seed(t))})
	var used []Slot
	for range slots {
		l, err := p.Take(ctx, volume, true)
		require.NoError(t, err)
		used = append(used, l.slot)
		require.ErrorIs(t, l.Close(ctx), stuckError{})
	}
	require.ElementsMatch(t, slots, used, "each once")
	_, err = p.Take(ctx, volume, true)
	require.ErrorIs(t, err, errAllStuck)
	p.Close()
	require.Equal(t, 2, strings.Count(log.String(), "is lost"))
}

// TestPoolThatDoesNotStart: who waits for a cell learns that none will be there.
func TestPoolThatDoesNotStart(t *testing.T) {
	tl, err := tools()
	require.NoError(t, err)
	tl.Image = filepath.Join(t.TempDir(), "gone")
	slot := &fileSlot{file: filepath.Join(t.TempDir(), "disk")}
	require.NoError(t, os.WriteFile(slot.file, nil, 0o666))
	p := NewPool(PoolOptions{Config: Config{Tools: tl}, Slots: []Slot{slot}, Log: slog.New(slog.DiscardHandler)})
	defer p.Close()
	_, err = p.Take(patience(t), "volume", false)
	require.ErrorContains(t, err, "gone")
}
