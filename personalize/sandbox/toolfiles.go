package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"goldstream/jail"
	"goldstream/personalize/sandbox/guest"
)

// toolFile is one file of the tool root: a copy of one of the host's, a text, or
// an empty directory.
type toolFile struct {
	target string // path in the tool root
	host   string // file to copy
	text   string // content, where host is empty
	dir    bool
	mode   os.FileMode
}

// modules are what the kernel lacks for ordinary disks: FAT, which needs its
// character sets, and device-mapper for LVM. The order is that of loading.
func modules() []string {
	return []string{
		"fs/nls/nls_cp437", "fs/nls/nls_iso8859-1", "fs/nls/nls_ascii", "fs/nls/nls_utf8",
		"fs/fat/fat", "fs/fat/vfat", "drivers/md/dm-mod",
	}
}

// lvmConf does without udev, which no cell has, and without writing anything
// outside of the disk.
const lvmConf = `devices {
	dir = "/dev"
	scan = [ "/dev" ]
	obtain_device_list_from_udev = 0
	external_device_info_source = "none"
	use_devicesfile = 0
	filter = [ "a|^/dev/sda[0-9]*$|", "r|.*|" ]
	global_filter = [ "a|^/dev/sda[0-9]*$|", "r|.*|" ]
	multipath_component_detection = 0
	md_component_detection = 0
	issue_discards = 0
}
activation {
	udev_sync = 0
	udev_rules = 0
	monitoring = 0
	verify_udev_operations = 1
}
backup {
	backup = 0
	archive = 0
}
global {
	locking_dir = "/run/lock/lvm"
	use_lvmpolld = 0
	event_activation = 0
}
log {
	syslog = 0
}
`

// toolFiles lists the whole content.
func toolFiles(o Options, kernel string) ([]toolFile, []string, error) {
	var files []toolFile
	for _, dir := range []string{"dev", "proc", "sys", "run", "tmp", "disk", "etc"} {
		files = append(files, toolFile{target: "/" + dir, dir: true, mode: 0o755})
	}
	files = append(files, toolFile{target: guest.Path, host: o.Guest, mode: 0o755})
	drivers, err := driverFiles(o, kernel)
	if err != nil {
		return nil, nil, err
	}
	programs, lacks, err := programFiles()
	if err != nil {
		return nil, nil, err
	}
	return append(append(files, drivers...), programs...), lacks, nil
}

func driverFiles(o Options, kernel string) ([]toolFile, error) {
	var files []toolFile
	for i, name := range modules() {
		f := toolFile{
			host:   filepath.Join(o.Modules, kernel, "kernel", name+".ko"),
			target: fmt.Sprintf("/modules/%02d-%s.ko", i, filepath.Base(name)), mode: 0o644,
		}
		if _, err := os.Stat(f.host); err != nil {
			return nil, missing(f.host, "the kernel and its modules must be of one version: install the package user-mode-linux again, or name them with --uml and --modules")
		}
		files = append(files, f)
	}
	return files, nil
}

// programFiles copies programs with their libraries, to the paths that they have
// on this host.
func programFiles() (files []toolFile, lacks []string, err error) {
	lvm, err := program("", "lvm")
	if err != nil {
		return nil, []string{"LVM: disks with logical volumes cannot be opened; install the package lvm2, then run 'goldstream sandbox prepare'"}, nil
	}
	binds, err := jail.Executables(lvm)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range binds {
		f := toolFile{target: b.Target, host: b.Host, mode: 0o755}
		if b.Host == lvm {
			f.target = guest.LVM
		}
		files = append(files, f)
	}
	return append(files, toolFile{target: "/etc/lvm/lvm.conf", text: lvmConf, mode: 0o644}), nil, nil
}

// digest is over everything that the image is made from.
func digest(files []toolFile) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, "goldstream tool root, format 1")
	for _, f := range files {
		fmt.Fprintf(h, "%q %v %v %q\n", f.target, f.dir, f.mode, f.text)
		if f.host == "" {
			continue
		}
		in, err := os.Open(f.host)
		if err != nil {
			return "", err
		}
		n, err := io.Copy(h, in)
		_ = in.Close()
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", f.host, err)
		}
		fmt.Fprintf(h, "\n%d\n", n)
	}
	return hex.EncodeToString(h.Sum(nil))[:24], nil
}

// layOut puts the file below root and returns its size.
func (f toolFile) layOut(root string) (int64, error) {
	path := filepath.Join(root, f.target)
	if f.dir {
		return 0, os.MkdirAll(path, f.mode)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return 0, err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, f.mode)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	var in io.ReadCloser = io.NopCloser(strings.NewReader(f.text))
	if f.host != "" {
		if in, err = os.Open(f.host); err != nil {
			return 0, err
		}
	}
	defer in.Close()
	n, err := io.Copy(out, in)
	if err != nil {
		return n, err
	}
	return n, out.Chmod(f.mode)
}
