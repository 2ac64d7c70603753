package runner

import (
	"context"
	"io"
	"io/fs"

	"goldstream/personalize/sandbox/wire"
)

// diskTree and localTree are the two sides of a copy. Files are written in place, a
// link in their place is not followed. setuid and the like stay on the disk, and do
// not come from a local file.
type (
	diskTree  struct{ Disk }
	localTree struct{ Local }
)

func (d diskTree) write(ctx context.Context, name string, r io.Reader, mode uint32) error {
	if err := d.unlink(ctx, name); err != nil {
		return err
	}
	if err := d.Write(ctx, name, r, fs.FileMode(mode&0o777)); err != nil {
		return err
	}
	return d.Chmod(ctx, name, mode&0o777)
}

// unlink removes a link, which would lead a write elsewhere.
func (d diskTree) unlink(ctx context.Context, name string) error {
	info, err := d.Lstat(ctx, name)
	switch {
	case absent(err):
		return nil
	case err != nil || info.Type != wire.TypeLink:
		return err
	}
	return d.Remove(ctx, name)
}

func (d diskTree) mkdir(ctx context.Context, name string, mode uint32) error {
	if err := d.MkdirAll(ctx, name, fs.FileMode(mode&0o777)); err != nil {
		return err
	}
	return d.Chmod(ctx, name, mode&0o777)
}

func (d diskTree) symlink(ctx context.Context, target, name string) error {
	return d.Symlink(ctx, target, name, true)
}

func (l localTree) write(ctx context.Context, name string, r io.Reader, mode uint32) error {
	if err := l.Write(ctx, name, r, fs.FileMode(mode&0o777)); err != nil {
		return err
	}
	return l.Chmod(ctx, name, mode&0o777|0o600)
}

// mkdir lets what is in the directory be written and looked up.
func (l localTree) mkdir(ctx context.Context, name string, mode uint32) error {
	if err := l.MkdirAll(ctx, name, 0o700); err != nil {
		return err
	}
	return l.Chmod(ctx, name, mode&0o777|0o700)
}

func (l localTree) symlink(ctx context.Context, target, name string) error {
	return l.Symlink(ctx, target, name)
}
