package doctor

import (
	"errors"
	"io/fs"
)

const mounts = "'goldstream mount'"

// device is what FUSE is spoken through.
func device(h Host) Finding {
	const check, path = "FUSE device", "/dev/fuse"
	switch err := h.Access(path); {
	case err == nil:
		return fine(check, path)
	case errors.Is(err, fs.ErrNotExist):
		return lacks(Missing, check, "no "+path, mounts, "modprobe fuse; a container is given it with --device /dev/fuse")
	default:
		return lacks(Missing, check, err.Error(), mounts, "as root: chmod 666 "+path+", which is what udev does")
	}
}

// fusermount mounts for those who are not root.
func fusermount(h Host) Finding {
	const check = "fusermount3"
	if path, err := h.Program("fusermount3"); err == nil {
		return fine(check, path)
	}
	const use, cure = mounts + " by users that are not root", "install the package fuse3"
	if h.Root() {
		return lacks(Warning, check, "not installed; root mounts without it", use, cure)
	}
	return lacks(Missing, check, "not installed", use, cure)
}

// allowOther is whether users may let others into their mounts, as slots do.
func allowOther(h Host) Finding {
	const check, path, option = "FUSE allow_other", "/etc/fuse.conf", "user_allow_other"
	if h.Root() {
		return fine(check, "root may")
	}
	conf, _ := setting(h, path)
	if contains(conf, "\n \t\r", option) && !contains(conf, "\n", "#"+option) {
		return fine(check, path+" allows it")
	}
	return lacks(Missing, check, path+" does not allow it", "sandboxes of a daemon that is not root's", "as root: add the line "+option+" to "+path)
}
