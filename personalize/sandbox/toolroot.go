package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"goldstream/jail"
)

// Tools are a tool root and the kernel that it fits.
type Tools struct {
	Image  string // the ext4 file
	UML    string // the kernel
	Guest  string // goldstream-guest
	Binds  []jail.Bind
	Digest string   // of the content, part of the image's name
	Size   int64    // of the image, in bytes
	Kernel string   // its version
	Lacks  []string // what this host cannot give, and what that means

	// NarrowState is a kernel that cannot save the wide registers of this
	// processor, see narrowState.
	NarrowState bool
}

const (
	imagePrefix = "tools-"
	imageSuffix = ".ext4"
	workPrefix  = "making-"
	makeTimeout = 5 * time.Minute
)

// Find returns the tool root that Prepare made from what is installed now. An
// error that wraps ErrNotPrepared means that it is not there.
func Find(ctx context.Context, o Options) (Tools, error) {
	t, _, err := plan(ctx, o)
	if err != nil {
		return t, err
	}
	info, err := os.Stat(t.Image)
	if errors.Is(err, os.ErrNotExist) {
		return t, fmt.Errorf("%w: %s does not exist; run 'goldstream sandbox prepare'", ErrNotPrepared, t.Image)
	}
	if err != nil {
		return t, err
	}
	t.Size = info.Size()
	return t, nil
}

// ErrNotPrepared is a tool root that is missing or older than what is installed.
var ErrNotPrepared = errors.New("the sandbox is not prepared")

// Prepare makes the tool root, unless it is there. It needs no network and no
// privileges. Tool roots of other contents are removed: cells that run keep
// theirs until they end.
func Prepare(ctx context.Context, o Options) (Tools, error) {
	t, files, err := plan(ctx, o)
	if err != nil {
		return t, err
	}
	if info, err := os.Stat(t.Image); err == nil {
		t.Size = info.Size()
		return t, nil
	}
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return t, err
	}
	lock, err := sweep(o.Dir)
	if err != nil {
		return t, err
	}
	defer lock.Close()
	work, err := os.MkdirTemp(o.Dir, workPrefix)
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(work)
	made, err := makeImage(ctx, work, files)
	if err != nil {
		return t, fmt.Errorf("making the tool root: %w", err)
	}
	if err := os.Rename(made, t.Image); err != nil {
		return t, err
	}
	if err := removeOthers(o.Dir, t.Image); err != nil {
		return t, err
	}
	return Find(ctx, o)
}

// plan says what the tool root holds, without making it.
func plan(ctx context.Context, o Options) (Tools, []toolFile, error) {
	if o.Dir == "" {
		return Tools{}, nil, errors.New("no directory for the tool root")
	}
	o, err := o.withDefaults()
	if err != nil {
		return Tools{}, nil, err
	}
	t := Tools{UML: o.UML, Guest: o.Guest}
	if t.Kernel, err = kernelVersion(ctx, o.UML); err != nil {
		return t, nil, err
	}
	if t.NarrowState, err = narrowState(t.Kernel); err != nil {
		return t, nil, err
	}
	if t.Binds, err = jail.Executables(o.UML); err != nil {
		return t, nil, err
	}
	files, lacks, err := toolFiles(o, t.Kernel)
	if err != nil {
		return t, nil, err
	}
	if t.Lacks = lacks; t.NarrowState {
		t.Lacks = append(t.Lacks, "wide registers: the kernel is older than this processor and loses the AVX registers of programs with threads or signal handlers, which are asked to do without; install user-mode-linux 6.13 or newer where there is one")
	}
	if t.Digest, err = digest(files); err != nil {
		return t, nil, err
	}
	t.Image = filepath.Join(o.Dir, imagePrefix+t.Digest+imageSuffix)
	return t, files, nil
}

// sweep removes what a Prepare left that was cut off, unless another one is at
// work. The directory it returns is locked until it is closed: so it stays.
func sweep(dir string) (lock *os.File, err error) {
	if lock, err = os.Open(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = lock.Close()
		}
	}()
	if err := flock(lock, unix.LOCK_EX|unix.LOCK_NB); err == nil {
		list, err := filepath.Glob(filepath.Join(dir, workPrefix+"*"))
		if err != nil {
			return nil, err
		}
		for _, left := range list {
			if err := os.RemoveAll(left); err != nil {
				return nil, err
			}
		}
	} else if err != unix.EWOULDBLOCK {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	if err := flock(lock, unix.LOCK_SH); err != nil {
		return nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	return lock, nil
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}

func removeOthers(dir, keep string) error {
	list, err := filepath.Glob(filepath.Join(dir, imagePrefix+"*"+imageSuffix))
	if err != nil {
		return err
	}
	for _, file := range list {
		if file != keep {
			if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// makeImage lays the files out below work and has mke2fs pack them: it fills a
// file system without a mount.
func makeImage(ctx context.Context, work string, files []toolFile) (string, error) {
	mke2fs, err := program("", "mke2fs")
	if err != nil {
		return "", missing("mke2fs", "install the package e2fsprogs")
	}
	root := filepath.Join(work, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return "", err
	}
	var size int64
	for _, f := range files {
		n, err := f.layOut(root)
		if err != nil {
			return "", err
		}
		size += n + 4096
	}
	image := filepath.Join(work, "image")
	ctx, cancel := context.WithTimeout(ctx, makeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, mke2fs, "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-L", "goldstream",
		"-O", "^has_journal,^resize_inode", "-E", "root_owner=0:0,nodiscard", "-d", root, image, fmt.Sprintf("%dk", size/1024*5/4+4096))
	cmd.Env = []string{"MKE2FS_CONFIG=/dev/null", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mke2fs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return image, syncFile(image)
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	return f.Sync()
}
