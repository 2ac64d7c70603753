package source_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"goldstream/blockstore"
	"goldstream/blockstore/source"
)

// recipes are the ways an input may have been made.
var recipes = []struct {
	name, format string
	args         []string
}{
	{"raw", "raw", nil},
	{"gzip", "gzip", nil},
	{"gzip-1", "gzip", []string{"-1"}},
	{"xz", "xz", nil},
	{"xz-crc32", "xz", []string{"-C", "crc32"}},
	{"xz-sha256", "xz", []string{"-C", "sha256"}},
	{"xz-none", "xz", []string{"-C", "none"}},
	{"xz-blocks", "xz", []string{"-0", "-T2", "--block-size=200KiB"}},
	{"xz-x86", "xz", []string{"--x86", "--lzma2=preset=1"}},
	{"xz-9", "xz", []string{"-9"}},
	{"zstd", "zstd", nil},
	{"zstd-19", "zstd", []string{"-19"}},
	{"zstd-long", "zstd", []string{"--long=27"}},
	{"zip", "zip", nil},
	{"zip-stored", "zip", []string{"-0"}},
	{"zip64", "zip", []string{"-fz"}},
}

func TestReadsWhatTheToolsWrite(t *testing.T) {
	content := disk(1<<20+64<<10+512, 1)
	for _, r := range recipes {
		t.Run(r.name, func(t *testing.T) {
			packed := pack(t, r.format, content, r.args...)
			for _, portion := range []int{512, 1<<20 + 7, 8 << 20} {
				s, err := open(t, packed)
				require.NoError(t, err)
				require.Equal(t, r.format, s.Format())
				got, _, err := drain(s, portion)
				require.NoError(t, err)
				require.True(t, bytes.Equal(content, got))
				done, total := s.Consumed()
				require.Equal(t, total, done)
				require.NoError(t, s.Close())
			}
		})
	}
}

func TestReadsStreams(t *testing.T) {
	content := disk(1<<20+512, 2)
	for _, r := range recipes {
		if r.format == "zip" {
			continue
		}
		packed := pack(t, r.format, content, r.args...)
		for _, size := range []int64{-1, int64(len(packed))} {
			t.Run(fmt.Sprint(r.name, size), func(t *testing.T) {
				s, err := stream(packed, size)
				require.NoError(t, err)
				defer s.Close()
				got, _, err := drain(s, 300<<10)
				require.NoError(t, err)
				require.True(t, bytes.Equal(content, got))
				done, total := s.Consumed()
				require.Equal(t, int64(len(packed)), done)
				require.Equal(t, size, total)
			})
		}
	}
}

func TestReadsPipe(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	content := disk(300<<10, 3)
	go func() {
		w.Write(content)
		w.Close()
	}()
	s, err := source.Open(r)
	require.NoError(t, err)
	require.EqualValues(t, -1, s.Size())
	got, _, err := drain(s, 64<<10)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
	require.NoError(t, s.Close())
}

func TestConcatenated(t *testing.T) {
	a, b := disk(700<<10, 4), disk(100<<10, 5)
	for _, format := range []string{"gzip", "xz", "zstd"} {
		got, err := read(t, append(pack(t, format, a), pack(t, format, b)...))
		require.NoError(t, err, format)
		require.True(t, bytes.Equal(append(bytes.Clone(a), b...), got), format)
	}
	// The .xz format allows padding between and after streams, in fours.
	padded := append(append(pack(t, "xz", a), 0, 0, 0, 0), pack(t, "xz", b)...)
	got, err := read(t, append(padded, 0, 0, 0, 0, 0, 0, 0, 0))
	require.NoError(t, err)
	require.Len(t, got, len(a)+len(b))
}

func TestHolesAreNotRead(t *testing.T) {
	const size = int64(4) << 40
	name := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(name)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(size))
	_, err = f.WriteAt(bytes.Repeat([]byte{7}, 8192), 1<<40)
	require.NoError(t, err)
	s, err := source.Open(f)
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, size, s.Size())

	// 4 TiB in a moment: only possible without reading.
	p := make([]byte, 64<<20)
	var total, data int64
	for {
		n, zero, err := s.Next(context.Background(), p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		total += int64(n)
		if !zero {
			data += int64(n)
			require.Equal(t, byte(7), p[0])
			require.Equal(t, byte(0), p[8192])
		}
	}
	require.Equal(t, size, total)
	require.EqualValues(t, len(p), data)
}

