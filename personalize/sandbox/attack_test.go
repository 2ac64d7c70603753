package sandbox

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"goldstream/jail"
)

const attackVariable = "SANDBOX_TEST_ATTACK"

// runInJail puts this test binary into the kernel's place.
func runInJail(t *testing.T, cfg Config, args ...string) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	spec := jailSpec(cfg)
	own, err := jail.Executables(self)
	require.NoError(t, err)
	for _, b := range own {
		known := false
		for _, have := range spec.Binds {
			known = known || have.Target == b.Target
		}
		if !known {
			spec.Binds = append(spec.Binds, b)
		}
	}
	spec.Path, spec.Args = self, args
	spec.Env = append(spec.Env, attackVariable+"=1")
	var out bytes.Buffer
	spec.Stdout, spec.Stderr = &out, &out
	p, err := jail.Start(patience(t), spec)
	require.NoError(t, err)
	require.NoError(t, p.Wait(), out.String())
	return out.String()
}

// attack runs in the jail. Each line says what was tried and what came of it.
func attack(args []string) int {
	secret, tcp, abstract, pid := args[0], args[1], args[2], args[3]
	parent, _ := strconv.Atoi(pid)
	say := func(what string, err error) { fmt.Printf("%s: %v\n", what, err) }
	attackFiles(say, secret)
	attackKernel(say)
	for what, dial := range map[string][2]string{"tcp": {"tcp", tcp}, "abstract socket": {"unix", abstract}} {
		conn, err := net.DialTimeout(dial[0], dial[1], time.Second)
		if err == nil {
			_ = conn.Close()
		}
		say(what, err)
	}
	for _, family := range []int{unix.AF_INET, unix.AF_NETLINK, unix.AF_PACKET, unix.AF_VSOCK, unix.AF_ALG} {
		_, err := unix.Socket(family, unix.SOCK_DGRAM, 0)
		say("socket "+strconv.Itoa(family), err)
	}
	say("kill the owner", unix.Kill(parent, 0))
	say("trace the owner", unix.PtraceAttach(parent))
	for _, flag := range []uintptr{unix.CLONE_NEWUSER, unix.CLONE_NEWNS, unix.CLONE_NEWNET} {
		cmd := exec.Command(os.Args[0])
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag}
		say(fmt.Sprintf("clone %#x", flag), cmd.Start())
	}
	say("fill memory", fill("/mem/x", 1<<30))
	say("fill the working directory", fill("/run/x", 1<<30))
	return 0
}

func attackFiles(say func(string, error), secret string) {
	for _, name := range []string{secret, "/etc/passwd", "/proc/1/root" + secret, "/../.." + secret, "/dev/mem", "/dev/kvm", "/dev/fuse", "/sys/kernel"} {
		b, err := os.ReadFile(name)
		say("read "+name+" "+string(b), err)
	}
	for _, name := range []string{toolPath, "/new", "/usr/bin/linux.uml", "/proc/sys/kernel/core_pattern", "/proc/self/oom_score_adj"} {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			_, err = f.WriteString("overwritten")
		}
		say("write "+name, err)
	}
	f, err := os.OpenFile(diskPath, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt([]byte{0}, 1<<20)
	}
	say("write the disk", err)
	say("make a device", unix.Mknod("/run/d", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))))
	say("link to the disk's directory", unix.Link(diskPath, "/run/disk"))
}

func attackKernel(say func(string, error)) {
	say("mount", unix.Mount("none", "/run", "tmpfs", 0, ""))
	say("remount", unix.Mount("", toolPath, "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	say("umount", unix.Unmount("/proc", 0))
	say("unshare", unix.Unshare(unix.CLONE_NEWUSER))
	say("chroot", unix.Chroot("/run"))
	say("pivot_root", unix.PivotRoot("/run", "/run"))
	say("set uid", func() error { _, _, e := unix.RawSyscall(unix.SYS_SETUID, 12345, 0, 0); return e2(e) }())
	say("set host name", unix.Sethostname([]byte("x")))
	for name, nr := range map[string]uintptr{
		"bpf": unix.SYS_BPF, "keyctl": unix.SYS_KEYCTL, "io_uring_setup": unix.SYS_IO_URING_SETUP, "userfaultfd": unix.SYS_USERFAULTFD,
		"perf_event_open": unix.SYS_PERF_EVENT_OPEN, "init_module": unix.SYS_INIT_MODULE, "kexec_load": unix.SYS_KEXEC_LOAD,
		"open_by_handle_at": unix.SYS_OPEN_BY_HANDLE_AT, "process_vm_readv": unix.SYS_PROCESS_VM_READV, "setns": unix.SYS_SETNS,
		"personality": unix.SYS_PERSONALITY, "iopl": unix.SYS_IOPL, "reboot": unix.SYS_REBOOT, "move_mount": unix.SYS_MOVE_MOUNT,
		"clone3 namespaces": unix.SYS_CLONE3, "seccomp": unix.SYS_SECCOMP, "pidfd_getfd": unix.SYS_PIDFD_GETFD,
	} {
		var nothing [64]byte
		_, _, errno := unix.RawSyscall6(nr, 0, uintptr(unsafe.Pointer(&nothing)), 0, 0, 0, 0)
		say("call "+name, e2(errno))
	}
}

func e2(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// fill writes until it may not.
func fill(name string, most int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close(); _ = os.Remove(name) }()
	chunk := make([]byte, 1<<20)
	for done := 0; done < most; done += len(chunk) {
		if _, err := f.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}
