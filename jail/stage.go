package jail

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaybeInit must be the first call of main, and of TestMain in packages whose
// tests start jails. In an ordinary process it returns at once. In a process
// that Start made, it builds the jail, becomes the program and never returns.
func MaybeInit() {
	switch {
	case len(os.Args) == 2 && os.Args[0] == stageName:
		stage(os.Args[1])
	case len(os.Args) == 1 && os.Args[0] == holdName:
		hold()
	}
}

// stage runs on one thread throughout: capabilities, securebits and Landlock
// are per thread, and execve keeps those of the caller.
func stage(arg string) {
	runtime.LockOSThread()
	files, err := strconv.Atoi(arg)
	if err != nil || files < 0 || files > 1024 {
		os.Exit(2)
	}
	report := os.NewFile(uintptr(reportFD(files)), "report")
	_, _ = fmt.Fprint(report, confine(files, report))
	os.Exit(1)
}

// confine only returns with an error. The order of its steps matters: mounts
// need capabilities, Landlock would forbid mounts, seccomp forbids all of it.
func confine(files int, report *os.File) error {
	o, err := readOrder(files)
	if err != nil {
		return err
	}
	// Also what the parent leaked to us: everything but the program's own.
	if err := unix.CloseRange(uint(reportFD(files)), math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
	if err := enterRoot(o); err != nil {
		return err
	}
	if err := unix.Chdir(o.Dir); err != nil {
		return fmt.Errorf("chdir %s: %w", o.Dir, err)
	}
	if err := dropCapabilities(); err != nil {
		return err
	}
	if err := landlock(o); err != nil {
		return err
	}
	return become(o, report)
}

func readOrder(files int) (o order, err error) {
	f := os.NewFile(uintptr(orderFD(files)), "order")
	defer f.Close()
	if err := json.NewDecoder(f).Decode(&o); err != nil {
		return o, fmt.Errorf("reading the order: %w", err)
	}
	return o, nil
}

// become is the last step. The limits come late because the Go runtime itself
// would not fit into a small RLIMIT_AS.
func become(o order, report *os.File) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("parent death signal: %w", err)
	}
	if _, err := report.WriteString(ready); err != nil {
		return err
	}
	if err := setLimits(o.Limits); err != nil {
		return err
	}
	if err := loadFilter(o.Filter); err != nil {
		return err
	}
	err := syscall.Exec(o.Path, o.Args, o.Env)
	return fmt.Errorf("execve %s: %w%s", o.Path, err, execHint(err))
}

func execHint(err error) string {
	switch err {
	case unix.ENOENT:
		return " (the program, its script interpreter or its dynamic loader is not among the binds)"
	case unix.EACCES:
		return " (no execute permission for the jail's uid, or a noexec file system)"
	}
	return ""
}