func TestZerosAreReported(t *testing.T) {
	content := make([]byte, 8<<20)
	copy(content[3<<20:], "data")
	for _, format := range []string{"gzip", "xz", "zstd", "zip"} {
		s, err := open(t, pack(t, format, content))
		require.NoError(t, err, format)
		got, zeros, err := drain(s, 64<<10)
		require.NoError(t, err, format)
		require.True(t, bytes.Equal(content, got), format)
		require.Equal(t, 7<<20, zeros, format)
		require.NoError(t, s.Close())
	}
}

func TestSizeMustBeWholeSectors(t *testing.T) {
	for _, n := range []int{1, 511, 513, 1<<20 + 1} {
		for _, format := range []string{"raw", "gzip", "xz", "zstd", "zip"} {
			_, err := read(t, pack(t, format, disk(n, 6)))
			require.ErrorIs(t, err, blockstore.ErrInvalid)
			require.ErrorContains(t, err, "not a multiple of 512", "%s %d", format, n)
		}
	}
}

func TestEmpty(t *testing.T) {
	for _, format := range []string{"raw", "gzip", "xz", "zstd", "zip"} {
		_, err := read(t, pack(t, format, nil))
		require.ErrorIs(t, err, blockstore.ErrInvalid, format)
	}
	s, err := stream(nil, -1)
	require.NoError(t, err)
	_, _, err = drain(s, 512)
	require.ErrorContains(t, err, "no bytes")
	require.NoError(t, s.Close())
}

// TestConverterFormats makes an image of each kind with qemu-img.
func TestConverterFormats(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ format, options string }{
		{"qcow2", "compat=1.1"}, {"qcow2", "compat=0.10"}, {"qcow", ""}, {"qed", ""}, {"vmdk", ""},
		{"vmdk", "subformat=monolithicFlat"}, {"vdi", ""}, {"vhdx", ""}, {"vpc", ""}, {"vpc", "subformat=fixed"},
	} {
		name := filepath.Join(dir, c.format+c.options)
		args := []string{"create", "-q", "-f", c.format}
		if c.options != "" {
			args = append(args, "-o", c.options)
		}
		tool(t, dir, "qemu-img", append(args, name, "16M")...)
		f, err := os.Open(name)
		require.NoError(t, err)
		_, err = source.Open(f)
		var needs *source.NeedsConverter
		require.ErrorAs(t, err, &needs, "%s %s", c.format, c.options)
		require.Equal(t, c.format, needs.Format)
		require.NoError(t, f.Close(), "the file stays the caller's")

		if c.format == "qcow2" {
			content, err := os.ReadFile(name)
			require.NoError(t, err)
			for _, outer := range []string{"gzip", "xz", "zstd", "zip"} {
				_, err = read(t, pack(t, outer, content))
				require.ErrorContains(t, err, "not a raw disk but qcow2", outer)
				require.False(t, errors.As(err, &needs), "no converter reads a compressed qcow2")
			}
		}
	}
}

func TestStreamCanBeKeptWhenRefused(t *testing.T) {
	content := append([]byte("QFI\xfb\x00\x00\x00\x03"), disk(1<<20, 7)...)
	r := bufio.NewReaderSize(bytes.NewReader(content), 4096)
	_, err := source.OpenStream(r, -1)
	var needs *source.NeedsConverter
	require.ErrorAs(t, err, &needs)
	all, err := io.ReadAll(r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, all))
}

func TestTarInside(t *testing.T) {
	name := writeFile(t, disk(4096, 8))
	archive := tool(t, filepath.Dir(name), "tar", "cf", "-", "input")
	_, err := read(t, archive)
	require.ErrorContains(t, err, "archive of files")
	_, err = read(t, pack(t, "gzip", archive))
	require.ErrorContains(t, err, "not a raw disk but tar")
}

func TestZipRefusals(t *testing.T) {
	dir := t.TempDir()
	for _, n := range []string{"a", "b"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, n), bytes.Repeat([]byte("disk"), 1024), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	tool(t, dir, "zip", "-q", "two.zip", "a", "b")
	tool(t, dir, "zip", "-q", "secret.zip", "-P", "x", "a")
	tool(t, dir, "zip", "-q", "-Z", "bzip2", "bzip2.zip", "a")
	tool(t, dir, "zip", "-q", "-r", "none.zip", "d")
	tool(t, dir, "zip", "-q", "-r", "folder.zip", "d", "a")
	for name, want := range map[string]string{
		"two": "2 files", "secret": "encrypted", "bzip2": "method 12", "none": "0 files", "folder": ""} {
		content, err := os.ReadFile(filepath.Join(dir, name+".zip"))
		require.NoError(t, err)
		_, err = read(t, content)
		if want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, want)
		require.ErrorIs(t, err, blockstore.ErrInvalid)
	}
	_, err := stream(pack(t, "zip", disk(4096, 9)), -1)
	var needs *source.NeedsFile
	require.ErrorAs(t, err, &needs)
}

