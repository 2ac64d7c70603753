package jail

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Calls by purpose. On none of the lists: mount and its kin, unshare, setns,
// personality, bpf, keyctl, add_key, io_uring_*, userfaultfd, perf_event_open,
// kexec, module loading, open_by_handle_at, name_to_handle_at, quotactl, swap,
// acct, sync (of all file systems of the host), clock setting, iopl, process_vm_*,
// pidfd_getfd, setuid and its kin.
const (
	fileCalls = `read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2
		open openat close close_range lseek fstat stat lstat newfstatat statx statfs fstatfs
		access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd fcntl flock
		fsync fdatasync sync_file_range ftruncate fallocate fadvise64 copy_file_range sendfile splice tee
		dup dup2 dup3 pipe pipe2 umask chdir fchdir`

	waitCalls = `poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
		epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime
		timer_create timer_settime timer_gettime timer_getoverrun timer_delete nanosleep clock_nanosleep
		clock_gettime clock_getres gettimeofday time times getitimer setitimer alarm pause`

	memoryCalls = `mmap munmap mremap mprotect madvise brk msync mincore mlock munlock membarrier
		futex futex_waitv set_robust_list get_robust_list rseq get_mempolicy`

	selfCalls = `set_tid_address gettid getpid getppid getpgid getpgrp getsid getuid geteuid getgid getegid
		getresuid getresgid getgroups getrlimit setrlimit prlimit64 getrusage sched_yield sched_getaffinity sched_setaffinity
		sched_getparam sched_getscheduler sched_get_priority_max sched_get_priority_min getpriority uname
		sysinfo getrandom getcpu capget arch_prctl restart_syscall exit exit_group execve`

	signalCalls = `rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait
		sigaltstack kill tgkill tkill`

	connectionCalls = `listen accept accept4 bind connect getsockname getpeername getsockopt setsockopt
		sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown`

	childCalls = `fork vfork wait4 waitid execveat setpgid setsid`

	treeCalls = `mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat
		chmod fchmod fchmodat fchmodat2 chown fchown fchownat lchown utime utimes utimensat futimesat truncate mknod mknodat
		openat2 creat syncfs inotify_init1 inotify_add_watch inotify_rm_watch
		getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr`

	// attributeCalls write extended attributes: where they are not allowed, a program
	// is told that files have none.
	attributeCalls = `setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr`

	umlCalls = `modify_ldt set_thread_area get_thread_area memfd_create mlockall`
)

// everydayPrctls leaves out PR_SET_PDEATHSIG: the program must not outlive us.
func everydayPrctls() []int {
	return []int{
		unix.PR_SET_NAME, unix.PR_GET_NAME, unix.PR_SET_TIMERSLACK, unix.PR_GET_TIMERSLACK,
		unix.PR_SET_VMA, unix.PR_GET_DUMPABLE, unix.PR_SET_DUMPABLE, unix.PR_CAPBSET_READ,
		unix.PR_GET_SECCOMP, unix.PR_GET_NO_NEW_PRIVS, unix.PR_SET_NO_NEW_PRIVS,
	}
}

// everydayIoctls leaves out TIOCSTI and TIOCLINUX, which push input into a
// terminal.
func everydayIoctls() []int {
	return []int{unix.TCGETS, unix.TIOCGWINSZ, unix.TIOCGPGRP, unix.TIOCINQ}
}

func profile(lists ...string) Profile {
	return Profile{
		Calls:  strings.Fields(strings.Join(lists, " ")),
		Ioctls: everydayIoctls(),
		Prctls: everydayPrctls(),
	}
}

// ImageTool is for qemu-nbd and qemu-img reading one file: threads, no
// children, Unix sockets only, nothing that changes a directory.
func ImageTool() Profile {
	p := profile(fileCalls, waitCalls, memoryCalls, selfCalls, signalCalls, connectionCalls)
	p.Sockets = []int{unix.AF_UNIX}
	return p
}

// Script is for shells and the usual file tools in a working directory of
// their own: children and changes of directories, no sockets but pairs.
func Script() Profile {
	p := profile(fileCalls, waitCalls, memoryCalls, selfCalls, signalCalls, connectionCalls, childCalls, treeCalls)
	p.Sockets = []int{unix.AF_UNIX}
	return p
}

// UserModeLinux is Script plus what that kernel needs to trace its own
// children. ptrace reaches only processes of the same jail. Without wideState the
// kernel saves the registers of its processes up to SSE only, as it does where
// PTRACE_GETREGSET does not exist.
func UserModeLinux(wideState bool) Profile {
	p := Script()
	p.Calls = append(slices.Clip(p.Calls), strings.Fields(umlCalls)...)
	p.Ioctls = append(p.Ioctls, unix.TCSETS, unix.TCSETSW, unix.TCSETSF)
	p.Ptraces = umlPtraces()
	if wideState {
		p.Ptraces = append(p.Ptraces, unix.PTRACE_GETREGSET, unix.PTRACE_SETREGSET)
	}
	return p
}

func umlPtraces() []int {
	return []int{
		unix.PTRACE_TRACEME, unix.PTRACE_PEEKTEXT, unix.PTRACE_PEEKDATA, unix.PTRACE_PEEKUSR, unix.PTRACE_POKETEXT,
		unix.PTRACE_POKEDATA, unix.PTRACE_POKEUSR, unix.PTRACE_CONT, unix.PTRACE_KILL, unix.PTRACE_SINGLESTEP,
		unix.PTRACE_GETREGS, unix.PTRACE_SETREGS, unix.PTRACE_GETFPREGS, unix.PTRACE_SETFPREGS,
		unix.PTRACE_GETFPXREGS, unix.PTRACE_SETFPXREGS, unix.PTRACE_OLDSETOPTIONS, unix.PTRACE_SETOPTIONS,
		unix.PTRACE_ARCH_PRCTL, unix.PTRACE_SYSCALL, unix.PTRACE_SYSEMU, unix.PTRACE_SYSEMU_SINGLESTEP,
	}
}
