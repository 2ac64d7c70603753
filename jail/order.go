package jail

import "syscall"

// order is what the stage needs to know. It travels as JSON over a pipe, and
// only after the stage was put into its cgroup, so that the limits hold from
// the first mount on.
type order struct {
	Path   string
	Args   []string // with argv[0]
	Env    []string
	Dir    string
	Mounts []mountOrder
	Tmpfs  []Tmpfs
	Links  []Link
	Proc   bool
	Limits Limits
	Files  int // fds of the program, from 3 on
	Filter []syscall.SockFilter
}

// mountOrder is one bind. With Tree set, FD is a detached mount to be moved
// into place. Otherwise FD is only the proof of identity: the stage opens the
// path that the kernel knows for it and compares, because an unprivileged
// parent cannot make detached mounts. Path is that of a file on a mount that the
// parent serves: below the detached mount, or, where FD is not used, from the root.
type mountOrder struct {
	FD       int
	Tree     bool
	Path     string
	Target   string
	Dir      bool
	Writable bool
	Device   bool
}

// Fds of the stage: 0-2, then Spec.Files, then these two, then the binds.
const firstFile = 3

func reportFD(files int) int { return firstFile + files }
func orderFD(files int) int  { return firstFile + files + 1 }
func bindFD(files int) int   { return firstFile + files + 2 }

// What the stage writes into the report pipe: ready, just before execve, or
// the text of an error. Neither means that it died on the way.
const ready = "\x06"

// argv[0] of our two hidden entries.
const (
	stageName = "goldstream:jail"  // argv[1]: number of Spec.Files
	holdName  = "goldstream:idmap" // holds a user namespace until stdin ends
)
