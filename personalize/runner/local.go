package runner

import (
	"context"
	"errors"
	"io"
	"path"
	"strings"

	"goldstream/personalize/sandbox"
	"goldstream/personalize/sandbox/wire"
)

// localCommands bring files from one side to the other.
func localCommands() map[string]handler {
	return map[string]handler{
		"upload":          (*Session).upload,
		"download":        (*Session).download,
		"download-offset": (*Session).downloadOffset,
		"copy-in":         (*Session).copyIn,
		"copy-out":        (*Session).copyOut,
	}
}

var errNoReader = errors.New("what was to be written is not wanted any more")

// pass has what read writes be the input of write. An error of read is told, rather
// than what write made of it.
func pass(read func(io.Writer) error, write func(io.Reader) error) error {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := read(w)
		_ = w.CloseWithError(err)
		done <- err
	}()
	err := write(r)
	_ = r.CloseWithError(errNoReader)
	if e := <-done; e != nil && !errors.Is(e, errNoReader) {
		return e
	}
	return err
}

// upload writes a local file, or the text in the script, to the disk.
func (s *Session) upload(ctx context.Context, c call) error {
	if c.args[0] == "-" {
		return s.disk.Write(ctx, c.args[1], strings.NewReader(c.heredoc), fileMode)
	}
	local, err := s.localFile(ctx, c.args[0])
	if err != nil {
		return err
	}
	return pass(func(w io.Writer) error { return local.Read(ctx, c.args[0], w, mostFile) },
		func(r io.Reader) error { return s.disk.Write(ctx, c.args[1], r, fileMode) })
}

// localFile looks before anything on the disk is touched.
func (s *Session) localFile(ctx context.Context, name string) (Local, error) {
	local, err := s.scripts()
	if err != nil {
		return nil, err
	}
	info, err := local.Stat(ctx, name)
	return local, regular(info, name, err)
}

func (s *Session) download(ctx context.Context, c call) error {
	info, err := s.disk.Stat(ctx, c.args[0])
	if err := regular(info, c.args[0], err); err != nil {
		return err
	}
	return s.toLocal(ctx, c, c.args[1], func(w io.Writer) error { return s.disk.Read(ctx, c.args[0], w, mostFile) })
}

// toLocal writes a local file, or prints it where its name is "-".
func (s *Session) toLocal(ctx context.Context, c call, name string, read func(io.Writer) error) error {
	if name == "-" {
		return read(c.out)
	}
	local, err := s.scripts()
	if err != nil {
		return err
	}
	return pass(read, func(r io.Reader) error { return local.Write(ctx, name, r, fileMode) })
}

// partSize is how much of a file is held at a time.
const partSize = 1 << 20

func (s *Session) downloadOffset(ctx context.Context, c call) error {
	offset, size := number(c.args[2]), number(c.args[3])
	if offset < 0 || size < 0 {
		return failf("offset %d and size %d must not be negative", offset, size)
	}
	info, err := s.disk.Stat(ctx, c.args[0])
	if err := regular(info, c.args[0], err); err != nil {
		return err
	}
	return s.toLocal(ctx, c, c.args[1], func(w io.Writer) error {
		for size > 0 {
			part, err := s.disk.ReadPart(ctx, c.args[0], offset, min(size, partSize))
			if err != nil || len(part) == 0 {
				return err
			}
			if _, err := w.Write(part); err != nil {
				return err
			}
			offset, size = offset+int64(len(part)), size-int64(len(part))
		}
		return nil
	})
}

// lcd has the shells and local files that follow be in another directory.
func (s *Session) lcd(ctx context.Context, c call) error {
	local, err := s.scripts()
	if err != nil {
		return err
	}
	if info, err := local.Stat(ctx, c.args[0]); err != nil {
		return err
	} else if info.Type != wire.TypeDirectory {
		return failf("%s is no directory", c.args[0])
	}
	s.dir = path.Clean(c.args[0])
	return nil
}

// copyIn copies local files and trees into a directory of the disk. They are then
// root's.
func (s *Session) copyIn(ctx context.Context, c call) error {
	local, err := s.scripts()
	if err != nil {
		return err
	}
	last := len(c.args) - 1
	if info, err := s.disk.Stat(ctx, c.args[last]); err != nil {
		return err
	} else if info.Type != wire.TypeDirectory {
		return failf("%s is no directory", c.args[last])
	}
	for _, name := range c.args[:last] {
		name = strings.TrimRight(name, "/")
		if base := path.Base(name); base == "." || base == ".." || base == "/" {
			return failf("%s has no name of its own: name the directory", name)
		}
		err := s.copyTree(ctx, localTree{local}, name, diskTree{s.disk}, path.Join(c.args[last], path.Base(name)))
		if err != nil {
			return err
		}
	}
	return nil
}

// copyOut copies files and trees of the disk into a local directory.
func (s *Session) copyOut(ctx context.Context, c call) error {
	local, err := s.scripts()
	if err != nil {
		return err
	}
	last := len(c.args) - 1
	if info, err := local.Stat(ctx, c.args[last]); err != nil {
		return err
	} else if info.Type != wire.TypeDirectory {
		return failf("%s is no directory", c.args[last])
	}
	for _, name := range c.args[:last] {
		base := path.Base(path.Clean(name))
		if base == "/" {
			base = "."
		}
		err := s.copyTree(ctx, diskTree{s.disk}, name, localTree{local}, strings.TrimRight(c.args[last], "/")+"/"+base)
		if err != nil {
			return err
		}
	}
	return nil
}

// files is one side of a copy.
type files interface {
	Lstat(ctx context.Context, name string) (sandbox.Info, error)
	Walk(ctx context.Context, dir string) ([]sandbox.Entry, error)
	Read(ctx context.Context, name string, w io.Writer, limit int64) error
	Readlink(ctx context.Context, name string) (string, error)

	write(ctx context.Context, name string, r io.Reader, mode uint32) error
	mkdir(ctx context.Context, name string, mode uint32) error
	symlink(ctx context.Context, target, name string) error
}

// copyTree copies one name and all below it. Links stay links; what is neither file
// nor directory nor link is left out, and told.
func (s *Session) copyTree(ctx context.Context, from files, source string, to files, target string) error {
	info, err := from.Lstat(ctx, source)
	if err != nil {
		return err
	}
	if err := s.copyOne(ctx, from, source, to, target, info); err != nil || info.Type != wire.TypeDirectory {
		return err
	}
	list, err := from.Walk(ctx, source)
	if err != nil {
		return err
	}
	for _, e := range list {
		info, err := from.Lstat(ctx, source+"/"+e.Name)
		if err == nil {
			err = s.copyOne(ctx, from, source+"/"+e.Name, to, target+"/"+e.Name, info)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) copyOne(ctx context.Context, from files, source string, to files, target string, info sandbox.Info) error {
	switch info.Type {
	case wire.TypeDirectory:
		return to.mkdir(ctx, target, info.Mode)
	case wire.TypeFile:
		return pass(func(w io.Writer) error { return from.Read(ctx, source, w, mostFile) },
			func(r io.Reader) error { return to.write(ctx, target, r, info.Mode) })
	case wire.TypeLink:
		text, err := from.Readlink(ctx, source)
		if err != nil {
			return err
		}
		return to.symlink(ctx, text, target)
	}
	s.log.line(Failure, "left out: "+source+" is no file, directory or link")
	return nil
}
