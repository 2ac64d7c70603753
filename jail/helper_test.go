package jail

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// attacks run inside the jail, as the hostile program would. Each prints one
// line: what it got.
func attacks() map[string]func(args []string) {
	return map[string]func(args []string){
		"hello":    func(args []string) { say("hello %s pid %d uid %d", strings.Join(args, " "), os.Getpid(), os.Getuid()) },
		"read":     attackRead,
		"write":    attackWrite,
		"list":     attackList,
		"fds":      attackFDs,
		"connect":  attackConnect,
		"syscalls": attackSyscalls,
		"clone":    attackClone,
		"status":   attackStatus,
		"limits":   attackLimits,
		"forks":    attackForks,
		"memory":   attackMemory,
		"fill":     attackFill,
		"sleep":    attackSleep,
		"spin":     attackSpin,
		"abort":    attackAbort,
		"kill":     attackKill,
		"pass":     func([]string) { _, _ = io.Copy(os.NewFile(4, "out"), os.NewFile(3, "in")) },
		"parent":   parentHelper,
		"exit":     func(args []string) { n, _ := strconv.Atoi(args[0]); os.Exit(n) },
	}
}

func runHelper(name string, args []string) int {
	attack, ok := attacks()[name]
	if !ok {
		say("no attack %q", name)
		return 99
	}
	attack(args)
	return 0
}

func attackRead(files []string) {
	for _, f := range files {
		text, err := os.ReadFile(f)
		say("%s: %d bytes, %v", f, len(text), err)
	}
}

func attackWrite(files []string) {
	for _, name := range files {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			_, err = f.WriteString("overwritten")
		}
		say("%s: %v", name, err)
	}
}

func attackList(dirs []string) {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		sort.Strings(names)
		say("%s: %s %v", dir, strings.Join(names, " "), err)
	}
}

// attackFDs probes instead of listing: there is no /proc.
func attackFDs([]string) {
	var open []string
	for fd := range 256 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT != 0 && !anonymous(fd) {
			open = append(open, strconv.Itoa(fd))
		}
	}
	say("%s", strings.Join(open, " "))
}

// anonymous leaves out the Go runtime's own epoll and eventfd.
func anonymous(fd int) bool {
	var st unix.Stat_t
	_ = unix.Fstat(fd, &st)
	return st.Mode&unix.S_IFMT == 0
}

func attackConnect(args []string) {
	c, err := net.DialTimeout(args[0], args[1], time.Second)
	if err == nil {
		_ = c.Close()
	}
	say("%v", err)
}

func attackClone([]string) {
	for _, flag := range []uintptr{unix.CLONE_NEWUSER, unix.CLONE_NEWNS, unix.CLONE_NEWNET, unix.CLONE_NEWPID} {
		cmd := exec.Command(os.Args[0])
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag}
		say("%#x %v", flag, cmd.Start())
	}
}

