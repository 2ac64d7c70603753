package jail

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Securebits (capabilities(7)), each with its lock: uid 0 and changes of uid
// mean nothing for capabilities any more.
const (
	secbitNoRoot        = 1<<0 | 1<<1
	secbitNoSetuidFixup = 1<<2 | 1<<3
	secbitKeepCapsOff   = 1 << 5
	secbitNoAmbient     = 1<<6 | 1<<7
	securebits          = secbitNoRoot | secbitNoSetuidFixup | secbitKeepCapsOff | secbitNoAmbient
)

// dropCapabilities empties all five sets. Bounding set first: that and the
// securebits need CAP_SETPCAP.
func dropCapabilities() error {
	for c := uintptr(0); c < 64; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL {
			break // past the kernel's last capability
		} else if err != nil {
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, securebits, 0, 0, 0); err != nil {
		return fmt.Errorf("securebits: %w", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}

func setLimits(l Limits) error {
	limits := []struct {
		resource int
		value    uint64
		always   bool
	}{
		{unix.RLIMIT_CORE, 0, true},
		{unix.RLIMIT_NOFILE, l.Files, false},
		{unix.RLIMIT_FSIZE, l.FileSize, false},
		{unix.RLIMIT_NPROC, l.Processes, false},
		{unix.RLIMIT_DATA, l.Data, false},
		{unix.RLIMIT_AS, l.Address, false},
		{unix.RLIMIT_CPU, l.CPU, false},
	}
	for _, x := range limits {
		if x.value == 0 && !x.always {
			continue
		}
		if err := setLimit(x.resource, x.value); err != nil {
			return err
		}
	}
	return nil
}

// setLimit never asks for more than the hard limit: raising needs a
// capability, and a tighter one serves as well.
func setLimit(resource int, value uint64) error {
	var now unix.Rlimit
	if err := unix.Prlimit(0, resource, nil, &now); err != nil {
		return fmt.Errorf("reading limit %d: %w", resource, err)
	}
	value = min(value, now.Max)
	// Not prlimit(2) directly: syscall.Exec restores the RLIMIT_NOFILE that
	// the process began with unless this function has set another.
	if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: value, Max: value}); err != nil {
		return fmt.Errorf("setting limit %d to %d: %w", resource, value, err)
	}
	return nil
}

// loadFilter installs the filter on every thread (TSYNC).
func loadFilter(filter []syscall.SockFilter) error {
	if len(filter) == 0 {
		return nil
	}
	program := syscall.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	if thread != 0 {
		return fmt.Errorf("seccomp: thread %d could not follow", thread)
	}
	return nil
}
