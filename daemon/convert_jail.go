package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"goldstream/api/v1"
	"goldstream/jail"
	"goldstream/nbd"
)

const (
	imagePath    = "/image" // in the jail; constant, so that no name is ever parsed
	dialTimeout  = time.Minute
	checkTimeout = 15 * time.Minute
	toolMemory   = 1 << 30

	// stallTimeout is how long qemu-nbd may take for one piece of the disk.
	stallTimeout = 5 * time.Minute
)

// errStalled is the cause of a conversion that was given up for its slowness.
var errStalled = errors.New("no progress")

// server is one qemu-nbd in its jail and the connection to it.
type server struct {
	parent  context.Context // the caller's
	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	process *jail.Process
	client  *nbd.Client
	stderr  *tail
	closing sync.Once
}

// serve starts qemu-nbd. The socket's name is needed only until we are
// connected; it is in a directory of our own, which then goes.
func (c *converter) serve(ctx context.Context) (*server, error) {
	if err := os.MkdirAll(c.tmp, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(c.tmp, "nbd-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	socket, done, err := v1.ShortPath(filepath.Join(dir, "socket"))
	if err != nil {
		return nil, err
	}
	defer done()
	s := &server{parent: ctx, stderr: &tail{}}
	s.ctx, s.cancel = context.WithCancel(ctx)
	if err := c.startServer(s, socket); err != nil {
		s.cancel()
		return nil, err
	}
	dial, cancel := context.WithTimeout(s.ctx, dialTimeout)
	defer cancel()
	if s.client, err = nbd.Dial(dial, "unix", socket, ""); err == nil {
		return s, nil
	}
	s.close()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, c.explainDial(s.stderr.String(), err)
}

// explainDial blames the image only where qemu-nbd has said or done something
// about it: one that is silent may be starved by the host.
func (c *converter) explainDial(said string, err error) error {
	if said = quote(said); said != "" {
		return c.refuse("qemu-nbd cannot open it"+said, "check it with qemu-img check", nil)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("qemu-nbd did not answer within %v, which is not known to be the image's fault: "+
			"try again when the host has less to do: %w", dialTimeout, errStalled)
	}
	return c.refuse("qemu-nbd cannot open it", "check it with qemu-img check", err)
}

// startServer passes the listening socket as fd 3 (systemd's socket
// activation, sd_listen_fds(3)): the jail needs no place to make one. Our own
// copies are closed again, so that the connection breaks if qemu-nbd dies.
func (c *converter) startServer(s *server, socket string) error {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	passed, err := listener.File()
	if err != nil {
		return err
	}
	defer passed.Close()
	spec, err := c.toolSpec(c.nbd, "--read-only", "--persistent", "--shared=1",
		"--aio=threads", "--format="+c.format, imagePath)
	if err != nil {
		return err
	}
	spec.Files = []*os.File{passed}
	spec.Env = []string{"LISTEN_FDS=1", "LISTEN_PID=1"} // it is pid 1 in there
	spec.Stderr = s.stderr
	s.process, err = jail.Start(s.ctx, spec)
	if err != nil {
		return jailError(err)
	}
	c.warn(s.process)
	return nil
}

// warn logs what the jail of a conversion lacks.
func (c *converter) warn(p *jail.Process) {
	if missing := p.Missing(); len(missing) > 0 && c.log != nil {
		c.log.Warn("an image is read in a jail that lacks layers", "missing", missing)
	}
}

// jailError keeps the errno of a jail that could not be set up out of the
// causes that callers act on: the ENOSPC of too many namespaces is no full
// disk, and an EPERM is not the file's.
func jailError(err error) error {
	if !errors.Is(err, jail.ErrSetup) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &v1.Error{Code: v1.CodeInternal, Message: fmt.Sprintf("the jail that this image format is read in cannot be made: %v", err),
		Advice: "Have the host allow it, or convert the image to raw first, where it is trusted: qemu-img convert -O raw IMAGE DISK.raw"}
}

// close may be called more than once; it returns when qemu-nbd is gone.
func (s *server) close() {
	s.closing.Do(func() {
		if s.client != nil {
			_ = s.client.Close()
		}
		s.process.Kill()
		_ = s.process.Wait()
		s.cancel()
	})
}

// toolSpec describes a qemu program that may read the image.
func (c *converter) toolSpec(program string, args ...string) (jail.Spec, error) {
	path, err := findTool(program)
	if err != nil {
		return jail.Spec{}, err
	}
	binds, err := jail.Executables(path)
	if err != nil {
		return jail.Spec{}, fmt.Errorf("preparing a jail for %s: %w", program, err)
	}
	return jail.Spec{
		Path:    path,
		Args:    args,
		Binds:   append(binds, jail.Bind{File: c.bound(), Target: imagePath, AsOwner: true}),
		Profile: jail.ImageTool(),
		Limits:  toolLimits(c.size),
	}, nil
}

// toolLimits are those of a program that reads a file of n bytes.
func toolLimits(n int64) jail.Limits {
	return jail.Limits{
		Files: 64, Processes: 128, // qemu's thread pool has up to 64
		Memory: toolMemory, Data: 4 * toolMemory, FileSize: 1 << 20,
		// These two hold without a cgroup, too. Stacks of 64 threads and
		// arenas of glibc are address space, but no memory.
		Address: 16 * toolMemory,
		CPU:     uint64(toolCPU(n) / time.Second),
	}
}

// toolCPU is how much time of processors a file of n bytes may cost: an hour,
// and a second for each MiB, which is many times what decompressing takes.
func toolCPU(n int64) time.Duration { return time.Hour + time.Duration(n>>20)*time.Second }

func findTool(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("reading this image format needs %s: install it (Debian, Ubuntu: package qemu-utils; "+
			"Fedora, RHEL: qemu-img and qemu-nbd), or convert the image to raw first: %w", program, err)
	}
	return filepath.EvalSymlinks(path)
}

// runTool runs a program to its end and gives its output to read.
func (c *converter) runTool(ctx context.Context, read func(io.Reader) error, program string, args ...string) (exit int, stderr string, err error) {
	spec, err := c.toolSpec(program, args...)
	if err != nil {
		return 0, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	said := &tail{}
	out, in := io.Pipe()
	spec.Stdout, spec.Stderr = in, said
	process, err := jail.Start(ctx, spec)
	if err != nil {
		return 0, "", jailError(err)
	}
	ended := make(chan error, 1)
	go func() {
		err := process.Wait()
		_ = in.Close()
		ended <- err
	}()
	readErr := read(out)
	if readErr != nil {
		process.Kill()
	}
	_ = out.CloseWithError(readErr)
	err = <-ended
	if readErr != nil && ctx.Err() == nil {
		return 0, said.String(), readErr
	}
	var status *exec.ExitError
	if errors.As(err, &status) && status.Exited() && ctx.Err() == nil {
		return status.ExitCode(), said.String(), nil
	}
	return 0, said.String(), err
}

// tail keeps the last few KiB of what a program says.
type tail struct {
	mu struct {
		sync.Mutex
		text []byte
	}
}

const tailLen = 2 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.text = append(t.mu.text, p[max(0, len(p)-tailLen):]...)
	t.mu.text = t.mu.text[max(0, len(t.mu.text)-tailLen):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.mu.text)
}

// quote renders a program's words for an error: one line, no control
// characters, since an image can put its own text into them.
func quote(said string) string {
	said = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(said, "?"))
	if said = strings.Join(strings.Fields(said), " "); said == "" {
		return ""
	}
	return " («" + said + "»)"
}
