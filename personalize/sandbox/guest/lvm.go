package guest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LVM is where the tool root has the program, if it has it.
const LVM = "/usr/sbin/lvm"

// activate makes the logical volumes of the disk devices.
func (m *mounts) activate() error {
	if m.lvmd {
		return nil
	}
	if _, err := makeNodes(); err != nil {
		return failure(unix.ENODEV, "there is no disk: %v", err)
	}
	if err := m.runLVM(nil, "vgchange", "-q", "-ay", "--ignoreactivationskip"); err != nil {
		return err
	}
	m.lvmd = true
	return nil
}

func (m *mounts) deactivate() error {
	m.volumes = nil
	if err := m.runLVM(nil, "vgchange", "-q", "-an"); err != nil {
		return err
	}
	m.lvmd = false
	return nil
}

// lvm runs one of its programs as the host asks. Renaming and the like need the
// volumes at rest or not, as LVM itself says.
func (m *mounts) lvm(c *call) ([]string, error) {
	if len(c.args) == 0 || c.args[0] == "shell" || strings.HasPrefix(c.args[0], "-") {
		return nil, failure(unix.EINVAL, "say which program of LVM")
	}
	if _, err := makeNodes(); err != nil {
		return nil, failure(unix.ENODEV, "there is no disk: %v", err)
	}
	m.volumes = nil
	if c.args[0] == "vgchange" {
		m.lvmd = true // to be deactivated, whatever it did
	}
	return nil, m.runLVM(&c.out, c.args...)
}

func (m *mounts) runLVM(out *output, args ...string) error {
	if _, err := os.Stat(LVM); err != nil {
		return failure(unix.ENOSYS, "the sandbox has no LVM: install lvm2 on the host, then run 'goldstream sandbox prepare'")
	}
	cmd := exec.Command(LVM, args...)
	cmd.Env = []string{"PATH=/usr/sbin", "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1", "LVM_SYSTEM_DIR=/etc/lvm", plainRegisters}
	cmd.Dir = "/"
	var said bytes.Buffer
	cmd.Stderr = &said
	if out != nil {
		cmd.Stdout = *out
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return failure(unix.EIO, "lvm %s: %s", args[0], strings.Join(strings.Fields(said.String()), " "))
	}
	return err
}

// volumeRows lists the logical volumes as file systems.
func (m *mounts) volumeRows(c *call) error {
	if err := m.findVolumes(); err != nil {
		return err
	}
	for _, v := range m.volumes {
		if _, err := m.rowOf(c, v.device, v.size); err != nil {
			return err
		}
	}
	return nil
}

// findVolumes keeps in mind what it found: LVM takes half a second to tell.
func (m *mounts) findVolumes() error {
	if m.volumes != nil {
		return nil
	}
	if err := m.activate(); err != nil {
		return err
	}
	cmd := exec.Command(LVM, "lvs", "--noheadings", "--separator", "|", "--units", "b", "--nosuffix", "-o", "vg_name,lv_name,lv_size,lv_active")
	cmd.Env = []string{"PATH=/usr/sbin", "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1", "LVM_SYSTEM_DIR=/etc/lvm", plainRegisters}
	out, err := cmd.Output()
	if err != nil {
		return failure(unix.EIO, "lvm lvs: %v", err)
	}
	list := []volume{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) != 4 || fields[3] != "active" {
			continue
		}
		size, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			return failure(unix.EIO, "lvm lvs: a size of %q", fields[2])
		}
		list = append(list, volume{"/dev/" + fields[0] + "/" + fields[1], size})
	}
	m.volumes = list
	return nil
}
