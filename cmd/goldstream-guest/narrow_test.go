package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// narrowEnv has the test's program start another one, its arguments, without the
// requests of ptrace that an old User-Mode-Linux does wrong.
const narrowEnv = "GOLDSTREAM_E2E_NARROW"

func TestMain(m *testing.M) {
	if os.Getenv(narrowEnv) != "" {
		fmt.Fprintln(os.Stderr, narrow(os.Args[1:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// narrow becomes a program to which PTRACE_GETREGSET and PTRACE_SETREGSET do not
// exist. Before 6.13 that kernel's buffer for registers ends with AVX-512; where
// the processor has more (AMX), the host refuses to set them from a part, and the
// kernel's first process dies. Without the request it saves those up to SSE.
func narrow(args []string) error {
	const refuse = unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_PTRACE},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // its first argument
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 2, K: unix.PTRACE_GETREGSET},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: unix.PTRACE_SETREGSET},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: refuse},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	_ = os.Unsetenv(narrowEnv)
	return syscall.Exec(args[0], args, os.Environ())
}

func hasAMX() bool {
	info, err := os.ReadFile("/proc/cpuinfo")
	return err == nil && strings.Contains(string(info), " amx_tile")
}
