package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"goldstream/personalize/sandbox/wire"
)

// Device is the disk or one of its partitions.
type Device struct {
	Path string // /dev/sda, /dev/sda1
	Size int64  // bytes
}

// Devices lists the disk and its partitions, the disk first.
func (c *Cell) Devices(ctx context.Context) ([]Device, error) {
	fields, err := c.rows(ctx, wire.OpDevices, mostRows, 2)
	var list []Device
	n := numbers{err: err}
	for ; len(fields) > 0; fields = fields[2:] {
		list = append(list, Device{Path: field(fields[0]), Size: int64(n.parse(fields[1], 10))})
	}
	return list, n.err
}

// Partition is one of the disk.
type Partition struct {
	Number      int
	Start, Size int64 // bytes
}

// Partitions lists them, and tells the kind of their table: gpt, msdos, or "".
func (c *Cell) Partitions(ctx context.Context) (list []Partition, table string, err error) {
	fields, results, err := c.rowsAnd(ctx, wire.OpParts, mostRows, 3)
	if err != nil {
		return nil, "", err
	}
	if len(results) != 1 {
		return nil, "", fmt.Errorf("%v: %w: %d results", wire.OpParts, wire.ErrProtocol, len(results))
	}
	n := numbers{}
	for ; len(fields) > 0; fields = fields[3:] {
		list = append(list, Partition{int(n.parse(fields[0], 10)), n.signed(fields[1]), n.signed(fields[2])})
	}
	return list, field(results[0]), n.err
}

// Filesystem is what a partition, a logical volume, or a disk without partitions
// holds.
type Filesystem struct {
	Device string `json:"device"` // /dev/sda1, /dev/GROUP/VOLUME
	Type   string `json:"type"`   // ext4, xfs, btrfs, vfat, swap, LVM2_member …, unknown
	Label  string `json:"label,omitempty"`
	UUID   string `json:"uuid,omitempty"`
	Size   int64  `json:"size"` // of the device, in bytes
}

// Filesystems lists them. Logical volumes are activated for it.
func (c *Cell) Filesystems(ctx context.Context) ([]Filesystem, error) {
	fields, err := c.rows(ctx, wire.OpFilesystems, mostRows, 5)
	var list []Filesystem
	n := numbers{err: err}
	for ; len(fields) > 0; fields = fields[5:] {
		list = append(list, Filesystem{
			Device: field(fields[0]), Type: field(fields[1]), Label: field(fields[2]), UUID: field(fields[3]),
			Size: int64(n.parse(fields[4], 10)),
		})
	}
	return list, n.err
}

// MountMode says what a mount may write.
type MountMode string

// The modes.
const (
	ReadWrite MountMode = "rw"
	ReadOnly  MountMode = "ro"   // a journal is replayed, unless the disk is read-only
	Peek      MountMode = "peek" // nothing, not even a journal: as the disk lies there
)

// Mount mounts a device on a directory of the disk's tree, the first one on "/",
// with further options of the file system's, and returns its type.
func (c *Cell) Mount(ctx context.Context, device, dir string, mode MountMode, options string) (string, error) {
	return c.one(ctx, wire.OpMount, device, dir, string(mode), options)
}

// Unmount unmounts a directory or device. An error may mean lost writes.
func (c *Cell) Unmount(ctx context.Context, what string) error {
	return c.do(ctx, wire.OpUnmount, what)
}

// UnmountAll unmounts what is mounted, the last one first.
func (c *Cell) UnmountAll(ctx context.Context) error { return c.do(ctx, wire.OpUnmountAll) }

// Mounted is one mount.
type Mounted struct{ Device, Dir, Type string }

// Mounts lists what is mounted, the first one first.
func (c *Cell) Mounts(ctx context.Context) ([]Mounted, error) {
	fields, err := c.rows(ctx, wire.OpMounts, mostRows, 3)
	var list []Mounted
	for ; len(fields) > 0; fields = fields[3:] {
		list = append(list, Mounted{field(fields[0]), fields[1], field(fields[2])})
	}
	return list, err
}

// Grow makes the file system mounted on dir as large as its device, and returns its
// size before and after, in bytes.
func (c *Cell) Grow(ctx context.Context, dir string) (before, after int64, err error) {
	f, err := c.call(ctx, request{op: wire.OpGrow, args: []string{dir}})
	if err != nil {
		return 0, 0, err
	}
	if len(f) != 2 {
		return 0, 0, fmt.Errorf("grow: %w: %d results", wire.ErrProtocol, len(f))
	}
	n := numbers{}
	return int64(n.parse(f[0], 10)), int64(n.parse(f[1], 10)), n.err
}

// LVM runs a program of LVM (vgs, lvs, vgrename, vgchange, lvextend …) and returns
// what it printed.
func (c *Cell) LVM(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	_, err := c.call(ctx, request{op: wire.OpLVM, args: args, output: &out})
	return out.String(), err
}

// FSInfo is statvfs(3).
type FSInfo struct {
	BlockSize, Blocks, Free, Available, Files, FreeFiles, NameMax uint64
}

// StatFS looks at the file system that a path is on.
func (c *Cell) StatFS(ctx context.Context, path string) (FSInfo, error) {
	f, err := c.call(ctx, request{op: wire.OpStatFS, args: []string{path}})
	if err != nil {
		return FSInfo{}, err
	}
	if len(f) != 8 {
		return FSInfo{}, fmt.Errorf("statvfs: %w: %d results", wire.ErrProtocol, len(f))
	}
	n := numbers{}
	p := func(i int) uint64 { return n.parse(f[i], 10) }
	return FSInfo{p(1), p(2), p(3), p(4), p(5), p(6), p(7)}, n.err
}

// ExitError is a program of the disk that did not end with status 0.
type ExitError struct {
	Program string
	Status  int // -1 after a signal
	Signal  int
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("%s was ended by signal %d", e.Program, e.Signal)
	}
	return fmt.Sprintf("%s ended with status %d", e.Program, e.Status)
}

// Command runs a program of the disk in the disk's tree, as its root, without a
// network. What it leaves running is ended. Its output goes to the two writers, at
// most limit bytes of both; more is ErrTooLong, and the cell's end.
func (c *Cell) Command(ctx context.Context, stdout, stderr io.Writer, limit int64, argv ...string) error {
	if len(argv) == 0 {
		return fmt.Errorf("command: say which program")
	}
	f, err := c.call(ctx, request{op: wire.OpRun, args: append([]string{"/"}, argv...), output: stdout, stderr: stderr, limit: limit})
	if err != nil {
		return err
	}
	return exitError(argv[0], f)
}

// exitError reads how a program ended.
func exitError(program string, f []string) error {
	if len(f) != 2 {
		return fmt.Errorf("%s: %w: %d results", program, wire.ErrProtocol, len(f))
	}
	if f[0] == "0" {
		return nil
	}
	n := numbers{}
	exit := &ExitError{Program: program, Status: -1}
	if f[1] != "" {
		exit.Signal = int(n.parse(f[1], 10))
	} else {
		exit.Status = int(n.parse(f[0], 10))
	}
	if n.err != nil {
		return n.err
	}
	return exit
}

// Shell has the disk's /bin/sh carry out a line.
func (c *Cell) Shell(ctx context.Context, stdout, stderr io.Writer, limit int64, line string) error {
	err := c.Command(ctx, stdout, stderr, limit, "/bin/sh", "-c", line)
	if exit, ok := err.(*ExitError); ok {
		exit.Program = "sh: " + strings.ToValidUTF8(line[:min(len(line), 60)], "?")
	}
	return err
}
