package proxydhcp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what is told to servers.
type Options struct {
	// Addresses are those that boots are handed out on. There must be one.
	Addresses []netip.AddrPort
	// Path is that of the first script there.
	Path string
	// Dir takes what dnsmasq is told; it is made.
	Dir string
	// Programs is the directory of boot programs; default /usr/lib/ipxe.
	Programs string
	// Asked, if set, is called with the MAC address of each server that was told where
	// its boot is. It must not block.
	Asked func(mac string)
	// Log hears what dnsmasq says. It must be set.
	Log *slog.Logger
}

// ErrMissing is a package of the host's that is not there.
var ErrMissing = errors.New("not installed")

const (
	firstPause   = time.Second // before dnsmasq is started again; it doubles
	longestPause = 30 * time.Second
	startTime    = time.Minute // until it has its ports
	endTime      = 5 * time.Second
)

// Of the files of each dnsmasq.
const (
	confSuffix = ".conf"
	pidSuffix  = ".pid"
)

// Proxy is what Start has started.
type Proxy struct {
	stop context.CancelFunc
	done sync.WaitGroup
}

// Start starts a dnsmasq for each address, and keeps them running until Close.
func Start(ctx context.Context, o Options) (_ *Proxy, err error) {
	if err := endFormers(o); err != nil { // whatever comes of the rest, a stop included
		return nil, err
	}
	if o.Programs == "" {
		o.Programs = "/usr/lib/ipxe"
	}
	for _, name := range []string{ProgramBIOS, ProgramUEFI} {
		if _, err := os.Stat(filepath.Join(o.Programs, name)); err != nil {
			return nil, fmt.Errorf("%w: servers start with iPXE (apt install ipxe): %w", ErrMissing, err)
		}
	}
	program, err := findDnsmasq()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &Proxy{stop: stop}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	for i, at := range o.Addresses {
		n, err := networkOf(at)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(o.Dir, strconv.Itoa(i))
		s := &server{program: program, file: file + confSuffix, pidFile: file + pidSuffix, log: o.Log.With("dnsmasq", n.device), asked: o.Asked}
		run, err := s.first(ctx, n.config(o.Programs, o.Path, s.pidFile))
		if err != nil {
			return nil, err
		}
		p.done.Go(func() { s.keep(life, run) })
	}
	return p, nil
}

// Close ends them all.
func (p *Proxy) Close() {
	p.stop()
	p.done.Wait()
}

// findDnsmasq looks where root's programs are, too: services often have a shorter path.
func findDnsmasq() (string, error) {
	for _, name := range []string{"dnsmasq", "/usr/sbin/dnsmasq"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("dnsmasq: %w: servers are told where their boot is by it (apt install dnsmasq-base)", ErrMissing)
}

// server is one dnsmasq.
type server struct {
	program, file, pidFile string
	log                    *slog.Logger
	asked                  func(mac string)
}

// first is the first start, which ends with ctx, or late.
func (s *server) first(ctx context.Context, config string) (*run, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := s.prepare(ctx, config); err != nil {
		return nil, err
	}
	return s.start(ctx)
}

// prepare has dnsmasq check its configuration.
func (s *server) prepare(ctx context.Context, config string) error {
	if err := os.WriteFile(s.file, []byte(config), 0o600); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, s.program, "--test", "--conf-file="+s.file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("dnsmasq refuses its configuration %s: %w: %s", s.file, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// endFormers ends what a killed process left, also at addresses that are no longer given.
func endFormers(o Options) (err error) {
	list, err := os.ReadDir(o.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range list {
		if name, is := strings.CutSuffix(e.Name(), pidSuffix); is {
			s := &server{file: filepath.Join(o.Dir, name+confSuffix), pidFile: filepath.Join(o.Dir, e.Name()), log: o.Log}
			err = errors.Join(err, s.endFormer())
		}
	}
	return err
}

// endFormer ends the dnsmasq that a killed process left.
func (s *server) endFormer() error {
	text, err := os.ReadFile(s.pidFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 2 {
		return os.Remove(s.pidFile)
	}
	// The handle is taken before the look: no other process can come to be meant.
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return os.Remove(s.pidFile)
	} else if err != nil {
		return err
	}
	defer unix.Close(fd)
	words, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(words), "--conf-file="+s.file) {
		return os.Remove(s.pidFile)
	}
	s.log.Info("a former dnsmasq is ended", "pid", pid)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("the dnsmasq of an earlier process, %d, cannot be ended: %w", pid, err)
	}
	wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}} // readable when it has ended
	if n, err := unix.Poll(wait, int(endTime.Milliseconds())); n == 0 || err != nil {
		return fmt.Errorf("the dnsmasq of an earlier process, %d, does not end: %w", pid, err)
	}
	return os.Remove(s.pidFile)
}

// keep starts dnsmasq again whenever it ends.
func (s *server) keep(life context.Context, r *run) {
	pause := firstPause
	for {
		began := time.Now()
		if r != nil {
			select {
			case <-life.Done():
				r.end()
				_ = os.Remove(s.pidFile)
				return
			case <-r.ended:
				s.log.Error("dnsmasq has ended: servers are not told where their boot is until it is started again", "error", r.failure())
			}
			if time.Since(began) > longestPause {
				pause = firstPause
			}
		}
		select {
		case <-life.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, longestPause)
		var err error
		ctx, cancel := context.WithTimeout(life, startTime)
		if r, err = s.start(ctx); err != nil && life.Err() == nil {
			s.log.Error("dnsmasq cannot be started", "error", err, "again", pause)
		}
		cancel()
	}
}

// run is one life of a dnsmasq.
type run struct {
	cmd   *exec.Cmd
	ended chan struct{}
	mu    sync.Mutex
	said  string // last
	err   error  // valid after ended
}

// start returns when dnsmasq has its ports.
func (s *server) start(ctx context.Context) (*run, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	r := &run{cmd: exec.Command(s.program, "--conf-file="+s.file), ended: make(chan struct{})}
	r.cmd.Stderr = in
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is ours to answer
	err = r.cmd.Start()
	_ = in.Close()
	if err != nil {
		return nil, errors.Join(err, out.Close())
	}
	ready := make(chan struct{})
	go func() {
		defer close(r.ended)
		r.listen(out, s, ready)
		_ = out.Close()
		r.err = r.cmd.Wait()
	}()
	select {
	case <-ready:
		return r, nil
	case <-r.ended:
		return nil, fmt.Errorf("dnsmasq ended at once: %w", r.failure())
	case <-ctx.Done():
		r.end()
		return nil, fmt.Errorf("dnsmasq does not get ready: %w", context.Cause(ctx))
	}
}

func (r *run) end() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(endTime):
		_ = r.cmd.Process.Kill()
		<-r.ended
	}
}

func (r *run) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		return errors.New(r.said)
	}
	return fmt.Errorf("%w: %s", r.err, r.said)
}
