package guest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"goldstream/personalize/sandbox/wire"
)

// plainRegisters asks the C library of programs for no registers that the kernel
// may lose; the names changed with glibc 2.33.
const plainRegisters = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-AVX_Usable,-AVX2_Usable,-AVX512F_Usable,-AVX_Fast_Unaligned_Load"

// searchPath is where programs of the disk are looked for.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// run runs a program of the disk with the disk's tree as its root. It ends with
// all that it started.
func (t tree) run(c *call) ([]string, error) {
	if len(c.args) < 2 {
		return nil, failure(unix.EINVAL, "say which program")
	}
	program, err := t.find(c.args[1])
	if err != nil {
		return nil, err
	}
	undo, err := t.furnish()
	defer undo()
	if err != nil {
		return nil, err
	}
	cmd := &exec.Cmd{
		Path: program, Args: c.args[1:], Dir: c.args[0],
		Env:         []string{"PATH=" + searchPath, "HOME=/root", "LANG=C.UTF-8", "TERM=dumb", plainRegisters},
		SysProcAttr: &syscall.SysProcAttr{Chroot: t.root, Setsid: true},
	}
	return exitOf(cmd, c.args[1], runToEnd(cmd, c.out, output{c.out.l, wire.Stderr}))
}

// exitOf is the result of a program: its exit status, or the signal that ended it.
func exitOf(cmd *exec.Cmd, name string, err error) ([]string, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, failure(errnoOf(err), "%s: %v", name, errnoOf(err))
	}
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return []string{"", decimal(int(status.Signal()))}, nil
	}
	return []string{decimal(status.ExitStatus()), ""}, nil
}

// runToEnd runs a program. What it leaves running is ended before its output is
// waited for, which that would keep open.
func runToEnd(cmd *exec.Cmd, stdout, stderr io.Writer) error {
	var outputs passing
	for _, stream := range []struct {
		to   io.Writer
		file *io.Writer
	}{{stdout, &cmd.Stdout}, {stderr, &cmd.Stderr}} {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer w.Close()
		*stream.file = w
		outputs.pass(stream.to, r)
	}
	if err := cmd.Start(); err != nil {
		closeAll(cmd.Stdout, cmd.Stderr)
		return errors.Join(err, outputs.wait())
	}
	closeAll(cmd.Stdout, cmd.Stderr)
	err := cmd.Wait()
	killOthers()
	return errors.Join(err, outputs.wait())
}

func closeAll(files ...io.Writer) {
	for _, f := range files {
		_ = f.(*os.File).Close()
	}
}

// passing passes streams on until they end.
type passing struct {
	wg   sync.WaitGroup
	errs [2]error
	n    int
}

func (g *passing) pass(to io.Writer, from *os.File) {
	slot := &g.errs[g.n]
	g.n++
	g.wg.Go(func() {
		defer from.Close()
		_, *slot = io.Copy(to, from)
	})
}

func (g *passing) wait() error {
	g.wg.Wait()
	return errors.Join(g.errs[:]...)
}

// find looks a program up in the disk's tree.
func (t tree) find(name string) (string, error) {
	if strings.Contains(name, "/") {
		return path.Clean("/" + name), nil
	}
	for dir := range strings.SplitSeq(searchPath, ":") {
		full := path.Join(dir, name)
		fd, err := t.at(full, true)
		if err != nil {
			continue
		}
		_ = unix.Close(fd)
		return full, nil
	}
	return "", failure(unix.ENOENT, "%s: not in %s of the disk", name, searchPath)
}

// furnish gives the disk's tree the directories that programs expect, as far as it
// has places for them, and returns how to take them away again.
func (t tree) furnish() (undo func(), err error) {
	var placed []string
	undo = func() {
		for i := len(placed) - 1; i >= 0; i-- {
			_ = unix.Unmount(placed[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
	}
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		fd, err := t.open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		err = unix.Mount(dir, magic(fd), "", unix.MS_BIND, "")
		_ = unix.Close(fd)
		if err != nil {
			return undo, failure(errnoOf(err), "%s for programs of the disk: %v", dir, err)
		}
		placed = append(placed, t.root+dir)
	}
	return undo, nil
}
