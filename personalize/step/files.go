package step

import (
	"context"
	"io/fs"
)

// Files is the root file system of a disk. Paths begin with /. Symbolic links
// are followed within the tree and never out of it. Errors for what is not there
// wrap fs.ErrNotExist. A tree of a whole disk is a [Grower] too.
type Files interface {
	Stat(ctx context.Context, path string) (Info, error)
	Read(ctx context.Context, path string) ([]byte, error)
	// Write gives a file contents, and makes it with mode 0600 if it is not
	// there. One that is there is written in place: it keeps mode, owner,
	// attributes and its SELinux label.
	Write(ctx context.Context, path string, data []byte) error
	List(ctx context.Context, dir string) ([]string, error)
	// Walk lists all that is below a directory, and follows no links.
	Walk(ctx context.Context, dir string) ([]Entry, error)
	// Mkdir makes a directory with mode 0755; its parent is there.
	Mkdir(ctx context.Context, path string) error
	Remove(ctx context.Context, path string) error
	Chmod(ctx context.Context, path string, mode fs.FileMode) error
	Chown(ctx context.Context, path string, uid, gid int) error
}

// Info is what is known of a file.
type Info struct {
	Mode     fs.FileMode // with fs.ModeDir
	UID, GID int
	Size     int64 // bytes
}

// Entry is something below a directory.
type Entry struct {
	Path    string // from that directory on
	Regular bool   // a regular file
}
