package runner

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"goldstream/personalize/sandbox"
	"goldstream/personalize/sandbox/wire"
)

// archiveCommands pack and unpack. The tools that compress are those of scripts.
func archiveCommands() map[string]handler {
	return map[string]handler{
		"tar-in":       func(s *Session, ctx context.Context, c call) error { return s.tarIn(ctx, c, c.options["compress"]) },
		"tar-out":      func(s *Session, ctx context.Context, c call) error { return s.tarOut(ctx, c, c.options["compress"]) },
		"tgz-in":       func(s *Session, ctx context.Context, c call) error { return s.tarIn(ctx, c, "gzip") },
		"tgz-out":      func(s *Session, ctx context.Context, c call) error { return s.tarOut(ctx, c, "gzip") },
		"compress-out": (*Session).compressOut,
	}
}

// compressor is the program of a kind of compression.
func compressor(kind string) (string, error) {
	switch kind {
	case "gzip", "bzip2", "xz":
		return kind, nil
	case "":
		return "cat", nil
	}
	return "", failf("%q is no compression that is possible here: use gzip, bzip2 or xz", kind)
}

func (s *Session) compressOut(ctx context.Context, c call) error {
	program, err := compressor(c.args[0])
	if err != nil {
		return err
	}
	level := ""
	if text, given := c.options["level"]; given {
		if len(text) != 1 || text[0] < '1' || text[0] > '9' {
			return failf("%q is no level: they go from 1 to 9", text)
		}
		level = " -" + text
	}
	info, err := s.disk.Stat(ctx, c.args[1])
	if err := regular(info, c.args[1], err); err != nil {
		return err
	}
	return pass(func(w io.Writer) error { return s.disk.Read(ctx, c.args[1], w, mostFile) },
		func(r io.Reader) error {
			return s.shell(ctx, "exec "+program+level+" -c > "+quote(c.args[2]), r, s.log.stdout)
		})
}

// tarOut writes a directory of the disk as a local archive, its root as "./".
func (s *Session) tarOut(ctx context.Context, c call, compress string) error {
	program, err := compressor(compress)
	if err != nil {
		return err
	}
	return pass(func(w io.Writer) error { return s.pack(ctx, c.args[0], w) },
		func(r io.Reader) error { return s.shell(ctx, "exec "+program+" > "+quote(c.args[1]), r, s.log.stdout) })
}

func (s *Session) pack(ctx context.Context, dir string, w io.Writer) error {
	list, err := s.disk.Walk(ctx, dir)
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for _, e := range append([]sandbox.Entry{{Name: "."}}, list...) {
		if err := s.packOne(ctx, out, path.Join(dir, e.Name), "./"+strings.TrimPrefix(e.Name, ".")); err != nil {
			return err
		}
	}
	return out.Close()
}

func (s *Session) packOne(ctx context.Context, out *tar.Writer, name, inside string) error {
	i, err := s.disk.Lstat(ctx, name)
	if err != nil {
		return err
	}
	h := &tar.Header{Name: inside, Mode: int64(i.Mode), Uid: int(i.UID), Gid: int(i.GID), ModTime: i.Modified.Truncate(1e9), Format: tar.FormatPAX}
	switch i.Type {
	case wire.TypeDirectory:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(inside, "/")+"/"
	case wire.TypeLink:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = s.disk.Readlink(ctx, name); err != nil {
			return err
		}
	case wire.TypeFile:
		h.Typeflag, h.Size = tar.TypeReg, i.Size
	default:
		s.log.line(Failure, "left out: "+name+" is no file, directory or link")
		return nil
	}
	if err := out.WriteHeader(h); err != nil {
		return err
	}
	if i.Type != wire.TypeFile {
		return nil
	}
	return s.disk.Read(ctx, name, out, i.Size)
}

// tarIn unpacks a local archive into a directory of the disk.
func (s *Session) tarIn(ctx context.Context, c call, compress string) error {
	program, err := compressor(compress)
	if err != nil {
		return err
	}
	if compress != "" {
		program += " -dc"
	}
	if _, err := s.localFile(ctx, c.args[0]); err != nil {
		return err
	}
	if info, err := s.disk.Stat(ctx, c.args[1]); err != nil || info.Type != wire.TypeDirectory {
		return errors.Join(err, failf("%s is no directory", c.args[1]))
	}
	return pass(func(w io.Writer) error { return s.shell(ctx, "exec "+program+" < "+quote(c.args[0]), nil, w) },
		func(r io.Reader) error { return s.unpack(ctx, r, c.args[1]) })
}

func (s *Session) unpack(ctx context.Context, r io.Reader, dir string) error {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if err == io.EOF {
			_, err = io.Copy(io.Discard, r)
			return err
		}
		if err == nil {
			err = s.unpackOne(ctx, in, h, dir)
		}
		if err != nil {
			_, _ = io.Copy(io.Discard, r) // what is left of it
			if !soft(err) && ctx.Err() == nil && !errors.Is(err, sandbox.ErrTooLong) {
				return failf("the archive: %v", err)
			}
			return err
		}
	}
}

func (s *Session) unpackOne(ctx context.Context, in *tar.Reader, h *tar.Header, dir string) error {
	// As on a system of its own: .. leads to no other place than the disk's.
	name := path.Join(dir, path.Join("/", h.Name))
	if name == path.Clean(dir) && h.Typeflag != tar.TypeDir {
		return failf("the archive has a file without a name")
	}
	mode := uint32(h.Mode & 0o7777)
	to := diskTree{s.disk}
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		err = s.disk.MkdirAll(ctx, name, fs.FileMode(mode&0o777))
	case tar.TypeReg:
		if err = s.disk.MkdirAll(ctx, path.Dir(name), dirMode); err == nil {
			err = to.write(ctx, name, in, mode)
		}
	case tar.TypeSymlink:
		if err = s.disk.MkdirAll(ctx, path.Dir(name), dirMode); err == nil {
			err = to.symlink(ctx, h.Linkname, name)
		}
		if err != nil {
			return err
		}
		return s.disk.Lchown(ctx, name, h.Uid, h.Gid)
	case tar.TypeLink:
		return s.linkForce(ctx, call{args: []string{path.Join(dir, path.Join("/", h.Linkname)), name}})
	default:
		s.log.line(Failure, fmt.Sprintf("left out: %s is no file, directory or link", h.Name))
		return nil
	}
	if err != nil {
		return err
	}
	if err := s.own(ctx, name, h); err != nil {
		return err
	}
	return s.disk.Chmod(ctx, name, mode) // after chown, which takes setuid away
}

// own gives a file its owner; FAT has none.
func (s *Session) own(ctx context.Context, name string, h *tar.Header) error {
	const most = 1<<32 - 2
	if h.Uid < 0 || h.Gid < 0 || h.Uid > most || h.Gid > most {
		return failf("%s belongs to nobody who is possible: %d:%d", h.Name, h.Uid, h.Gid)
	}
	err := s.disk.Chown(ctx, name, h.Uid, h.Gid)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}
