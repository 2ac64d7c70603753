package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"goldstream/blockstore"
)

const sectorSize = 512

const doWhole = "a disk is a whole number of sectors: the file was cut short or is not a disk image"

// checkSize refuses what cannot be the size of a disk.
func checkSize(format string, size int64) error {
	if size == 0 {
		return &InputError{Format: format, Offset: -1, What: "it holds no bytes", Do: "name a disk image"}
	}
	if size%sectorSize != 0 {
		return &InputError{Format: format, Offset: -1,
			What: fmt.Sprintf("the disk's size of %d bytes is not a multiple of %d", size, sectorSize), Do: doWhole}
	}
	return nil
}

// rawFile reads a raw disk from a file or block device. It asks the file system
// where data is (SEEK_DATA, SEEK_HOLE) and does not read holes.
type rawFile struct {
	f    *os.File
	size int64
	off  int64 // next byte of the disk
	// The run that off is in: [off, runEnd) is data, or a hole.
	runEnd  int64
	runHole bool
	noHoles bool // the file cannot tell (a block device)
	failed  error
	done    atomic.Int64
}

func newRawFile(f *os.File, size int64) (blockstore.Source, error) {
	if err := checkSize(formatRaw, size); err != nil {
		return nil, err
	}
	return &rawFile{f: f, size: size}, nil
}

func (s *rawFile) Size() int64              { return s.size }
func (s *rawFile) Format() string           { return formatRaw }
func (s *rawFile) Consumed() (int64, int64) { return s.done.Load(), s.size }
func (s *rawFile) Close() error             { return s.f.Close() }

func (s *rawFile) Next(ctx context.Context, p []byte) (int, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	if s.failed != nil {
		return 0, false, s.failed
	}
	n, zero, err := fill(p, s)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed = err
	}
	s.done.Store(s.off)
	return n, zero, err
}

func (s *rawFile) piece(p []byte) (int, bool, error) {
	if s.off == s.size {
		return 0, false, io.EOF
	}
	if s.off >= s.runEnd {
		if err := s.findRun(); err != nil {
			return 0, false, err
		}
	}
	n := int(min(int64(len(p)), s.runEnd-s.off))
	if s.runHole {
		s.off += int64(n)
		return n, true, nil
	}
	n, err := s.f.ReadAt(p[:n], s.off)
	if n == 0 && err != nil {
		return 0, false, s.readError(err)
	}
	s.off += int64(n)
	return n, false, nil
}

// findRun looks up the run that off is in. The file's own position is used for
// that; reads are positional and do not mind.
func (s *rawFile) findRun() error {
	s.runEnd, s.runHole = s.size, false
	if s.noHoles {
		return nil
	}
	data, err := s.f.Seek(s.off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole up to the end
		s.runHole = true
		return s.stillWhole()
	case err != nil:
		s.noHoles = true
		return nil
	case data > s.off:
		s.runEnd, s.runHole = min(data, s.size), true
		return nil
	}
	if hole, err := s.f.Seek(s.off, unix.SEEK_HOLE); err == nil && hole > s.off {
		s.runEnd = min(hole, s.size)
	}
	return nil
}

// stillWhole tells a hole at the end from a file that was truncated meanwhile:
// SEEK_DATA answers ENXIO to both.
func (s *rawFile) stillWhole() error {
	end, err := s.f.Seek(0, io.SeekEnd)
	if err != nil {
		return s.readError(err)
	}
	if end < s.size {
		return s.readError(io.ErrUnexpectedEOF)
	}
	return nil
}

func (s *rawFile) readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &InputError{Format: formatRaw, Offset: s.off, What: "the file became shorter while it was read",
			Do: "wait until it is written completely and import it again", Err: io.ErrUnexpectedEOF}
	}
	return fmt.Errorf("reading the input at byte %d: %w", s.off, err)
}
