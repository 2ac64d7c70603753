package attach

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeperEnv tells a process that it is the keeper. What it writes first, on
// file 3, is "ready" or why it failed.
const keeperEnv = "GOLDSTREAM_ATTACH_KEEPER"

// ErrUsage wraps what is wrong with the words of a command line.
var ErrUsage = errors.New("wrong arguments")

// Main does what the arguments of attach say: it attaches a device and leaves a
// keeper in the background, or stays as that with --foreground. The program is
// started again for the keeper with self, its arguments up to those of attach.
// Errors about arguments wrap ErrUsage.
func Main(ctx context.Context, self, args []string, stdout, stderr io.Writer) error {
	p, err := parse(args)
	if err != nil {
		return fmt.Errorf("attach: %w (%w)", err, ErrUsage)
	}
	switch p.action {
	case "detach":
		return Detach(p.Device)
	case "check":
		return check(p.Device, p.Index, stdout)
	}
	if os.Getenv(keeperEnv) != "" {
		return beKeeper(ctx, &p.Config)
	}
	if p.Foreground {
		log := func(format string, args ...any) { fmt.Fprintf(stderr, format+"\n", args...) }
		k, err := attach(ctx, &p.Config, log)
		if err != nil {
			return err
		}
		Harden(log)
		if err := k.keep(ctx); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
	return startKeeper(ctx, append(self, args...))
}

// Detach ends the attachment of a device. Its keeper then ends by itself.
func Detach(device string) error {
	index, err := deviceIndex(device)
	if err != nil {
		return fmt.Errorf("detach: %w (%w)", err, ErrUsage)
	}
	n, err := dialKernel()
	if err != nil {
		return err
	}
	defer n.close()
	if holder(index) == "" {
		return fmt.Errorf("%s is not attached", device)
	}
	if err := n.disconnect(index); err != nil {
		return explain(device, err)
	}
	return nil
}

// check prints who attached a device; not being attached is an error.
func check(device string, index int, stdout io.Writer) error {
	h := holder(index)
	if h == "" {
		return fmt.Errorf("%s is not attached", device)
	}
	_, err := fmt.Fprintln(stdout, h)
	return err
}

// startKeeper starts the keeper and waits until the device is there, or for the
// keeper's error.
func startKeeper(ctx context.Context, args []string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{"@goldstream-attach"}, args...) // the @: see the package comment
	cmd.Env = append(os.Environ(), keeperEnv+"=1")
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return fmt.Errorf("cannot start the keeper: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	word, err := io.ReadAll(r)
	if !stop() {
		return context.Cause(ctx)
	}
	text := strings.TrimSpace(string(word))
	if text == "ready" {
		return cmd.Process.Release()
	}
	if waited := cmd.Wait(); text == "" {
		return fmt.Errorf("the keeper ended without a word: %v, %v", waited, err)
	}
	return errors.New(text)
}

// beKeeper is the keeper's life.
func beKeeper(ctx context.Context, c *Config) error {
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	_ = os.Unsetenv(keeperEnv)
	ready := os.NewFile(3, "ready")
	unix.CloseOnExec(3)
	log := KernelLog("attach")
	k, err := attach(ctx, c, log)
	if err != nil {
		_, _ = fmt.Fprintln(ready, err)
		return err
	}
	Harden(log)
	_, err = fmt.Fprintln(ready, "ready")
	_ = ready.Close()
	if err != nil {
		log("nobody waited for the attachment: %v", err)
	}
	return k.keep(ctx)
}

// KernelLog writes to the kernel's log, which is there from the initramfs to the
// end; no more than a few lines in a second. who goes before each.
func KernelLog(who string) func(format string, args ...any) {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return func(string, ...any) {}
	}
	w := bufio.NewWriterSize(f, 1024)
	const most = 5 // in a second
	var second time.Time
	lines := 0
	return func(format string, args ...any) {
		if time.Since(second) > time.Second {
			second, lines = time.Now(), 0
		}
		if lines++; lines > most {
			return
		}
		fmt.Fprintf(w, "goldstream "+who+": "+format+"\n", args...)
		_ = w.Flush()
	}
}
