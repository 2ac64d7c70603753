package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"goldstream/blockstore"
	"goldstream/personalize/attribute"
)

const (
	spoolPiece = 1 << 20
	spoolCheck = 64 << 20 // bytes between two looks at the free space
)

// tmp is the directory for what lives no longer than this process; the next
// Open empties it.
func (d *Daemon) tmp() string { return filepath.Join(d.dir, "tmp") }

// spool copies r into a temporary file without a name and returns it at its
// beginning. It leaves the file system what an import leaves it: volumes in
// service need it more.
func (d *Daemon) spool(ctx context.Context, r io.Reader, size int64, progress func(blockstore.Progress)) (*os.File, error) {
	f, err := unnamedFile(d.tmp())
	if err != nil {
		return nil, err
	}
	s := spooling{f: f, r: r, dir: d.dir, store: d.store, size: size, progress: progress}
	err = s.run(ctx)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// unnamedFile makes a file in dir that vanishes with its last descriptor.
func unnamedFile(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(dir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err == nil {
		return f, nil
	}
	// Not every file system knows O_TMPFILE.
	if f, err = os.CreateTemp(dir, "spool-"); err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

type spooling struct {
	f        *os.File
	r        io.Reader
	dir      string
	store    *blockstore.Store
	size     int64 // of the input, or -1
	done     int64
	checked  int64
	progress func(blockstore.Progress)
}

func (s *spooling) run(ctx context.Context) error {
	if err := s.room(max(s.size, 0)); err != nil {
		return err
	}
	buf := make([]byte, spoolPiece)
	for {
		n, err := s.r.Read(buf)
		if werr := s.put(ctx, buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF && (s.size < 0 || s.done == s.size) {
			return nil
		}
		if errors.Is(err, attribute.ErrInvalid) {
			return err // its reader knows better
		}
		if err != nil {
			return fmt.Errorf("the upload broke off after %d bytes: %w", s.done, err)
		}
	}
}

func (s *spooling) put(ctx context.Context, p []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.done-s.checked >= spoolCheck {
		s.checked = s.done
		if err := s.room(0); err != nil {
			return err
		}
	}
	n, err := s.f.Write(p)
	s.done += int64(n)
	if errors.Is(err, unix.ENOSPC) {
		err = s.full(err)
	}
	if err == nil && s.progress != nil {
		s.progress(blockstore.Progress{Stage: "spool", Done: s.done, Total: s.size})
	}
	return err
}

// room tells whether n more bytes leave enough free.
func (s *spooling) room(n int64) error {
	room, err := s.store.ImportRoom()
	if err != nil {
		return err
	}
	if n > room {
		return s.full(blockstore.ErrNoSpace)
	}
	return nil
}

func (s *spooling) full(cause error) error {
	return fmt.Errorf("this format has to be unpacked from a file and %s has no room for a temporary one: free some space, or import from a file of this host: %w", s.dir, cause)
}
