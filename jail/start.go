package jail

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// Process is a program in its jail. All methods may be called from any
// goroutine.
type Process struct {
	cmd     *exec.Cmd
	ctx     context.Context
	cgroup  *cgroup
	missing []string
	done    chan struct{}
	err     error // set before done is closed
}

// Start builds the jail and returns when the program runs. The end of ctx
// kills it. An error wraps ErrSetup and leaves nothing behind.
func Start(ctx context.Context, s Spec) (*Process, error) {
	s = s.withDefaults()
	p := &Process{ctx: ctx, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.run(s, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSetup, err)
	}
	return p, nil
}

// Wait returns when no process of the jail is left: nil after exit status 0,
// the context's error if that ended it, otherwise an *exec.ExitError.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Done is closed when no process of the jail is left.
func (p *Process) Done() <-chan struct{} { return p.done }

// Kill ends every process in the jail; Wait tells when that is done.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() }

// PID is the program's process id on the host.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Missing names the layers that this host could not give.
func (p *Process) Missing() []string { return p.missing }

// run owns the program from start to end, on one thread: the parent-death
// signal is bound to it.
func (p *Process) run(s Spec, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	if err := p.launch(s); err != nil {
		started <- err
		return
	}
	started <- nil
	p.err = p.reap()
}

// reap waits for the program. The kernel lets pid 1 of a namespace be reaped
// only after every other process in it (zap_pid_ns_processes).
func (p *Process) reap() error {
	err := p.cmd.Wait()
	oom := p.cgroup.outOfMemory()
	p.cgroup.remove()
	switch {
	case err == nil:
		return nil
	case p.ctx.Err() != nil:
		return fmt.Errorf("%s: %w", path.Base(p.cmd.Path), context.Cause(p.ctx))
	case oom:
		return fmt.Errorf("out of memory (the jail's limit): %w", err)
	}
	return err
}

// launch starts the stage, hands it its order and waits for its report.
func (p *Process) launch(s Spec) (err error) {
	if err := errors.Join(s.validate(), p.ctx.Err()); err != nil {
		return err
	}
	who, err := identify(s.HostID)
	if err != nil {
		return err
	}
	o, files, err := newOrder(s, who)
	defer closeAll(files)
	if err != nil {
		return err
	}
	pipes, err := openPipes()
	if err != nil {
		return err
	}
	defer pipes.close()
	p.cmd = stageCommand(p.ctx, s, who, append([]*os.File{pipes.report.w, pipes.order.r}, files...))
	if err := p.cmd.Start(); err != nil {
		return explainClone(err)
	}
	if err := p.settle(s, o, pipes); err != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cgroup.remove()
		return errors.Join(p.ctx.Err(), err)
	}
	p.missing = append(p.missing, who.missing()...)
	return nil
}

// settle is the conversation with the running stage, under the deadline.
func (p *Process) settle(s Spec, o order, pipes *pipes) error {
	var missing string
	p.cgroup, missing = joinCgroup(p.cmd.Process.Pid, s.Limits)
	if missing != "" {
		p.missing = append(p.missing, missing)
	}
	offerToOOM(p.cmd.Process.Pid)
	deadline := time.Now().Add(s.SetupTimeout)
	pipes.closeTheirs()
	_ = pipes.order.w.SetWriteDeadline(deadline)
	_ = pipes.report.r.SetReadDeadline(deadline)
	if err := json.NewEncoder(pipes.order.w).Encode(o); err != nil {
		return fmt.Errorf("handing over the order: %w", err)
	}
	_ = pipes.order.w.Close()
	report, err := io.ReadAll(io.LimitReader(pipes.report.r, 4096))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("the stage did not finish within %v: %w", s.SetupTimeout, err)
	}
	return readReport(report)
}

// offerToOOM makes the program the first to go when the host runs out of
// memory: a daemon that asked to go last hands that down to its children.
// Raising the score needs no privilege (proc(5)); best effort.
func offerToOOM(pid int) {
	_ = write("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", "800")
}

func readReport(report []byte) error {
	text, isReady := bytes.CutPrefix(report, []byte(ready))
	switch {
	case len(text) > 0:
		return errors.New(string(text))
	case !isReady:
		return errors.New("the stage died before the program ran; main must call jail.MaybeInit first")
	}
	return nil
}

func newOrder(s Spec, who identity) (order, []*os.File, error) {
	filter, err := s.Profile.assemble()
	if err != nil {
		return order{}, nil, err
	}
	mounts, files, err := prepareBinds(append(devices(), s.Binds...), who, bindFD(len(s.Files)))
	return order{
		Path: s.Path, Args: append([]string{s.Path}, s.Args...), Env: s.Env, Dir: s.Dir,
		Mounts: mounts, Tmpfs: s.Tmpfs, Links: s.Links, Proc: s.Proc,
		Limits: s.Limits, Files: len(s.Files), Filter: filter,
	}, files, err
}

func stageCommand(ctx context.Context, s Spec, who identity, ours []*os.File) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{stageName, strconv.Itoa(len(s.Files))}
	cmd.Env = []string{"GOMAXPROCS=1", "GOGC=off"} // the stage lives for milliseconds
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
	cmd.ExtraFiles = append(append([]*os.File(nil), s.Files...), ours...)
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  namespaces,
		Setsid:      true, // no controlling terminal to push input into
		Pdeathsig:   syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: who.uid, Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: who.gid, Size: 1}},
		// Without Credential the child would be the overflow uid and lose all
		// capabilities at execve. The empty group list drops root's groups.
		GidMappingsEnableSetgroups: who.privileged,
		Credential:                 &syscall.Credential{Uid: 0, Gid: 0},
	}
	return cmd
}
