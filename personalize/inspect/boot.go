package inspect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"goldstream/personalize/sandbox"
)

// Boot is what a server needs to start a system from the network, read out of its
// disk. Texts are the disk's word, in printable ASCII.
type Boot struct {
	System  string     `json:"system"`  // for people
	Version string     `json:"version"` // of the kernel
	Kernel  BootFile   `json:"kernel"`
	Initrd  BootFile   `json:"initrd"`
	Modules []BootFile `json:"modules"` // nbd and what it needs, in the order to load them; none: it is built in
	Options string     `json:"options"` // the kernel's command line, of the disk's own boot loader
	Root    string     `json:"root"`    // the root file system, as root= takes it
	Entries []Entry    `json:"entries"`
	// Ranges are the parts of the disk that all of this was read from. While they
	// stay as they are, another reading yields the same. Placed is false where the
	// disk has files without a fixed place.
	Ranges []sandbox.Range `json:"ranges"`
	Placed bool            `json:"placed"`
	Notes  []string        `json:"notes,omitempty"`
}

// BootFile is one file in the directory that Extract filled.
type BootFile struct {
	Name   string `json:"name"`   // of the file there
	Path   string `json:"path"`   // on the disk
	Size   int64  `json:"size"`   // in bytes
	SHA256 string `json:"sha256"` // in hex
}

// Limits of what is taken from a disk.
const (
	mostKernel  = 128 << 20
	mostInitrd  = 1 << 30
	mostModule  = 32 << 20 // as it lies there, and unpacked
	mostModules = 16
	mostRanges  = 8192
)

// ErrNoNetBoot is a disk without a system that can boot from the network.
var ErrNoNetBoot = errors.New("nothing on the disk can boot from the network")

// Extract copies kernel, initrd and NBD modules of the first system that can boot
// from the network into a directory, and tells how its own boot loader starts it.
// Nothing is mounted on the cell before and after. Names in the directory are ours.
func Extract(ctx context.Context, c *sandbox.Cell, dir string) (b Boot, err error) {
	r, err := Disk(ctx, c)
	if err != nil {
		return b, err
	}
	i := slices.IndexFunc(r.Systems, func(s System) bool { return s.NetBoot })
	if i < 0 {
		return b, fmt.Errorf("%w: %s", ErrNoNetBoot, whyNone(r))
	}
	s := r.Systems[i]
	x := &extraction{ctx: ctx, c: c, dir: dir, system: s, all: r.Filesystems}
	x.boot = Boot{System: s.Name, Placed: true, Modules: []BootFile{}, Entries: []Entry{}, Ranges: []sandbox.Range{}, Root: rootName(s, r.Filesystems)}
	if err := x.loaderPartitions(); err != nil {
		return b, err
	}
	if _, err := c.Mount(ctx, s.Root, "/", sandbox.Peek, s.Options); err != nil {
		return b, err
	}
	if s.Boot != "" {
		_, err = c.Mount(ctx, s.Boot, "/boot", sandbox.Peek, "")
	}
	if err == nil {
		err = x.run()
	}
	return x.boot, errors.Join(err, c.UnmountAll(ctx))
}

func whyNone(r Report) string {
	var why []string
	for _, s := range r.Systems {
		why = append(why, fmt.Sprintf("%s on %s: %s", s.Name, s.Root, strings.Join(s.WhyNot, "; ")))
	}
	if len(why) == 0 {
		return "no operating system was found"
	}
	return strings.Join(why, "; ")
}

// rootName is how a kernel's command line names the root file system.
func rootName(s System, all []sandbox.Filesystem) string {
	for _, f := range all {
		if f.Device == s.Root && f.UUID != "" && plainText(f.UUID, 64) && !strings.ContainsAny(f.UUID, " \"'") {
			return "UUID=" + f.UUID
		}
	}
	return ""
}

// extraction is one run of Extract.
type extraction struct {
	ctx    context.Context
	c      *sandbox.Cell
	dir    string
	system System
	all    []sandbox.Filesystem
	boot   Boot
}

