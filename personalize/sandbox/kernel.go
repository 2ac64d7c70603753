package sandbox

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// kernelVersion asks the kernel, which names the directory of its modules.
func kernelVersion(ctx context.Context, uml string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, uml, "--version")
	cmd.Env = []string{}
	out, err := cmd.Output()
	version := strings.TrimSpace(string(out))
	if err != nil || version == "" || strings.ContainsAny(version, "/\n") {
		return "", fmt.Errorf("%s --version said %q: is it a User-Mode-Linux kernel? %w", uml, version, err)
	}
	return version, nil
}

// narrowState tells whether the kernel has to do without the registers beyond SSE.
// Before 6.13 its buffer for them has 2696 bytes, enough for AVX-512. Where the
// processor has more (AMX, APX), the host refuses to set them from a part
// (PTRACE_SETREGSET is EFAULT), which kills the kernel's first process. Without
// that request it uses PTRACE_SETFPREGS, and so loses what that does not cover when
// threads of one process take turns, and around signal handlers.
func narrowState(kernel string) (bool, error) {
	var major, minor int
	if _, err := fmt.Sscanf(kernel, "%d.%d", &major, &minor); err != nil {
		return false, fmt.Errorf("the kernel's version %q: %w", kernel, err)
	}
	if major > 6 || major == 6 && minor >= 13 {
		return false, nil
	}
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return false, err
	}
	return hasWideState(string(text)), nil
}

func hasWideState(cpuinfo string) bool {
	for line := range strings.Lines(cpuinfo) {
		name, flags, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != "flags" {
			continue
		}
		for _, flag := range strings.Fields(flags) {
			if flag == "amx_tile" || flag == "apx" || flag == "apx_f" {
				return true
			}
		}
		return false
	}
	return false
}
