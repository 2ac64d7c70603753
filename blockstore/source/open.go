package source

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"goldstream/blockstore"
)

// Open returns a Source that reads the disk in f, a regular file or a block
// device. On success f belongs to the Source. A file that cannot seek (a pipe)
// is handed on to OpenStream.
func Open(f *os.File) (blockstore.Source, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening the input: %w", err)
	}
	if info.IsDir() {
		return nil, &InputError{Format: "directory", Offset: -1, What: "not a disk image", Do: "name a file"}
	}
	// Unlike Stat, this knows the size of a block device too.
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return OpenStream(f, -1)
	}
	format, err := sniffFile(f, size)
	if err != nil {
		return nil, err
	}
	// Advice only: a file system that does not know it reads on as before.
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_SEQUENTIAL)
	switch format {
	case formatRaw:
		return newRawFile(f, size)
	case formatZip:
		return openZip(f, size)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("opening the input: %w", err)
	}
	return openCompressed(format, newMeter(f, size), f)
}

// OpenStream returns a Source that reads the disk from r, whose length in bytes
// is size, or -1 if unknown. If r is an io.Closer it belongs to the Source on
// success. Close waits for a Read of r that is under way, so closing r has to
// make that return (pipes and sockets do), or its owner has to.
func OpenStream(r io.Reader, size int64) (blockstore.Source, error) {
	m := newMeter(r, size)
	head, err := m.peek(SniffLen)
	if err != nil {
		return nil, err
	}
	format := Detect(head)
	if err := refusal(format); err != nil {
		return nil, err
	}
	closer, _ := r.(io.Closer)
	switch format {
	case formatRaw:
		return newRawStream(m, size, closer)
	case formatZip:
		return nil, &NeedsFile{Format: formatZip}
	}
	return openCompressed(format, m, closer)
}

// sniffFile tells the format of a file and refuses those that are not ours.
func sniffFile(f *os.File, size int64) (string, error) {
	if size == 0 {
		return "", &InputError{Format: formatRaw, Offset: -1, What: "the file is empty", Do: "name a disk image"}
	}
	head, err := readUpTo(f, SniffLen, 0)
	if err != nil {
		return "", err
	}
	format := Detect(head)
	if err := refusal(format); err != nil {
		return "", err
	}
	if format == formatRaw && size > 512 {
		footer, err := readUpTo(f, 512, size-512)
		if err != nil {
			return "", err
		}
		if isFixedVHD(footer, size) {
			return "", &NeedsConverter{Format: "vpc"}
		}
	}
	return format, nil
}

func readUpTo(f *os.File, n int, offset int64) ([]byte, error) {
	p := make([]byte, n)
	n, err := f.ReadAt(p, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the input: %w", err)
	}
	return p[:n], nil
}

// openCompressed starts the decoder of a format over m.
func openCompressed(format string, m *meter, closer io.Closer) (blockstore.Source, error) {
	dec, err := newDecoder(format, m.buf)
	if err != nil {
		return nil, explain(format, m.offset(), err)
	}
	return startPipeline(format, -1, dec, m, closer), nil
}

// meter counts what was read from an input and buffers it, so that a decoder
// which reads byte by byte uses no more of it than it needs.
type meter struct {
	counter
	buf   *bufio.Reader
	total int64
	base  int64 // where in the file the reader began (zip)
}

// inputBuffer is read from the input at once.
const inputBuffer = 256 << 10

func newMeter(r io.Reader, total int64) *meter {
	m := &meter{counter: counter{r: r}, total: total}
	if b, ok := r.(*bufio.Reader); ok && b.Size() >= SniffLen {
		// Peeking in the caller's own buffer leaves the stream whole if the
		// format is refused. Reads then pass through ours, counted.
		m.peeked = b
	}
	m.buf = bufio.NewReaderSize(&m.counter, inputBuffer)
	return m
}

// peek returns the first n bytes, fewer at the end of the input.
func (m *meter) peek(n int) ([]byte, error) {
	from := m.buf
	if m.peeked != nil {
		from = m.peeked
	}
	head, err := from.Peek(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the input: %w", err)
	}
	return head, nil
}

// offset is where the decoder stands in the input. Only the goroutine that
// reads may call it.
func (m *meter) offset() int64 { return m.base + m.done.Load() - int64(m.buf.Buffered()) }
