package jail

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// knobs are the settings by which a host refuses user namespaces, each with
// the value that does it and the cure.
var knobs = []struct{ file, off, cure string }{
	{"/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"},
	{"/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"},
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
		"an AppArmor profile with «userns,» for this program, or sysctl kernel.apparmor_restrict_unprivileged_userns=0"},
}

// explainClone adds the likely cause to a failed clone(2).
func explainClone(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS), errors.Is(err, unix.EACCES):
		return fmt.Errorf("the kernel refused new namespaces: %w%s", err, cure())
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the kernel lacks a kind of namespace (user, mount, pid, net, ipc, uts, cgroup): %w", err)
	}
	return fmt.Errorf("starting the stage: %w", err)
}

func explainMount(what string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%s: %w%s", what, err, cure())
	}
	return fmt.Errorf("%s: %w", what, err)
}

func cure() string {
	for _, k := range knobs {
		if text, err := os.ReadFile(k.file); err == nil && strings.TrimSpace(string(text)) == k.off {
			return fmt.Sprintf("; %s is %s, the cure: %s", k.file, k.off, k.cure)
		}
	}
	return "; a container or the service manager may forbid it (Docker: --security-opt seccomp=unconfined or " +
		"--privileged; systemd: RestrictNamespaces= and SystemCallFilter= of the unit)"
}
