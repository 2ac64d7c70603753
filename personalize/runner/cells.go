package runner

import (
	"context"
	"io"
	"io/fs"

	"goldstream/personalize/sandbox"
)

// Disk is what the runner needs of a disk cell, which *sandbox.Cell is.
type Disk interface {
	Devices(context.Context) ([]sandbox.Device, error)
	Partitions(context.Context) ([]sandbox.Partition, string, error)
	Filesystems(context.Context) ([]sandbox.Filesystem, error)
	LVM(ctx context.Context, args ...string) (string, error)

	Mount(ctx context.Context, device, dir string, mode sandbox.MountMode, options string) (string, error)
	Unmount(ctx context.Context, what string) error
	UnmountAll(context.Context) error
	Mounts(context.Context) ([]sandbox.Mounted, error)
	StatFS(ctx context.Context, path string) (sandbox.FSInfo, error)

	Command(ctx context.Context, stdout, stderr io.Writer, limit int64, argv ...string) error

	Read(ctx context.Context, path string, w io.Writer, limit int64) error
	ReadPart(ctx context.Context, path string, offset, n int64) ([]byte, error)
	Write(ctx context.Context, path string, r io.Reader, mode fs.FileMode) error
	Append(ctx context.Context, path string, r io.Reader, mode fs.FileMode) error
	Touch(ctx context.Context, path string) error
	Mkdir(ctx context.Context, path string, mode fs.FileMode) error
	MkdirAll(ctx context.Context, path string, mode fs.FileMode) error
	Remove(ctx context.Context, path string) error
	RemoveAll(ctx context.Context, path string) error
	Rename(ctx context.Context, from, to string) error
	Copy(ctx context.Context, from, to string) error
	CopyTree(ctx context.Context, from, to string) error
	CopyAll(ctx context.Context, from, to string) error
	Link(ctx context.Context, target, path string) error
	Symlink(ctx context.Context, target, path string, force bool) error
	Readlink(ctx context.Context, path string) (string, error)
	Chmod(ctx context.Context, path string, mode uint32) error
	Chown(ctx context.Context, path string, uid, gid int) error
	Lchown(ctx context.Context, path string, uid, gid int) error
	Stat(ctx context.Context, path string) (sandbox.Info, error)
	Lstat(ctx context.Context, path string) (sandbox.Info, error)
	List(ctx context.Context, dir string) ([]sandbox.Entry, error)
	Walk(ctx context.Context, dir string) ([]sandbox.Entry, error)
	Glob(ctx context.Context, pattern string) ([]string, error)
	DiskUsage(ctx context.Context, path string) (kib int64, err error)
}

// Local is what the runner needs of a script cell, which *sandbox.Script is.
type Local interface {
	Shell(context.Context, sandbox.Line) error
	Read(ctx context.Context, name string, w io.Writer, limit int64) error
	Write(ctx context.Context, name string, r io.Reader, mode fs.FileMode) error
	MkdirAll(ctx context.Context, name string, mode fs.FileMode) error
	Symlink(ctx context.Context, target, name string) error
	Readlink(ctx context.Context, name string) (string, error)
	Chmod(ctx context.Context, name string, mode uint32) error
	Stat(ctx context.Context, name string) (sandbox.Info, error)
	Lstat(ctx context.Context, name string) (sandbox.Info, error)
	Walk(ctx context.Context, dir string) ([]sandbox.Entry, error)
	Close()
}
