package doctor

import (
	"context"
	"strings"
)

// States of a Finding.
const (
	Fine    = "ok"
	Warning = "warning"
	Missing = "missing"
)

// Finding is what one check found.
type Finding struct {
	Check string `json:"check"`
	State string `json:"state"`
	Found string `json:"found"`
	// For is what needs it, and Cure what to do; both are empty where all is fine.
	For  string `json:"for,omitempty"`
	Cure string `json:"cure,omitempty"`
}

// Host is what checks see of a host.
type Host interface {
	Root() bool // is this process root's
	ReadFile(path string) (string, error)
	// Access tells whether this process may read and write a file.
	Access(path string) error
	// Program finds one in PATH or in the system's directories.
	Program(name string) (string, error)
	// FileSystem names the type of the file system of a path, or of the directory
	// in which it would be made.
	FileSystem(path string) (string, error)
	// TrySparse makes a file of 1 TiB there, without data, and punches a hole.
	TrySparse(dir string) error
	// TryNamespaces starts a process in user and mount namespaces of its own, in
	// which it runs a program from a fresh tmpfs.
	TryNamespaces(ctx context.Context) error
	// Landlock is the version of the kernel's.
	Landlock() (version int, err error)
	// Descriptors is how many files this process may be allowed to have open.
	Descriptors() (uint64, error)
}

// Examine makes all checks of a host whose data directory is, or will be, data.
func Examine(ctx context.Context, h Host, data string) []Finding {
	return []Finding{
		dataDirectory(h, data),
		sparseFiles(h, data),
		openFiles(h),
		device(h),
		fusermount(h),
		allowOther(h),
		converters(h),
		namespaces(ctx, h),
		landlock(h),
		cgroups(h),
		ptrace(h),
		kernel(h),
	}
}

// Lacking counts what is missing.
func Lacking(list []Finding) (n int) {
	for _, f := range list {
		if f.State == Missing {
			n++
		}
	}
	return n
}

func fine(check, found string) Finding { return Finding{Check: check, State: Fine, Found: found} }

// lacks is a finding of a state; what it is for and the cure go with it.
func lacks(state, check, found, use, cure string) Finding {
	return Finding{Check: check, State: state, Found: found, For: use, Cure: cure}
}

// contains tells whether a list of words, separated as sep says, has word.
func contains(list, sep, word string) bool {
	for _, w := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(sep, r) }) {
		if w == word {
			return true
		}
	}
	return false
}

// setting is the content of a file of one line, or empty if there is none.
func setting(h Host, path string) (value string, there bool) {
	s, err := h.ReadFile(path)
	return strings.TrimSpace(s), err == nil
}
