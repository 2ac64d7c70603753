package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"goldstream/jail"
)

// ErrDiskRefused is a disk that no cell may have.
var ErrDiskRefused = errors.New("the disk is refused")

// headSize is how much of a disk checkHead looks at, in bytes.
const headSize = 4

// checkHead refuses a disk that the kernel would take for a copy-on-write file of
// its own (arch/um/drivers/cow_user.c): the header names another file. In the jail
// that file does not exist, but the size of the disk would be the other's. The
// option d does not keep the kernel from reading the header.
func checkHead(head [headSize]byte) error {
	if magic := string(head[:]); magic == "MOOO" || magic == "OOOM" {
		return fmt.Errorf("%w: it begins with %q, which marks a copy-on-write file of User-Mode-Linux and no disk", ErrDiskRefused, magic)
	}
	return nil
}

// checkSlot asks the slot and not its file, which this process may serve itself.
func checkSlot(ctx context.Context, s Slot) error {
	var head [headSize]byte
	if err := s.ReadAt(ctx, head[:], 0); err != nil {
		return fmt.Errorf("reading the disk: %w", err)
	}
	return checkHead(head)
}

// checkDisk opens the file.
func checkDisk(ctx context.Context, cfg Config) error {
	if cfg.DiskMount != "" {
		return checkServed(ctx, cfg)
	}
	fd, err := unix.Open(cfg.Disk, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the disk %s: %w", cfg.Disk, err)
	}
	defer unix.Close(fd)
	var head [headSize]byte
	n, err := unix.Pread(fd, head[:], 0)
	if err != nil {
		return fmt.Errorf("reading the disk %s: %w", cfg.Disk, err)
	}
	if n < len(head) {
		return fmt.Errorf("%w: it is shorter than a sector", ErrDiskRefused)
	}
	return checkHead(head)
}

// headPatience is how long a program may take to read the head of a disk.
const headPatience = time.Minute

// checkServed has a program in a jail read the head of a disk that this process serves
// itself: a process that is killed while it waits for its own answer never ends.
func checkServed(ctx context.Context, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, headPatience)
	defer cancel()
	path, err := program("", "head")
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return missing("head", "install the package coreutils")
	}
	binds, err := jail.Executables(path)
	if err != nil {
		return err
	}
	var head, said bytes.Buffer
	process, err := jail.Start(ctx, jail.Spec{
		Path: path, Args: []string{"-c" + strconv.Itoa(headSize), diskPath}, Stdout: &head, Stderr: &said, Profile: jail.Script(),
		Binds: append(binds, jail.Bind{Host: cfg.Disk, Mount: cfg.DiskMount, Target: diskPath, AsOwner: true}),
	})
	if err == nil {
		err = process.Wait()
	}
	if err != nil {
		return fmt.Errorf("reading the disk %s: %w: %.200s", cfg.Disk, err, said.String())
	}
	if head.Len() < headSize {
		return fmt.Errorf("%w: it is shorter than a sector", ErrDiskRefused)
	}
	return checkHead([headSize]byte(head.Bytes()))
}
