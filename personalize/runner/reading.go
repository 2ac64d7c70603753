package runner

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strings"
	"syscall"

	"goldstream/personalize/sandbox"
	"goldstream/personalize/sandbox/wire"
)

const (
	errNotDir = syscall.ENOTDIR
	errLoop   = syscall.ELOOP

	// mostText is the longest file that commands print, as in libguestfs.
	mostText = 4 << 20
	// mostFile bounds what is read of one file.
	mostFile = 1 << 40
)

// readCommands print what they find.
func readCommands() map[string]handler {
	return map[string]handler{
		"cat":        (*Session).cat,
		"head":       (*Session).head,
		"head-n":     (*Session).headN,
		"tail":       (*Session).tail,
		"tail-n":     (*Session).tailN,
		"grep":       (*Session).grep,
		"checksum":   (*Session).checksum,
		"ls":         (*Session).ls,
		"ll":         (*Session).ll,
		"find":       (*Session).find,
		"exists":     exists(""),
		"is-file":    exists(wire.TypeFile),
		"is-dir":     exists(wire.TypeDirectory),
		"is-symlink": exists(wire.TypeLink),
		"stat":       (*Session).stat,
		"lstat":      (*Session).lstat,
		"filesize":   (*Session).filesize,
		"readlink": func(s *Session, ctx context.Context, c call) error {
			return c.printText(s.disk.Readlink(ctx, c.args[0]))
		},
		"du": func(s *Session, ctx context.Context, c call) error {
			return c.printNumber(s.disk.DiskUsage(ctx, c.args[0]))
		},
		"file-architecture": (*Session).architecture,
	}
}

// text reads a file that is to be printed.
func (s *Session) text(ctx context.Context, path string) (string, error) {
	info, err := s.disk.Stat(ctx, path)
	if err := regular(info, path, err); err != nil {
		return "", err
	}
	if info.Size > mostText {
		return "", failf("%s has %d bytes: up to %d can be printed; download it", path, info.Size, mostText)
	}
	var out bytes.Buffer
	err = s.disk.Read(ctx, path, &out, mostText)
	return out.String(), err
}

func (s *Session) cat(ctx context.Context, c call) error {
	return c.printText(s.text(ctx, c.args[0]))
}

func (s *Session) head(ctx context.Context, c call) error {
	return s.ends(ctx, c, c.args[0], 10, false)
}
func (s *Session) headN(ctx context.Context, c call) error {
	return s.ends(ctx, c, c.args[1], number(c.args[0]), false)
}
func (s *Session) tail(ctx context.Context, c call) error { return s.ends(ctx, c, c.args[0], 10, true) }
func (s *Session) tailN(ctx context.Context, c call) error {
	return s.ends(ctx, c, c.args[1], number(c.args[0]), true)
}

// ends prints the first or last lines of a file.
func (s *Session) ends(ctx context.Context, c call, path string, n int64, last bool) error {
	text, err := s.text(ctx, path)
	if err != nil {
		return err
	}
	list := lines(text)
	n = min(max(n, 0), int64(len(list)))
	if last {
		return c.printList(list[int64(len(list))-n:], nil)
	}
	return c.printList(list[:n], nil)
}

// grep has the real one look, which knows all that its expressions can say.
func (s *Session) grep(ctx context.Context, c call) error {
	text, err := s.text(ctx, c.args[1])
	if err != nil {
		return err
	}
	line := "grep"
	for option, flag := range map[string]string{"extended": "-E", "fixed": "-F", "insensitive": "-i"} {
		if c.options[option] == "true" {
			line += " " + flag
		}
	}
	line += " -e " + quote(c.args[0]) + "; status=$?; [ $status -lt 2 ]" // 1: no line matches
	return s.shell(ctx, line, strings.NewReader(text), c.out)
}

func (s *Session) checksum(ctx context.Context, c call) error {
	makers := map[string]func() hash.Hash{
		"md5": md5.New, "sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
	}
	if c.args[0] == "crc" {
		return s.crc(ctx, c)
	}
	maker, known := makers[c.args[0]]
	if !known {
		return failf("%q is no checksum: use crc, md5, sha1, sha224, sha256, sha384 or sha512", c.args[0])
	}
	h := maker()
	if err := s.disk.Read(ctx, c.args[1], h, mostFile); err != nil {
		return err
	}
	return c.print(hex.EncodeToString(h.Sum(nil)))
}

func (s *Session) filesize(ctx context.Context, c call) error {
	info, err := s.disk.Stat(ctx, c.args[0])
	return c.printNumber(info.Size, err)
}

func (s *Session) ls(ctx context.Context, c call) error {
	list, err := s.disk.List(ctx, c.args[0])
	return c.printList(names(list), err)
}

// find prints names as guestfish does, which takes the argument off the front of each
// path and no more: of a directory that does not end with a slash, names begin with one.
func (s *Session) find(ctx context.Context, c call) error {
	list, err := s.disk.Walk(ctx, c.args[0])
	found := names(list)
	if !strings.HasSuffix(c.args[0], "/") {
		for i := range found {
			found[i] = "/" + found[i]
		}
	}
	return c.printList(sorted(found), err)
}

func names(list []sandbox.Entry) (names []string) {
	for _, e := range list {
		names = append(names, e.Name)
	}
	return names
}

func (s *Session) stat(ctx context.Context, c call) error {
	info, err := s.disk.Stat(ctx, c.args[0])
	return c.printStat(info, err)
}

func (s *Session) lstat(ctx context.Context, c call) error {
	info, err := s.disk.Lstat(ctx, c.args[0])
	return c.printStat(info, err)
}

func (c call) printStat(i sandbox.Info, err error) error {
	if err != nil {
		return err
	}
	return c.printPairs([]pair{
		{"dev", i.Device}, {"ino", i.Inode}, {"mode", i.Mode | typeBits[i.Type]}, {"nlink", i.Links}, {"uid", i.UID}, {"gid", i.GID},
		{"rdev", i.RDevice}, {"size", i.Size}, {"blksize", i.BlockSize}, {"blocks", i.Blocks},
		{"atime", i.Accessed.Unix()}, {"mtime", i.Modified.Unix()}, {"ctime", i.Changed.Unix()},
	})
}
