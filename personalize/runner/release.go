package runner

import (
	"regexp"
	"strings"

	"goldstream/personalize/sandbox"
)

// assignments reads NAME=value lines, as of os-release(5).
func assignments(text string) map[string]string {
	facts := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(name, "#") {
			facts[name] = strings.Trim(value, `"'`)
		}
	}
	return facts
}

// distros are libguestfs' names for those of os-release that are called otherwise.
var distros = map[string]string{
	"almalinux": "almalinux", "alpine": "alpinelinux", "alt": "altlinux", "arch": "archlinux", "centos": "centos", "coreos": "coreos",
	"debian": "debian", "fedora": "fedora", "gentoo": "gentoo", "kali": "kalilinux", "ol": "oraclelinux", "opensuse": "opensuse",
	"opensuse-leap": "opensuse", "opensuse-tumbleweed": "opensuse", "rhel": "rhel", "rocky": "rocky", "sles": "sles", "sled": "sles",
	"sles_sap": "sles", "ubuntu": "ubuntu", "void": "voidlinux", "xenenterprise": "unknown",
}

var versionNumber = regexp.MustCompile(`([0-9]+)(?:\.([0-9]+))?`)

// release tells distribution and version, from os-release or what came before it.
func (y *system) release(facts map[string]string, old string) {
	y.distro, y.product = distros[facts["ID"]], facts["PRETTY_NAME"]
	version := facts["VERSION_ID"]
	if facts["ID"] == "" {
		y.product, _, _ = strings.Cut(strings.TrimSpace(old), "\n")
		version = y.product
		for word, name := range map[string]string{"CentOS": "centos", "Red Hat": "rhel", "Scientific": "scientificlinux", "Oracle": "oraclelinux", "SUSE Linux Enterprise": "sles", "openSUSE": "opensuse"} {
			if strings.HasPrefix(y.product, word) {
				y.distro = name
			}
		}
	} else if y.distro == "centos" && strings.HasPrefix(old, "CentOS") {
		version = old // os-release of CentOS has no minor version
	}
	if y.distro == "" {
		y.distro = "unknown"
	}
	y.major, y.minor = "0", "0"
	if m := versionNumber.FindStringSubmatch(version); m != nil {
		y.major = m[1]
		if m[2] != "" {
			y.minor = m[2]
		}
	}
}

// fstab finds the file systems that belong to the system.
func (y *system) fstab(text string, all []sandbox.Filesystem) {
	y.mounts, y.filesystems = []pair{{"/", y.root}}, []string{y.root}
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") || f[1] == "/" {
			continue
		}
		device := deviceOf(f[0], all)
		if device == "" {
			continue
		}
		y.filesystems = append(y.filesystems, device)
		if strings.HasPrefix(f[1], "/") {
			y.mounts = append(y.mounts, pair{f[1], device})
		}
	}
}

// deviceOf finds what the first field of a line of fstab means.
func deviceOf(spec string, all []sandbox.Filesystem) string {
	for _, f := range all {
		uuid, isUUID := strings.CutPrefix(spec, "UUID=")
		label, isLabel := strings.CutPrefix(spec, "LABEL=")
		if isUUID && strings.EqualFold(strings.Trim(uuid, `"`), f.UUID) || isLabel && strings.Trim(label, `"`) == f.Label ||
			wholeDisk(spec) == f.Device || spec == mapperName(f.Device) {
			return f.Device
		}
	}
	return ""
}

// mapperName is the other name of a logical volume, with its dashes doubled.
func mapperName(device string) string {
	group, volume, ok := strings.Cut(strings.TrimPrefix(device, "/dev/"), "/")
	if !ok {
		return ""
	}
	double := strings.NewReplacer("-", "--")
	return "/dev/mapper/" + double.Replace(group) + "-" + double.Replace(volume)
}