// attackSyscalls makes each call with arguments that would work for root.
func attackSyscalls([]string) {
	path, _ := unix.BytePtrFromString("/")
	p := uintptr(unsafe.Pointer(path))
	calls := []struct {
		name string
		nr   uintptr
		args [5]uintptr
	}{
		{"mount", unix.SYS_MOUNT, [5]uintptr{0, p, 0, unix.MS_REMOUNT | unix.MS_BIND, 0}},
		{"umount", unix.SYS_UMOUNT2, [5]uintptr{p, unix.MNT_DETACH}},
		{"unshare mount", unix.SYS_UNSHARE, [5]uintptr{unix.CLONE_NEWNS}},
		{"unshare net", unix.SYS_UNSHARE, [5]uintptr{unix.CLONE_NEWNET}},
		{"pivot_root", unix.SYS_PIVOT_ROOT, [5]uintptr{p, p}},
		{"chroot", unix.SYS_CHROOT, [5]uintptr{p}},
		{"setuid", unix.SYS_SETUID, [5]uintptr{1}},
		{"setgid", unix.SYS_SETGID, [5]uintptr{1}},
		{"setgroups", unix.SYS_SETGROUPS, [5]uintptr{0, 0}},
		{"sethostname", unix.SYS_SETHOSTNAME, [5]uintptr{p, 1}},
		{"mknod", unix.SYS_MKNODAT, [5]uintptr{^uintptr(99), p, unix.S_IFBLK, 0x800}},
		{"reboot", unix.SYS_REBOOT, [5]uintptr{0xfee1dead, 672274793, 0x1234567}},
		{"bpf", unix.SYS_BPF, [5]uintptr{0, p, 48}},
		{"raise nofile", unix.SYS_PRLIMIT64, [5]uintptr{0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}))}},
	}
	runtime.LockOSThread()
	for _, c := range calls {
		_, _, errno := unix.Syscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], 0)
		say("%s: %v", c.name, errno)
	}
	filtered := map[string]uintptr{
		"ptrace": unix.SYS_PTRACE, "keyctl": unix.SYS_KEYCTL, "io_uring": unix.SYS_IO_URING_SETUP,
		"personality": unix.SYS_PERSONALITY, "userfaultfd": unix.SYS_USERFAULTFD, "perf": unix.SYS_PERF_EVENT_OPEN,
		"open_by_handle": unix.SYS_OPEN_BY_HANDLE_AT, "process_vm_readv": unix.SYS_PROCESS_VM_READV,
		"add_key": unix.SYS_ADD_KEY, "fsopen": unix.SYS_FSOPEN, "init_module": unix.SYS_INIT_MODULE,
	}
	for name, nr := range filtered {
		_, _, errno := unix.Syscall6(nr, 0, 0, 0, 0, 0, 0)
		say("filter %s: %v", name, errno)
	}
	_, _, errno := unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 0, 0)
	say("filter pdeathsig: %v", errno)
	_, _, errno = unix.Syscall(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG|1<<32, 0, 0)
	say("filter pdeathsig with a high bit: %v", errno)
	for name, family := range map[string]int{"inet": unix.AF_INET, "inet6": unix.AF_INET6, "netlink": unix.AF_NETLINK, "packet": unix.AF_PACKET, "vsock": unix.AF_VSOCK, "alg": unix.AF_ALG} {
		_, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
		say("filter socket %s: %v", name, err)
	}
}

func attackStatus([]string) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		say("%v", err)
	}
	fmt.Print(string(text))
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			say("process %s", e.Name())
		}
	}
}

func attackLimits([]string) {
	for _, r := range []int{unix.RLIMIT_CORE, unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE, unix.RLIMIT_NPROC} {
		var l unix.Rlimit
		_ = unix.Getrlimit(r, &l)
		say("%d: %d %d", r, l.Cur, l.Max)
	}
}

// attackForks starts children until the limit stops it.
func attackForks([]string) {
	n := 0
	for n < 1000 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = []string{helperVariable + "=sleep"}
		if err := cmd.Start(); err != nil {
			break
		}
		n++
	}
	say("%d", n)
}

func attackMemory(args []string) {
	size, _ := strconv.Atoi(args[0])
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		say("mmap: %v", err)
		return
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	say("used it all")
}

func attackFill(args []string) {
	f, err := os.Create(args[0])
	if err != nil {
		say("%v", err)
		return
	}
	var n int64
	block := make([]byte, 1<<16)
	for err == nil && n < 1<<30 {
		var k int
		k, err = f.Write(block)
		n += int64(k)
	}
	say("%d %v", n, err)
}

func attackSpin([]string) {
	for n := 1; n != 0; n |= 1 {
		_ = n
	}
}

func attackSleep([]string) { time.Sleep(time.Hour) }

func attackAbort([]string) {
	_ = os.Chdir("/mem")
	var p *int
	_ = syscall.Kill(1, syscall.SIGSEGV)
	*p = 1
}

// attackKill aims at every process it can name.
func attackKill([]string) {
	for pid := 2; pid < 5000; pid++ {
		if syscall.Kill(pid, 0) == nil && unix.Tgkill(os.Getpid(), pid, 0) != nil { // not a thread of ours
			say("reached %d", pid)
		}
	}
	say("done %v", syscall.Kill(-1, syscall.SIGKILL))
}

// parentHelper runs outside: it starts a jail, says its pid and waits to be
// killed.
func parentHelper([]string) {
	self, _ := os.Executable()
	binds, _ := Executables(self)
	p, err := Start(context.Background(), Spec{
		Path: self, Env: []string{helperVariable + "=sleep"}, Binds: binds, Profile: Script(),
	})
	if err != nil {
		say("%v", err)
		return
	}
	say("%d", p.PID())
	_ = p.Wait()
}