func (x *extraction) run() error {
	if err := x.entries("/boot"); err != nil {
		return err
	}
	k := x.kernel()
	x.boot.Version = k.Version
	if e, ok := entryFor(x.boot.Entries, k.Version); ok {
		x.boot.Options = e.Options
	} else {
		x.boot.Notes = append(x.boot.Notes, "no boot loader's configuration was found: the kernel gets no options of the disk's")
	}
	var err error
	if x.boot.Kernel, err = x.take(k.Path, "kernel", mostKernel); err != nil {
		return err
	}
	if x.boot.Initrd, err = x.take(k.Initrd, "initrd", mostInitrd); err != nil {
		return err
	}
	if err := x.place("/boot"); err != nil {
		return err
	}
	return x.modules(k.Version)
}

// kernel is the newest that can boot from the network.
func (x *extraction) kernel() Kernel {
	var best Kernel
	for _, k := range x.system.Kernels {
		if k.NetBoot && (best.Version == "" || newer(k.Version, best.Version) > 0) {
			best = k
		}
	}
	return best
}

// loaderPartitions reads entries of boot loaders that have a partition of their own.
func (x *extraction) loaderPartitions() error {
	for _, f := range x.all {
		if f.Type != "vfat" {
			continue
		}
		if _, err := x.c.Mount(x.ctx, f.Device, "/", sandbox.Peek, ""); err != nil {
			if !commandFailed(err) {
				return err
			}
			x.boot.Notes = append(x.boot.Notes, clean(err.Error()))
			continue
		}
		err := x.entries("/")
		if err := errors.Join(err, x.c.UnmountAll(x.ctx)); err != nil {
			return err
		}
	}
	return nil
}

// entries reads what boot loaders have below a directory.
func (x *extraction) entries(dir string) error {
	variables := map[string]string{}
	for _, name := range []string{"grub2/grubenv", "grub/grubenv"} {
		text, found, err := readFirst(x.ctx, x.c, path.Join(dir, name))
		if err != nil {
			return err
		}
		if found {
			variables = parseGrubenv(text)
			break
		}
	}
	if err := x.entriesOfBLS(dir, variables); err != nil {
		return err
	}
	for _, name := range []string{"grub/grub.cfg", "grub2/grub.cfg", "extlinux/extlinux.conf", "syslinux/syslinux.cfg"} {
		file := path.Join(dir, name)
		text, found, err := readFirst(x.ctx, x.c, file)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		if strings.HasPrefix(name, "grub") {
			x.add(parseGrub(text, file, variables)...)
		} else {
			x.add(parseExtlinux(text, file)...)
		}
		if err := x.place(file); err != nil {
			return err
		}
	}
	return nil
}

func (x *extraction) entriesOfBLS(dir string, variables map[string]string) error {
	files, err := x.c.Glob(x.ctx, path.Join(dir, "loader/entries/*.conf"))
	if err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b string) int { return newer(b, a) })
	for _, file := range files[:min(len(files), mostEntries)] {
		text, found, err := readFirst(x.ctx, x.c, file)
		if err != nil {
			return err
		}
		if e, ok := parseBLS(text, clean(file), variables); found && ok {
			x.add(e)
		}
		if err := x.place(file); err != nil {
			return err
		}
	}
	return nil
}

func (x *extraction) add(list ...Entry) {
	x.boot.Entries = append(x.boot.Entries, list[:min(len(list), mostEntries-len(x.boot.Entries))]...)
}

// take copies one file of the disk.
func (x *extraction) take(from, name string, most int64) (b BootFile, err error) {
	f, err := os.OpenFile(filepath.Join(x.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return b, err
	}
	sum := sha256.New()
	size := &counted{}
	err = x.c.Read(x.ctx, from, io.MultiWriter(f, sum, size), most)
	if err := errors.Join(err, f.Close()); err != nil {
		return b, err
	}
	if size.n == 0 {
		return b, fmt.Errorf("%s is empty", from)
	}
	return BootFile{name, from, size.n, hex.EncodeToString(sum.Sum(nil))}, x.place(from)
}

type counted struct{ n int64 }

func (c *counted) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// place notes where on the disk a file lies.
func (x *extraction) place(name string) error {
	list, err := x.c.Extents(x.ctx, name)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOTTY) || errors.Is(err, syscall.EINVAL) {
		x.boot.Placed = false
		return nil
	}
	if err != nil && !absent(err) {
		return err
	}
	if x.boot.Ranges = append(x.boot.Ranges, list...); len(x.boot.Ranges) > mostRanges {
		x.boot.Ranges, x.boot.Placed = x.boot.Ranges[:0], false
	}
	return nil
}
