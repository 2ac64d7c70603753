package runner

import (
	"context"
	"errors"
	"io/fs"
	"strings"

	"goldstream/personalize/sandbox"
	"goldstream/personalize/sandbox/wire"
)

// Modes of new files and directories, with the umask of libguestfs, 022.
const (
	fileMode = 0o644
	dirMode  = 0o755
)

// fileCommands change files.
func fileCommands() map[string]handler {
	return map[string]handler{
		"mkdir": func(s *Session, ctx context.Context, c call) error { return s.disk.Mkdir(ctx, c.args[0], dirMode) },
		"mkdir-p": func(s *Session, ctx context.Context, c call) error {
			return s.disk.MkdirAll(ctx, c.args[0], dirMode)
		},
		"touch":        func(s *Session, ctx context.Context, c call) error { return s.disk.Touch(ctx, c.args[0]) },
		"rm":           (*Session).rm,
		"rm-f":         (*Session).rmForce,
		"rm-rf":        (*Session).rmAll,
		"mv":           func(s *Session, ctx context.Context, c call) error { return s.disk.Rename(ctx, c.args[0], c.args[1]) },
		"cp":           func(s *Session, ctx context.Context, c call) error { return s.disk.Copy(ctx, c.args[0], c.args[1]) },
		"cp-r":         func(s *Session, ctx context.Context, c call) error { return s.disk.CopyTree(ctx, c.args[0], c.args[1]) },
		"cp-a":         func(s *Session, ctx context.Context, c call) error { return s.disk.CopyAll(ctx, c.args[0], c.args[1]) },
		"ln":           func(s *Session, ctx context.Context, c call) error { return s.disk.Link(ctx, c.args[0], c.args[1]) },
		"ln-f":         (*Session).linkForce,
		"ln-s":         symlink(false),
		"ln-sf":        symlink(true),
		"chmod":        (*Session).chmod,
		"chown":        (*Session).chown,
		"write":        (*Session).write,
		"write-append": (*Session).writeAppend,
	}
}

// rm removes one name that is no directory.
func (s *Session) rm(ctx context.Context, c call) error {
	info, err := s.disk.Lstat(ctx, c.args[0])
	switch {
	case err != nil:
		return err
	case info.Type == wire.TypeDirectory:
		return failf("%s is a directory", c.args[0])
	}
	return s.disk.Remove(ctx, c.args[0])
}

func (s *Session) rmForce(ctx context.Context, c call) error {
	if err := s.rm(ctx, c); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *Session) rmAll(ctx context.Context, c call) error {
	if strings.Trim(c.args[0], "/") == "" {
		return failf("not /, with all that is on it: name what to remove")
	}
	return s.disk.RemoveAll(ctx, c.args[0])
}

// linkForce makes a hard link in the place of what is there.
func (s *Session) linkForce(ctx context.Context, c call) error {
	if _, err := s.disk.Stat(ctx, c.args[0]); err != nil {
		return err
	}
	if err := s.rmForce(ctx, call{args: c.args[1:]}); err != nil {
		return err
	}
	return s.disk.Link(ctx, c.args[0], c.args[1])
}

func symlink(force bool) handler {
	return func(s *Session, ctx context.Context, c call) error {
		return s.disk.Symlink(ctx, c.args[0], c.args[1], force)
	}
}

func (s *Session) chmod(ctx context.Context, c call) error {
	mode := number(c.args[0])
	if mode < 0 || mode > 0o7777 {
		return failf("%s is no mode: they go from 0 to 07777, with a 0 first", c.args[0])
	}
	return s.disk.Chmod(ctx, c.args[1], uint32(mode))
}

func (s *Session) chown(ctx context.Context, c call) error {
	uid, gid := number(c.args[0]), number(c.args[1])
	const most = 1<<32 - 2
	if uid < 0 || gid < 0 || uid > most || gid > most {
		return failf("%s and %s are no ids of an owner and a group", c.args[0], c.args[1])
	}
	return s.disk.Chown(ctx, c.args[2], int(uid), int(gid))
}

func (s *Session) write(ctx context.Context, c call) error {
	return s.disk.Write(ctx, c.args[0], strings.NewReader(c.args[1]), fileMode)
}

func (s *Session) writeAppend(ctx context.Context, c call) error {
	return s.disk.Append(ctx, c.args[0], strings.NewReader(c.args[1]), fileMode)
}

// absent is a path that names nothing.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNotDir) || errors.Is(err, errLoop)
}

// exists makes a command that asks for a kind of file; kind "" is any.
func exists(kind string) handler {
	return func(s *Session, ctx context.Context, c call) error {
		look := s.disk.Lstat
		if strings.EqualFold(c.options["followsymlinks"], "true") {
			look = s.disk.Stat
		}
		info, err := look(ctx, c.args[0])
		if absent(err) {
			return c.printBool(false, nil)
		}
		return c.printBool(kind == "" || info.Type == kind, err)
	}
}

// regular refuses what is no file before anything is opened for it.
func regular(info sandbox.Info, name string, err error) error {
	if err == nil && info.Type != wire.TypeFile {
		return failf("%s is no regular file", name)
	}
	return err
}
