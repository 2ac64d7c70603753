package jail

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"
)

// Spec says what to run and what it may see and use.
type Spec struct {
	Path string   // program, as an absolute path inside the jail
	Args []string // arguments after argv[0]
	Env  []string // whole environment, "NAME=value"; nothing is inherited
	Dir  string   // working directory; default "/"

	Binds []Bind
	Tmpfs []Tmpfs
	Links []Link
	Proc  bool // mount a /proc that shows the jail's own processes, read-only

	Profile Profile // must be set
	Limits  Limits

	// HostID is the uid and gid on the host when the caller is privileged.
	// Zero: DefaultHostID, or 65534 where that one is not mapped.
	HostID int

	// Files become the program's fds 3, 4 … Every other fd is closed.
	Files []*os.File

	// Stdin, Stdout, Stderr as in os/exec; nil means /dev/null.
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	// SetupTimeout bounds the time until the program runs; default 10 s.
	SetupTimeout time.Duration
}

// Bind shows one host file or directory inside the jail. Symbolic links in
// Host are followed when it is opened, by Start.
type Bind struct {
	File   *os.File // already opened; the bind shows exactly this file
	Host   string   // or its path, when File is nil
	Target string   // absolute path inside the jail

	// Mount is the mount point that Host is below, where this process serves that
	// mount itself (FUSE), or "". Nothing on it is looked at from here: a process
	// that is killed while it waits for its own answer never ends. The jail's first
	// process looks the file up, as the jail's user, who must be let. Host is a
	// file, and no link leads to it.
	Mount string

	Writable bool

	// AsOwner makes the file look as if the jail owned it, by an idmapped
	// mount (kernel 5.12, not every file system; needs privileges). It only
	// acts on files that the jail could not read otherwise, or not write.
	AsOwner bool

	device bool // leave device nodes usable
}

// Tmpfs is an empty directory in memory, gone with the jail.
type Tmpfs struct {
	Target string
	Size   int64 // bytes, must be set
	Exec   bool  // allow mmap(PROT_EXEC) and execve of its files
}

// Link is a symbolic link in the jail's root, which cannot be changed later.
type Link struct {
	Target string // absolute path inside the jail
	To     string // its text
}

// Limits bound what the program uses. Zero means: the default where one is
// named, otherwise no limit. Core dumps are always off.
type Limits struct {
	Files     uint64 // RLIMIT_NOFILE; default 256
	Processes uint64 // RLIMIT_NPROC and pids cgroup, threads included; default 64
	Memory    uint64 // bytes, memory cgroup: anonymous pages, page cache, tmpfs
	Address   uint64 // bytes, RLIMIT_AS: virtual, also works without a cgroup
	Data      uint64 // bytes, RLIMIT_DATA
	FileSize  uint64 // bytes, RLIMIT_FSIZE: a longer write is SIGXFSZ
	CPU       uint64 // seconds of all its threads, RLIMIT_CPU: then SIGKILL
}

// DefaultHostID lies above every range that useradd, subuid files and
// systemd hand out (systemd.io/UIDS-GIDS: from 1879048192 on "unused").
const DefaultHostID = 1_970_000_000

const (
	defaultFiles     = 256
	defaultProcesses = 64
	defaultSetup     = 10 * time.Second
)

// ErrSetup is the cause of every error of Start: the program never ran.
var ErrSetup = errors.New("jail: cannot set up")

func (s Spec) withDefaults() Spec {
	if s.Dir == "" {
		s.Dir = "/"
	}
	if s.SetupTimeout == 0 {
		s.SetupTimeout = defaultSetup
	}
	if s.Limits.Files == 0 {
		s.Limits.Files = defaultFiles
	}
	if s.Limits.Processes == 0 {
		s.Limits.Processes = defaultProcesses
	}
	return s
}

// validate refuses what the stage could misunderstand. The caller is trusted;
// its mistakes are not.
func (s Spec) validate() error {
	if !absolute(s.Path) || !absolute(s.Dir) {
		return fmt.Errorf("program %q and directory %q must be clean absolute paths", s.Path, s.Dir)
	}
	if !s.Profile.unfiltered && len(s.Profile.Calls) == 0 {
		return errors.New("no seccomp profile given")
	}
	for _, t := range s.Tmpfs {
		if t.Size <= 0 {
			return fmt.Errorf("tmpfs %s has no size limit", t.Target)
		}
	}
	return s.validateTargets()
}

// validateTargets keeps mount points apart: a target below a bound directory
// would be looked up through a tree whose links we do not control, one below a
// link through that.
func (s Spec) validateTargets() error {
	var apart []string
	for _, b := range s.Binds {
		if b.File == nil && b.Host == "" {
			return fmt.Errorf("bind %s names no host file", b.Target)
		}
		if b.Mount != "" {
			if err := validateServed(b); err != nil {
				return err
			}
		}
		apart = append(apart, b.Target)
	}
	for _, l := range s.Links {
		if l.To == "" || strings.ContainsRune(l.To, 0) {
			return fmt.Errorf("link %s leads nowhere", l.Target)
		}
		apart = append(apart, l.Target)
	}
	all := append([]string(nil), apart...)
	for _, t := range s.Tmpfs {
		all = append(all, t.Target)
	}
	for i, target := range all {
		if !absolute(target) || target == "/" {
			return fmt.Errorf("target %q must be a clean absolute path below /", target)
		}
		for j, b := range apart {
			if i != j && (target == b || strings.HasPrefix(target, b+"/")) {
				return fmt.Errorf("targets %s and %s overlap", target, b)
			}
		}
	}
	return nil
}

func absolute(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && !strings.ContainsRune(p, 0)
}
