package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"goldstream/blockstore"
	"goldstream/blockstore/source"
)

// imports compares the import of a raw image with what gives the same from
// standard tools, and looks at how much metadata an image takes.
func (b *bars) imports(ctx context.Context) error {
	var ours, theirs []float64
	name := func(i int) string { return fmt.Sprintf("import-%d", i) }
	err := byTurns(b.rounds(5, 1), func(i int) error {
		t, err := timed(func() error { return importFile(ctx, b.s, b.image, name(i)) })
		ours = append(ours, 1024/t*1000)
		return err
	}, func(i int) error {
		target := filepath.Join(b.dir, name(i))
		defer os.Remove(target)
		t, err := timed(func() error {
			return command(ctx, "sh", "-c", `cp --sparse=always "$0" "$1" && sync "$1" && sha256sum "$1"`, b.image, target)
		})
		theirs = append(theirs, 1024/t*1000)
		return err
	})
	if err != nil {
		return err
	}
	b.atLeast(line{What: "import of a raw image of 1 GiB, durable, with digests", Unit: "MiB/s", Ours: median(ours), Peer: "cp --sparse=always + sync + sha256sum", Theirs: median(theirs)}, 1)
	return b.metadata(ctx)
}

func importFile(ctx context.Context, s *blockstore.Store, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	src, err := source.Open(f)
	if err != nil {
		return err
	}
	defer src.Close()
	_, err = s.ImportImage(ctx, src, blockstore.ImportRequest{Name: name})
	return err
}

// metadata imports an image with data and a hole in each region, which is worse
// than any real one, and scales what its records take to 1 TiB.
func (b *bars) metadata(ctx context.Context) error {
	size := int64(b.rounds(16, 2)) << 30
	empty, err := b.tableBytes(ctx, "empty", 0)
	if err != nil {
		return err
	}
	full, err := b.tableBytes(ctx, "full", size)
	if err != nil {
		return err
	}
	b.atMost(line{What: "metadata of an imported image, for 1 TiB", Unit: "MiB", Ours: float64(full-empty) / mib * float64(1<<40) / float64(size)}, 8)
	return nil
}

// tableBytes imports an image of a size into a store of its own and returns what
// its metadata takes, in bytes, once all of it stands in tables.
func (b *bars) tableBytes(ctx context.Context, name string, size int64) (total int64, err error) {
	s, err := b.open(name, blockstore.Options{})
	if err != nil {
		return 0, err
	}
	if size > 0 {
		_, err = s.ImportImage(ctx, &syntheticImage{size: size}, blockstore.ImportRequest{Name: "image"})
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return 0, err
	}
	if s, err = b.open(name, blockstore.Options{}); err != nil { // which writes the log into tables
		return 0, err
	}
	defer s.Close()
	tables, err := filepath.Glob(filepath.Join(b.dir, name, "meta/*.sst"))
	for _, path := range tables {
		if st, err := os.Stat(path); err == nil {
			total += st.Size()
		}
	}
	return total, err
}

// syntheticImage has two runs of data in each region of 16 MiB.
type syntheticImage struct{ size, at int64 }

func (s *syntheticImage) Size() int64              { return s.size }
func (s *syntheticImage) Format() string           { return "synthetic" }
func (s *syntheticImage) Consumed() (int64, int64) { return s.at, s.size }
func (s *syntheticImage) Close() error             { return nil }

func (s *syntheticImage) Next(_ context.Context, p []byte) (n int, zero bool, err error) {
	if s.at == s.size {
		return 0, false, io.EOF
	}
	n = int(min(int64(len(p)), s.size-s.at))
	part := s.at >> 20 & 15
	s.at += int64(n)
	if part != 2 && part != 9 {
		return n, true, nil
	}
	clear(p[:n])
	pattern(p[:4096], uint64(s.at))
	return n, false, nil
}
