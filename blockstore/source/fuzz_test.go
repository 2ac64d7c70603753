package source_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"goldstream/blockstore"
	"goldstream/blockstore/source"
)

// FuzzOpen reads arbitrary bytes as an image, from a file and from a stream. An
// input is refused or gives a whole disk; it never panics, hangs or leaks.
func FuzzOpen(f *testing.F) {
	small := disk(4096, 30)
	for _, format := range []string{"raw", "gzip", "xz", "zstd", "zip"} {
		f.Add(pack(f, format, small))
	}
	f.Add([]byte("QFI\xfb\x00\x00\x00\x03"))
	f.Add([]byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"))
	f.Fuzz(func(t *testing.T, content []byte) {
		fd, err := unix.MemfdCreate("input", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		file := os.NewFile(uintptr(fd), "input")
		if _, err := file.Write(content); err != nil {
			t.Fatal(err)
		}
		s, err := source.Open(file)
		if err != nil {
			file.Close()
		} else {
			consume(t, s)
		}
		if s, err = stream(content, -1); err == nil {
			consume(t, s)
		}
	})
}

// consume reads up to 32 MiB of s: a few bytes may stand for a huge disk.
func consume(t *testing.T, s blockstore.Source) {
	defer s.Close()
	p := make([]byte, 1<<20)
	var total int64
	for total < 32<<20 {
		n, _, err := s.Next(context.Background(), p)
		if errors.Is(err, io.EOF) {
			if total == 0 || total%512 != 0 || s.Size() >= 0 && s.Size() != total {
				t.Fatalf("ended after %d bytes, size %d", total, s.Size())
			}
			return
		}
		if err != nil {
			return
		}
		total += int64(n)
	}
}
