package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"goldstream/jail"
	"goldstream/personalize/sandbox/guest"
)

// ScriptTools are what script cells have of this host: single files, read-only, and
// nothing that belongs to anybody.
type ScriptTools struct {
	Binds []jail.Bind
	Links []jail.Link
	Lacks []string // what this host cannot give, and what that means
}

// coreTools come with every system; without them there is no script cell. Those of
// the second line are of package coreutils all the same, but have not always been.
const coreTools = `cat chgrp chmod chown cksum comm cp cut date dd df dirname basename du echo env expand expr
	false fmt fold head id install join link ln ls md5sum mkdir mktemp mv nl nproc od paste pathchk pr
	printenv printf pwd readlink realpath rm rmdir seq sha1sum sha224sum sha256sum sha384sum sha512sum shred shuf sleep
	sort split stat sum sync tac tail tee test [ timeout touch tr true truncate tsort tty uname unexpand
	uniq unlink wc whoami yes base32 base64 basenc csplit factor numfmt
	grep egrep fgrep sed find xargs tar gzip gunzip zcat`

// moreTools are looked for; a script that uses one that is missing fails.
var moreTools = []struct{ names, pkg string }{
	{"gawk", "gawk"},
	{"python3", "python3"},
	{"xmllint", "libxml2-utils"},
	{"unix2dos dos2unix", "dos2unix"},
	{"xz unxz xzcat", "xz-utils"},
	{"bzip2 bunzip2 bzcat", "bzip2"},
	{"diff cmp", "diffutils"},
	{"hexdump hostname perl openssl iconv getopt which file patch bc zip unzip cpio xxd rev column zstd uuidgen", ""},
}

// FindScriptTools looks for them. It reads headers of some 200 files: do it once.
func FindScriptTools() (ScriptTools, error) {
	f := finder{placed: map[string]bool{}}
	shell, err := f.program("bash")
	if err == nil {
		err = f.place(shell, "bash")
	}
	if err != nil {
		return f.found, missing("bash", "install the package bash")
	}
	f.bind(shell, "/usr/bin/sh") // bash, whatever sh is here
	for _, name := range strings.Fields(coreTools) {
		if err := f.look(name); err != nil {
			return f.found, err
		}
	}
	for _, t := range moreTools {
		var lacks []string
		for _, name := range strings.Fields(t.names) {
			if err := f.look(name); err != nil {
				return f.found, err
			}
			if !f.placed["/usr/bin/"+name] && t.pkg != "" {
				lacks = append(lacks, name)
			}
		}
		if len(lacks) > 0 {
			f.found.Lacks = append(f.found.Lacks, fmt.Sprintf("%s: plan scripts that use it fail; install the package %s", strings.Join(lacks, ", "), t.pkg))
		}
	}
	if err := f.aliases(); err != nil {
		return f.found, err
	}
	f.found.Links = append(f.found.Links,
		jail.Link{Target: "/bin", To: "usr/bin"}, jail.Link{Target: "/sbin", To: "usr/bin"}, jail.Link{Target: "/usr/sbin", To: "bin"},
		jail.Link{Target: "/dev/fd", To: "/proc/self/fd"}, jail.Link{Target: "/dev/stdin", To: "/proc/self/fd/0"},
		jail.Link{Target: "/dev/stdout", To: "/proc/self/fd/1"}, jail.Link{Target: "/dev/stderr", To: "/proc/self/fd/2"},
	)
	return f.found, nil
}

type finder struct {
	found  ScriptTools
	placed map[string]bool // targets
}

// program prefers the system's own: PATH may lead into somebody's home.
func (f *finder) program(name string) (string, error) {
	for _, dir := range []string{"/usr/bin", "/bin", "/usr/sbin", "/sbin"} {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o005 == 0o005 {
			return file, nil
		}
	}
	return "", os.ErrNotExist
}

// look places a program, if this host has it.
func (f *finder) look(name string) error {
	file, err := f.program(name)
	if err != nil {
		return nil
	}
	if err := f.place(file, name); err != nil {
		return err
	}
	switch name {
	case "python3":
		return f.placeTree(filepath.Dir(filepath.Dir(file)), file, "python")
	case "file":
		for _, magic := range []string{"/usr/share/misc/magic.mgc", "/usr/lib/file/magic.mgc"} {
			if info, err := os.Stat(magic); err == nil && info.Mode().IsRegular() {
				f.bind(magic, magic)
			}
		}
	}
	return nil
}

// place binds a program into /usr/bin, and the libraries that it needs. What is no
// ELF file is a script, whose interpreter is there or not.
func (f *finder) place(file, name string) error {
	f.bind(file, "/usr/bin/"+name)
	isELF, err := hasPrefix(file, "\x7fELF")
	if err != nil || !isELF {
		return err
	}
	return f.libraries(file)
}

// libraries binds what the file needs, where the loader looks for it.
func (f *finder) libraries(file string) error {
	binds, err := jail.Executables(file)
	if err != nil {
		return err
	}
	for _, b := range binds[1:] {
		f.bind(b.Host, b.Target)
	}
	return nil
}

func (f *finder) bind(host, target string) {
	if !f.placed[target] {
		f.placed[target] = true
		f.found.Binds = append(f.found.Binds, jail.Bind{Host: host, Target: target})
	}
}

// aliases gives programs their usual other names: awk is gawk, as scripts expect.
func (f *finder) aliases() error {
	if f.placed["/usr/bin/gawk"] {
		f.found.Links = append(f.found.Links, jail.Link{Target: "/usr/bin/awk", To: "gawk"})
		return nil
	}
	return f.look("awk")
}

// placeTree binds the modules of Python, which stand in a directory of its version.
func (f *finder) placeTree(prefix, file, stem string) error {
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return err
	}
	version := filepath.Base(real) // python3.11
	if !strings.HasPrefix(version, stem) {
		return nil
	}
	for _, lib := range []string{"lib", "lib64"} {
		dir := filepath.Join(prefix, lib, version)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		f.bind(dir, path.Join("/usr", lib, version))
		modules, err := filepath.Glob(filepath.Join(dir, "lib-dynload", "*.so"))
		if err != nil {
			return err
		}
		for _, module := range modules {
			// A module whose library is missing cannot be imported; no more.
			if err := f.libraries(module); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func hasPrefix(file, prefix string) (bool, error) {
	in, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer in.Close()
	head := make([]byte, len(prefix))
	n, err := io.ReadFull(in, head)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return bytes.Equal(head[:n], []byte(prefix)), err
}

// scriptSpec is the jail of a script cell.
func scriptSpec(o ScriptConfig) jail.Spec {
	return jail.Spec{
		Path: guest.ScriptPath,
		Env:  []string{"GOMAXPROCS=2"},
		Dir:  guest.WorkDir,
		Binds: append(slices.Clone(o.Tools.Binds),
			jail.Bind{Host: o.Guest, Target: guest.ScriptPath}),
		Links: o.Tools.Links,
		Tmpfs: []jail.Tmpfs{
			{Target: guest.WorkDir, Size: o.Space, Exec: true},
			{Target: guest.ScriptTemp, Size: o.Space / 4, Exec: true},
		},
		Proc:    true, // for /dev/fd
		Profile: jail.Script(),
		Limits: jail.Limits{
			Processes: 256,
			Memory:    uint64(o.Space + o.Space/4 + o.Memory),
			// Without a memory cgroup these are what is left of it.
			Address: uint64(4 * o.Memory),
			CPU:     uint64(o.CPU.Seconds()),
		},
	}
}
