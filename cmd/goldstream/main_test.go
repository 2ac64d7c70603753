package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// testVersion is what the binary under test was told it is.
const testVersion = "0.0-test"

// program is the goldstream that the tests run, built once by TestMain.
var program string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "goldstream-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "goldstream")
	build := exec.Command("go", "build", "-ldflags", "-X main.version="+testVersion, "-o", program, ".")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		return 1
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// result is what a command left behind.
type result struct {
	out, err string
	code     int
}

// house is a data directory and how commands are run on it.
type house struct {
	tb   testing.TB
	data string
	in   io.Reader // standard input of the next command
}

func newHouse(tb testing.TB) *house {
	return &house{tb: tb, data: filepath.Join(shortTempDir(tb), "data")}
}

// shortTempDir is TempDir with a path that fits into a socket's address.
func shortTempDir(tb testing.TB) string {
	dir, err := os.MkdirTemp("", "gs")
	require.NoError(tb, err)
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (h *house) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "GOLDSTREAM_DATA="+h.data, "TZ=UTC")
	return cmd
}

func (h *house) run(args ...string) result {
	h.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := h.command(args...)
	cmd.Stdin, h.in = h.in, nil
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		h.tb.Fatalf("%v: %v", args, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed and returns its standard output.
func (h *house) must(args ...string) string {
	h.tb.Helper()
	r := h.run(args...)
	require.Equal(h.tb, 0, r.code, "%v: %s", args, r.err)
	return r.out
}

// service is a running daemon.
type service struct {
	tb     testing.TB
	cmd    *exec.Cmd
	ready  string // what it printed
	uri    string // of its first NBD listener
	socket string // of its NBD listener on a Unix socket
	log    *lockedBuffer
	ended  chan error
}

// serve starts a daemon with NBD on a free port and on a Unix socket, and waits
// until it is ready.
func (h *house) serve(flags ...string) *service {
	h.tb.Helper()
	s := &service{tb: h.tb, socket: filepath.Join(filepath.Dir(h.data), "nbd"), log: new(lockedBuffer), ended: make(chan error, 1)}
	s.cmd = h.command(append([]string{"serve", "--nbd", "127.0.0.1:0", "--nbd", "unix:" + s.socket}, flags...)...)
	s.cmd.Stderr = s.log
	s.cmd.Stdin, h.in = h.in, nil
	pr, pw, err := os.Pipe()
	require.NoError(h.tb, err)
	defer pr.Close()
	s.cmd.Stdout = pw
	require.NoError(h.tb, s.cmd.Start())
	pw.Close()
	go func() { s.ended <- s.cmd.Wait() }()
	h.tb.Cleanup(s.kill)
	line, err := bufio.NewReader(pr).ReadString('\n')
	require.NoError(h.tb, err, "no ready line; the log: %s", s.log)
	if s.ready = line; strings.HasPrefix(line, "{") { // with --json
		return s
	}
	words := strings.Fields(line)
	require.Greater(h.tb, len(words), 3, line)
	require.Equal(h.tb, []string{"goldstream", testVersion, "ready:"}, words[:3])
	s.uri = words[3]
	return s
}

// kill ends the daemon with SIGKILL and waits for it.
func (s *service) kill() { s.end(syscall.SIGKILL) }

// stop ends the daemon in order.
func (s *service) stop() {
	s.tb.Helper()
	require.NoError(s.tb, s.end(syscall.SIGTERM), "the log: %s", s.log)
}

func (s *service) end(sig syscall.Signal) error {
	if s.cmd.ProcessState != nil {
		return nil
	}
	_ = s.cmd.Process.Signal(sig)
	return s.wait()
}

func (s *service) wait() error {
	select {
	case err := <-s.ended:
		return err
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Signal(syscall.SIGQUIT) // its stacks go to the log
		return fmt.Errorf("the daemon does not end: %v; the log: %s", <-s.ended, s.log)
	}
}

// tool runs a program that has to be there and to succeed.
func tool(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	cmd := exec.Command(name, args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(tb, err, "%s %v: %s", name, args, errs.String())
	return string(out)
}

// rawDisk writes a disk of size bytes whose first and last parts are random and
// whose middle is a hole.
func rawDisk(tb testing.TB, path string, size int64, seed uint64) []byte {
	tb.Helper()
	p := make([]byte, size)
	fillRandom(rand.New(rand.NewPCG(seed, 0)), p[:size/4])
	fillRandom(rand.New(rand.NewPCG(seed, 1)), p[size-size/8:])
	require.NoError(tb, os.WriteFile(path, p, 0o644))
	return p
}

func fillRandom(r *rand.Rand, p []byte) {
	for len(p) >= 8 {
		x := r.Uint64()
		for i := range 8 {
			p[i] = byte(x >> (8 * i))
		}
		p = p[8:]
	}
	for i := range p {
		p[i] = byte(r.Uint32())
	}
}
