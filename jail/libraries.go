package jail

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Executables returns the binds that the programs need to start: their own
// files at the paths given, their ELF interpreter and all shared libraries
// that they name, directly or not, each where the dynamic loader will look.
// Libraries that are opened later by dlopen(3) are not found.
//
// The loader's cache (/etc/ld.so.cache) does not exist in the jail, so only
// run paths and the loader's own default directories count.
func Executables(programs ...string) ([]Bind, error) {
	w := walker{seen: map[string]bool{}}
	for _, program := range programs {
		if err := w.add(program); err != nil {
			return nil, err
		}
	}
	return w.binds, nil
}

type walker struct {
	machine elf.Machine
	class   elf.Class
	seen    map[string]bool // by DT_NEEDED name or path
	binds   []Bind
}

// add binds one ELF file and what it needs.
func (w *walker) add(path string) error {
	w.seen[path] = true
	f, err := elf.Open(path)
	if err != nil {
		var format *elf.FormatError
		if errors.As(err, &format) {
			return fmt.Errorf("%s is not an ELF file (a script needs its interpreter bound): %w", path, err)
		}
		return err
	}
	defer f.Close()
	if len(w.binds) == 0 {
		w.machine, w.class = f.Machine, f.Class
	}
	w.binds = append(w.binds, Bind{Host: path, Target: path})
	if err := w.addInterpreter(f); err != nil {
		return err
	}
	return w.addNeeded(path, f)
}

func (w *walker) addInterpreter(f *elf.File) error {
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
		if err != nil {
			return err
		}
		path := strings.TrimRight(string(name), "\x00")
		if w.seen[path] {
			return nil
		}
		// Libraries name the loader too (ld-linux-x86-64.so.2): they get it.
		w.seen[path], w.seen[filepath.Base(path)] = true, true
		w.binds = append(w.binds, Bind{Host: path, Target: path})
	}
	return nil
}

func (w *walker) addNeeded(path string, f *elf.File) error {
	needed, err := f.ImportedLibraries()
	if err != nil {
		return nil // no dynamic section: static
	}
	dirs := append(runPath(path, f), loaderDirs(w.machine)...)
	for _, name := range needed {
		if w.seen[name] {
			continue
		}
		w.seen[name] = true
		found, err := w.find(name, dirs)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := w.add(found); err != nil {
			return err
		}
	}
	return nil
}

// find skips files for another machine, which 32-bit directories hold.
func (w *walker) find(name string, dirs []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		f, err := elf.Open(path)
		if err != nil {
			continue
		}
		fits := f.Machine == w.machine && f.Class == w.class
		_ = f.Close()
		if fits {
			return path, nil
		}
	}
	return "", fmt.Errorf("shared library %s is not in %s: %w", name, strings.Join(dirs, ", "), os.ErrNotExist)
}

// runPath reads DT_RUNPATH, else DT_RPATH (ld.so(8)).
func runPath(path string, f *elf.File) []string {
	for _, tag := range []elf.DynTag{elf.DT_RUNPATH, elf.DT_RPATH} {
		value, err := f.DynString(tag)
		if err != nil || len(value) == 0 {
			continue
		}
		origin := strings.NewReplacer("$ORIGIN", filepath.Dir(path), "${ORIGIN}", filepath.Dir(path))
		return filepath.SplitList(origin.Replace(value[0]))
	}
	return nil
}

// loaderDirs are the default directories of glibc's and musl's loaders, as
// Debian, Fedora, SUSE, Arch and Alpine build them.
func loaderDirs(m elf.Machine) []string {
	triplet := map[elf.Machine]string{
		elf.EM_X86_64: "x86_64-linux-gnu", elf.EM_AARCH64: "aarch64-linux-gnu",
		elf.EM_PPC64: "powerpc64le-linux-gnu", elf.EM_S390: "s390x-linux-gnu", elf.EM_RISCV: "riscv64-linux-gnu",
	}[m]
	var dirs []string
	if triplet != "" {
		dirs = append(dirs, "/lib/"+triplet, "/usr/lib/"+triplet)
	}
	return append(dirs, "/lib64", "/usr/lib64", "/lib", "/usr/lib")
}