// TestStreamedZip reads an archive whose local header has no sizes, as Java
// and zip on a pipe write them.
func TestStreamedZip(t *testing.T) {
	content := disk(200<<10, 10)
	name := writeFile(t, content)
	packed := tool(t, filepath.Dir(name), "sh", "-c", "zip -q - - <input | cat")
	require.NotZero(t, binary.LittleEndian.Uint16(packed[6:])&8, "has a data descriptor")
	got, err := read(t, packed)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
}

func TestTrailingGarbage(t *testing.T) {
	content := disk(100<<10, 11)
	for _, format := range []string{"gzip", "xz", "zstd"} {
		for _, tail := range []string{"x", "garbage", "\x00", "\x1f\x8b", string(make([]byte, 513))} {
			_, err := read(t, append(pack(t, format, content), tail...))
			require.ErrorIs(t, err, blockstore.ErrInvalid, "%s %q", format, tail)
		}
	}
}

func TestMemoryLimits(t *testing.T) {
	content := disk(64<<10, 12)
	_, err := read(t, pack(t, "xz", content, "--lzma2=dict=256MiB"))
	require.ErrorContains(t, err, "more memory than is granted")
	// zstd shrinks the window of an input whose size it knows.
	name := writeFile(t, content)
	packed := tool(t, filepath.Dir(name), "sh", "-c", "zstd -q --ultra -22 --long=29 <input")
	_, err = read(t, packed)
	require.ErrorContains(t, err, "more memory than is granted")
}

func TestStreamLengthMustFit(t *testing.T) {
	content := disk(64<<10, 13)
	for _, c := range []struct {
		size int64
		want string
	}{{128 << 10, "cut short"}, {32 << 10, "longer than announced"}, {1000, "not a multiple of 512"}} {
		s, err := stream(content, c.size)
		if err == nil {
			_, _, err = drain(s, 1<<20)
			require.NoError(t, s.Close())
		}
		require.ErrorContains(t, err, c.want)
	}
}

func TestFileShrinksMeanwhile(t *testing.T) {
	f, err := os.OpenFile(writeFile(t, disk(1<<20, 14)), os.O_RDWR, 0)
	require.NoError(t, err)
	s, err := source.Open(f)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, f.Truncate(512<<10))
	_, _, err = drain(s, 64<<10)
	require.ErrorContains(t, err, "became shorter")
}

func TestDirectoryIsRefused(t *testing.T) {
	f, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer f.Close()
	_, err = source.Open(f)
	require.ErrorIs(t, err, blockstore.ErrInvalid)
}

func TestContextEndsAWait(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	_, err = w.Write(disk(4096, 15))
	require.NoError(t, err)
	s, err := source.OpenStream(r, -1)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err = s.Next(ctx, make([]byte, 1<<20))
	require.ErrorIs(t, err, context.Canceled)
	// Nobody writes to the pipe any more; Close must end the read all the same.
	require.NoError(t, s.Close())
	_, _, err = s.Next(context.Background(), make([]byte, 512))
	require.Error(t, err)
}

func TestCloseHalfway(t *testing.T) {
	content := disk(16<<20, 16)
	for _, format := range []string{"raw", "gzip", "zstd", "zip"} {
		s, err := open(t, pack(t, format, content))
		require.NoError(t, err)
		_, _, err = s.Next(context.Background(), make([]byte, 4096))
		require.NoError(t, err)
		require.NoError(t, s.Close())
	}
}

// TestReadErrorIsNotCorruption: a failing disk must not be reported as a bad
// download.
func TestReadErrorIsNotCorruption(t *testing.T) {
	packed := pack(t, "gzip", disk(4<<20, 17))
	broken := errors.New("input/output error")
	s, err := source.OpenStream(io.MultiReader(bytes.NewReader(packed[:1<<20]), failing{broken}), -1)
	require.NoError(t, err)
	defer s.Close()
	_, _, err = drain(s, 1<<20)
	require.ErrorIs(t, err, broken)
	require.NotErrorIs(t, err, blockstore.ErrInvalid)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestConsumedFromElsewhere(t *testing.T) {
	s, err := open(t, pack(t, "zstd", disk(8<<20, 18)))
	require.NoError(t, err)
	defer s.Close()
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		last := int64(0)
		for {
			done, total := s.Consumed()
			if done < last || done > total {
				t.Errorf("consumed %d after %d of %d", done, last, total)
			}
			last = done
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	_, _, err = drain(s, 64<<10)
	close(stop)
	<-ended
	require.NoError(t, err)
}
