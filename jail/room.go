package jail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// subgroup is where MakeRoom puts the process.
const subgroup = "main"

// MakeRoom moves the process into a subgroup of its cgroup, where that was
// delegated to it (systemd: Delegate=): a group that has processes of its own
// cannot hand controllers down to those of jails. systemd does the same for
// DelegateSubgroup=, which it knows since version 254 only. Elsewhere nothing
// is done: the group is not ours to arrange.
func MakeRoom() error {
	if !unified() {
		return nil
	}
	own, err := ownGroup("")
	if err != nil {
		return err
	}
	dir := filepath.Join(cgroupRoot, own)
	if !delegated(dir) {
		return nil
	}
	return makeRoom(dir)
}

// delegated reads the mark that systemd leaves (CGROUP_DELEGATION.md). Only
// root sees the one of trusted.
func delegated(dir string) bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		var value [8]byte
		if n, err := unix.Getxattr(dir, name, value[:]); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

func makeRoom(dir string) error {
	sub := filepath.Join(dir, subgroup)
	if err := os.Mkdir(sub, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	pids, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	for _, pid := range strings.Fields(string(pids)) {
		err := write(filepath.Join(sub, "cgroup.procs"), pid)
		if err != nil && !errors.Is(err, unix.ESRCH) { // it has ended meanwhile
			return fmt.Errorf("moving process %s into %s: %w", pid, sub, err)
		}
	}
	return nil
}
