package jail

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup holds one jail's groups: one directory in a unified hierarchy (v2),
// or one per controller (v1). The nil *cgroup is a jail without any.
type cgroup struct {
	dirs []string
}

// setting is one limit: the file that sets it, and the controller it needs.
type setting struct {
	controller, file, value string
}

const (
	cgroupRoot  = "/sys/fs/cgroup"
	groupPrefix = "goldstream-jail-"

	// staleAge is how old an empty group is before it counts as left over: it
	// is older than any set-up takes.
	staleAge = time.Minute
)

// joinCgroup puts the process into new groups below our own and says what
// could not be limited. Limits by cgroup are a layer, not a condition: the
// RLIMITs hold anyway.
func joinCgroup(pid int, l Limits) (*cgroup, string) {
	// The name says whose group it is, for sweep.
	name := fmt.Sprintf("%s%d-%s", groupPrefix, os.Getpid(), randomName())
	c := &cgroup{}
	var err error
	if unified() {
		err = c.joinV2(pid, name, settingsV2(l))
	} else {
		err = c.joinV1(pid, name, settingsV1(l))
	}
	if err != nil {
		return c, "cgroup limits: " + err.Error()
	}
	return c, ""
}

func settingsV1(l Limits) []setting {
	list := []setting{{"pids", "pids.max", strconv.FormatUint(l.Processes, 10)}}
	if l.Memory > 0 {
		list = append(list, setting{"memory", "memory.limit_in_bytes", strconv.FormatUint(l.Memory, 10)})
	}
	return list
}

func settingsV2(l Limits) []setting {
	list := []setting{{"pids", "pids.max", strconv.FormatUint(l.Processes, 10)}}
	if l.Memory > 0 {
		list = append(list,
			setting{"memory", "memory.max", strconv.FormatUint(l.Memory, 10)},
			setting{"memory", "memory.swap.max", "0"})
	}
	return list
}

// unified tells v2 from v1 and from the hybrid layout, whose v2 tree has no
// controllers of use.
func unified() bool {
	var fs unix.Statfs_t
	return unix.Statfs(cgroupRoot, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC
}

func (c *cgroup) joinV1(pid int, name string, settings []setting) error {
	var errs []error
	for _, s := range settings {
		own, err := ownGroup(s.controller)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, c.join(pid, filepath.Join(cgroupRoot, s.controller, own, name), []setting{s}))
	}
	return errors.Join(errs...)
}

// joinV2 tries below our own group, then beside it: a group that has processes
// cannot hand controllers down ("no internal processes", cgroup-v2.rst).
// MakeRoom gives the second.
func (c *cgroup) joinV2(pid int, name string, settings []setting) error {
	own, err := ownGroup("")
	if err != nil {
		return err
	}
	group := filepath.Join(cgroupRoot, own)
	for _, parent := range []string{group, filepath.Dir(group)} {
		if !strings.HasPrefix(parent, cgroupRoot) {
			break
		}
		if err = handDown(parent); err == nil {
			return c.join(pid, filepath.Join(parent, name), settings)
		}
	}
	return fmt.Errorf("%w (systemd: set Delegate=memory pids in the unit)", err)
}

func handDown(parent string) error {
	file := filepath.Join(parent, "cgroup.subtree_control")
	if have, err := os.ReadFile(file); err == nil && hasFields(string(have), "memory", "pids") {
		return nil
	}
	return write(file, "+memory +pids")
}

func hasFields(text string, wanted ...string) bool {
	have := " " + strings.Join(strings.Fields(text), " ") + " "
	for _, w := range wanted {
		if !strings.Contains(have, " "+w+" ") {
			return false
		}
	}
	return true
}

// join makes the group, sets its limits and only then moves the process.
func (c *cgroup) join(pid int, dir string, settings []setting) error {
	sweep(filepath.Dir(dir))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	c.dirs = append(c.dirs, dir)
	var errs []error
	for _, s := range settings {
		err := write(filepath.Join(dir, s.file), s.value)
		if errors.Is(err, os.ErrNotExist) && s.file == "memory.swap.max" {
			err = nil // a kernel without swap accounting
		}
		errs = append(errs, err)
	}
	errs = append(errs, write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)))
	return errors.Join(errs...)
}

// sweep removes groups whose owner was killed before it could. Only empty ones
// can be removed.
func sweep(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, groupPrefix+"*"))
	for _, dir := range left {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), groupPrefix), "-")
		pid, err := strconv.Atoi(owner)
		fi, statErr := os.Stat(dir)
		if err == nil && statErr == nil && time.Since(fi.ModTime()) > staleAge && unix.Kill(pid, 0) == unix.ESRCH {
			_ = os.Remove(dir)
		}
	}
}

// ownGroup reads our path in the hierarchy of a controller; "" is v2.
func ownGroup(controller string) (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		for name := range strings.SplitSeq(part[1], ",") {
			if name == controller {
				return part[2], nil
			}
		}
	}
	return "", fmt.Errorf("no %s controller", controller)
}

// outOfMemory reports whether the memory limit killed a process.
func (c *cgroup) outOfMemory() bool {
	if c == nil {
		return false
	}
	for _, dir := range c.dirs {
		for _, file := range []string{"memory.events", "memory.oom_control"} {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err == nil && killed(string(text)) {
				return true
			}
		}
	}
	return false
}

func killed(events string) bool {
	for line := range strings.Lines(events) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == "oom_kill" && f[1] != "0" {
			return true
		}
	}
	return false
}

// remove deletes the groups. They are empty by now, but the kernel may need
// a moment to notice.
func (c *cgroup) remove() {
	if c == nil {
		return
	}
	for _, dir := range c.dirs {
		for wait := time.Millisecond; os.Remove(dir) != nil && wait < time.Second; wait *= 2 {
			time.Sleep(wait)
		}
	}
}

// write never creates: a missing file is a missing feature.
func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return hex.EncodeToString(b[:])
}
