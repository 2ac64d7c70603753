package step

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"goldstream/personalize/attribute"
)

// MaxFile bounds what is read and written, in bytes.
const MaxFile = 4 << 20

// Op is one change of a file, or of the file system on /.
type Op struct {
	Path   string
	Remove bool
	Grow   bool // the root file system, to the size of the disk
	Make   bool // the file is not there yet
	Dir    bool // it is a directory; only with Make
	Data   []byte
	Set    bool // mode and owner, too
	Mode   fs.FileMode
	UID    int
	GID    int
}

// String tells what is done, without contents.
func (o Op) String() string {
	switch {
	case o.Remove:
		return "remove " + o.Path
	case o.Grow:
		return "grow " + o.Path + " to the end of the disk"
	case o.Dir:
		return fmt.Sprintf("make directory %s, mode %04o", o.Path, o.Mode)
	case o.Make:
		return fmt.Sprintf("make %s, %d bytes, mode %04o", o.Path, len(o.Data), o.Mode)
	}
	return fmt.Sprintf("write %s, %d bytes", o.Path, len(o.Data))
}

// Format never shows contents, whatever the verb.
func (o Op) Format(f fmt.State, verb rune) { fmt.Fprint(f, o.String()) }

// want is a file as it shall be.
type want struct {
	path     string
	data     []byte
	mode     fs.FileMode
	uid, gid int
	// enforce sets mode and owner of a file that exists, too.
	enforce bool
}

// plan compares a file with how it shall be.
func (w want) plan(ctx context.Context, tree Files) ([]Op, error) {
	if err := checkPath(w.path); err != nil {
		return nil, err
	}
	if len(w.data) > MaxFile {
		return nil, attribute.Invalid("%s would have %d bytes: at most %d are allowed", w.path, len(w.data), MaxFile)
	}
	op := Op{Path: w.path, Data: w.data, Mode: w.mode, UID: w.uid, GID: w.gid, Set: true}
	info, err := tree.Stat(ctx, w.path)
	if errors.Is(err, fs.ErrNotExist) {
		op.Make = true
		return []Op{op}, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode.IsRegular() {
		return nil, attribute.Invalid("%s on the disk is no regular file", w.path)
	}
	old, err := tree.Read(ctx, w.path)
	if err != nil {
		return nil, err
	}
	op.Set = w.enforce && (info.Mode.Perm() != w.mode || info.UID != w.uid || info.GID != w.gid)
	if bytes.Equal(old, w.data) && !op.Set {
		return nil, nil
	}
	return []Op{op}, nil
}

func checkPath(p string) error {
	if !strings.HasPrefix(p, "/") || path.Clean(p) != p || p == "/" || strings.ContainsAny(p, "\x00\n") {
		return attribute.Invalid("%.200q is no path of a file: begin with /, and leave out . and ..", p)
	}
	return nil
}

// Apply carries operations out. Directories that are missing are made.
func Apply(ctx context.Context, tree Files, ops []Op) error {
	made := false
	for _, o := range ops {
		if err := o.apply(ctx, tree); err != nil {
			return fmt.Errorf("cannot %s: %w", o, err)
		}
		made = made || o.Make
	}
	if !made {
		return nil
	}
	return relabel(ctx, tree)
}

func (o Op) apply(ctx context.Context, tree Files) error {
	if o.Grow {
		return grow(ctx, tree)
	}
	if o.Remove {
		return tree.Remove(ctx, o.Path)
	}
	if o.Make {
		if err := makeDirs(ctx, tree, path.Dir(o.Path)); err != nil {
			return err
		}
	}
	if o.Dir {
		if err := tree.Mkdir(ctx, o.Path); err != nil {
			return err
		}
	} else if err := tree.Write(ctx, o.Path, o.Data); err != nil || !o.Set {
		return err
	}
	return errors.Join(tree.Chown(ctx, o.Path, o.UID, o.GID), tree.Chmod(ctx, o.Path, o.Mode))
}

func makeDirs(ctx context.Context, tree Files, dir string) error {
	_, err := tree.Stat(ctx, dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirs(ctx, tree, path.Dir(dir)); err != nil {
		return err
	}
	return tree.Mkdir(ctx, dir)
}

// relabel has the next boot give new files their SELinux labels.
func relabel(ctx context.Context, tree Files) error {
	config, err := tree.Read(ctx, "/etc/selinux/config")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(config)) {
		switch strings.TrimSpace(line) {
		case "SELINUX=enforcing", "SELINUX=permissive":
			return tree.Write(ctx, "/.autorelabel", nil)
		}
	}
	return nil
}
