package source_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"goldstream/blockstore"
	"goldstream/blockstore/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk makes a disk of n bytes with runs of noise, of text and of zeros, the
// same for the same seed.
func disk(n int, seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := make([]byte, n)
	for off := 0; off < n; {
		run := p[off:min(n, off+1+rnd.IntN(64<<10))]
		switch rnd.IntN(3) {
		case 0:
			for i := range run {
				run[i] = byte(rnd.Uint32())
			}
		case 1:
			copy(run, bytes.Repeat([]byte("golden image "), len(run)/13+1))
		}
		off += len(run)
	}
	p[0] = 0xEB // a raw disk, whatever the noise says
	return p
}

// tool runs a program in dir and returns what it prints.
func tool(t testing.TB, dir, name string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s is not installed (make deps)", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Run(), "%s %v: %s", name, args, &errs)
	return out.Bytes()
}

func writeFile(t testing.TB, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "input")
	require.NoError(t, os.WriteFile(name, content, 0o600))
	return name
}

// pack compresses content with the real tool of a format.
func pack(t testing.TB, format string, content []byte, args ...string) []byte {
	t.Helper()
	name := writeFile(t, content)
	dir := filepath.Dir(name)
	switch format {
	case "raw":
		return content
	case "gzip":
		return tool(t, dir, "gzip", append(args, "-c", name)...)
	case "xz":
		return tool(t, dir, "xz", append(args, "-c", name)...)
	case "zstd":
		return tool(t, dir, "zstd", append(args, "-q", "-c", name)...)
	case "zip":
		tool(t, dir, "zip", append(args, "-q", "out.zip", "input")...)
		p, err := os.ReadFile(filepath.Join(dir, "out.zip"))
		require.NoError(t, err)
		return p
	}
	t.Fatalf("no tool for %s", format)
	return nil
}

func open(t testing.TB, content []byte) (blockstore.Source, error) {
	t.Helper()
	f, err := os.Open(writeFile(t, content))
	require.NoError(t, err)
	s, err := source.Open(f)
	if err != nil {
		f.Close()
	}
	return s, err
}

// drain reads s to its end in portions of size portion. It checks the contract
// of Next on the way and returns the disk with the number of bytes that were
// reported as zero.
func drain(s blockstore.Source, portion int) (got []byte, zeros int, err error) {
	p := make([]byte, portion)
	short := false
	for {
		p[0] = 0xA5
		n, zero, err := s.Next(context.Background(), p)
		switch {
		case errors.Is(err, io.EOF):
			return got, zeros, nil
		case err != nil && n > 0:
			return nil, 0, errors.New("contract: bytes together with an error")
		case err != nil:
			return nil, 0, err
		case short:
			return nil, 0, errors.New("contract: bytes after a short read")
		case zero && p[0] != 0xA5:
			return nil, 0, errors.New("contract: zero, but written")
		case zero:
			got = append(got, make([]byte, n)...)
			zeros += n
		default:
			got = append(got, p[:n]...)
		}
		short = n < portion
	}
}

// read opens content, drains it and closes it.
func read(t testing.TB, content []byte) ([]byte, error) {
	t.Helper()
	s, err := open(t, content)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	got, _, err := drain(s, 100<<10)
	return got, err
}

// onlyReader hides that a reader can do more than read.
type onlyReader struct{ io.Reader }

func stream(content []byte, size int64) (blockstore.Source, error) {
	return source.OpenStream(onlyReader{bytes.NewReader(content)}, size)
}
