package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"goldstream/blockstore"
	"goldstream/blockstore/source"
)

// Reading the formats of other hypervisors.
//
// An image file is hostile: its tables may point anywhere and its header may
// name any file of the host as backing file, parent, extent or data file. So
// qemu's own code reads it, in a jail that holds the file under a constant
// name and nothing else, and we read the disk from it over NBD:
//
//	file, opened by the caller
//	  -> format from its magic; qemu never probes, "raw" is never its choice
//	  -> our own look at the header: messages that say what to do
//	  -> every mapped byte lies inside the file (see convert_check.go)
//	  -> qemu-nbd in the jail, its listening socket passed as an fd
//	  -> one connection, several reads in flight (convert_read.go)
//
// What is not done: formats of several files (VMDK with extents, a chain of
// snapshots) are refused, not followed; encrypted images are refused.

// OpenConverted returns a Source that reads the disk image in f, a regular
// file in one of the formats that DetectFormat knows. On success f belongs to
// the Source. The Source ends with ctx; whatever happens, after Close no
// process, socket or directory is left. What a kill leaves is below tmp, whose
// owner empties it. log is told what the jail lacks.
func OpenConverted(ctx context.Context, f *os.File, tmp string, log *slog.Logger) (blockstore.Source, error) {
	c := converter{file: f, tmp: tmp, log: log, nbd: "qemu-nbd", img: "qemu-img", patience: stallTimeout}
	return c.open(ctx)
}

// DetectFormat names the format of an image by qemu's name for it, from its
// first source.SniffLen bytes; "" for everything that qemu-nbd is not asked to
// read, above all raw. A VHD of fixed size has its mark at the end only, which
// OpenConverted looks at.
func DetectFormat(header []byte, size int64) string {
	if size < int64(len(header)) {
		header = header[:max(size, 0)]
	}
	switch format := source.Detect(header); format {
	case "qcow2", "qcow", "qed", "vmdk", "vhdx", "vpc", "vdi":
		return format
	}
	return ""
}

// maxConverted bounds the disk's size, which the image's header claims freely.
const maxConverted = 64 << 40

// converter reads one image. Tests give it other programs.
type converter struct {
	file     *os.File
	named    *os.File // the same, if file has no name; see giveName
	tmp      string   // directory for the socket
	patience time.Duration
	log      *slog.Logger // may be nil
	nbd, img string       // programs, looked up in PATH
	format   string
	size     int64 // of the file
}

func (c *converter) open(ctx context.Context) (blockstore.Source, error) {
	if err := c.inspect(); err != nil {
		return nil, err
	}
	undo, err := c.giveName()
	if err != nil {
		return nil, err
	}
	defer undo()
	server, err := c.checkAndServe(ctx)
	if err != nil {
		c.closeNamed()
		return nil, err
	}
	if n := server.client.Size(); n <= 0 || n > maxConverted {
		server.close()
		c.closeNamed()
		return nil, c.refuse(fmt.Sprintf("its header claims a disk of %d bytes", n), "check where it comes from", nil)
	}
	return newConverted(c, server), nil
}

func (c *converter) checkAndServe(ctx context.Context) (*server, error) {
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	return c.serve(ctx)
}

// inspect decides the format and refuses what can be seen in the header.
func (c *converter) inspect() error {
	info, err := c.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &source.InputError{Format: "image", Offset: -1, What: "not a regular file", Do: "copy it into a file first"}
	}
	c.size = info.Size()
	header, err := c.readUpTo(headerLen, 0)
	if err != nil {
		return err
	}
	c.format = DetectFormat(header, c.size)
	if c.format == "" && c.hasVHDFooter() {
		c.format = "vpc"
	}
	if c.format == "" {
		return &source.InputError{Format: "image", Offset: -1, What: "no format that needs a converter"}
	}
	return c.checkHeader(header)
}

func (c *converter) readUpTo(n int, off int64) ([]byte, error) {
	p := make([]byte, n)
	n, err := c.file.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the image: %w", err)
	}
	return p[:n], nil
}

// refuse makes the error for an image that cannot be taken.
func (c *converter) refuse(what, do string, cause error) error {
	return &source.InputError{Format: c.format, Offset: -1, What: what, Do: do, Err: cause}
}

// converted is the Source.
type converted struct {
	c      *converter
	server *server
	ahead  *readAhead
	done   atomic.Int64 // bytes of the disk handed out
}

func newConverted(c *converter, s *server) *converted {
	return &converted{c: c, server: s, ahead: startReadAhead(s.ctx, s.client)}
}

func (s *converted) Size() int64    { return s.server.client.Size() }
func (s *converted) Format() string { return s.c.format }

// Consumed scales: where in the file a byte of the disk stands is known to
// qemu only.
func (s *converted) Consumed() (done, total int64) {
	share := float64(s.done.Load()) / float64(s.Size())
	return int64(share * float64(s.c.size)), s.c.size
}

func (s *converted) Next(ctx context.Context, p []byte) (int, bool, error) {
	wait, cancel := context.WithTimeoutCause(ctx, s.c.patience, errStalled)
	n, zero, err := s.ahead.next(wait, p)
	stalled := context.Cause(wait) == errStalled
	cancel()
	if err != nil && !errors.Is(err, io.EOF) {
		if stalled && ctx.Err() == nil {
			s.server.close()
			return 0, false, fmt.Errorf("qemu-nbd read nothing for %v%s: try again when the host has less to do, or convert the image to raw first: %w",
				s.c.patience, quote(s.server.stderr.String()), errStalled)
		}
		return 0, false, s.explain(ctx, err)
	}
	s.done.Add(int64(n))
	return n, zero, err
}

// explain tells a cancelled import from a damaged image, and adds what qemu
// said last.
func (s *converted) explain(ctx context.Context, err error) error {
	for _, c := range []context.Context{ctx, s.server.parent} {
		if c.Err() != nil {
			return context.Cause(c)
		}
	}
	s.server.close()
	return s.c.refuse("qemu-nbd could not read the disk"+quote(s.server.stderr.String()),
		"check it with qemu-img check", err)
}

// Close ends everything, also reads under way.
func (s *converted) Close() error {
	s.server.close()
	s.ahead.stop()
	s.c.closeNamed()
	return s.c.file.Close()
}
