package blockstore

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Stores as earlier formats and versions left them are kept in testdata, and
// have to open for ever (docs/upgrade.md). A new one is made with
//
//	go test ./blockstore -run TestFixtures -fixture.write testdata/format-N.tar.gz
//
// Data files are sparse: in the archive each run of data is a file PATH@OFFSET.
var fixtureWrite = flag.String("fixture.write", "", "make a fixture of the present format")

func TestFixtures(t *testing.T) {
	if *fixtureWrite != "" {
		dir := t.TempDir()
		makeFixture(t, dir)
		require.NoError(t, packFixture(dir, *fixtureWrite))
	}
	archives, err := filepath.Glob("testdata/format-*.tar.gz")
	require.NoError(t, err)
	require.NotEmpty(t, archives)
	for _, archive := range archives {
		t.Run(filepath.Base(archive), func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, unpackFixture(archive, dir))
			checkFixture(t, dir)
		})
	}
}

// goldenFixture is an image of 24 blocks, of which every fourth is zero.
func goldenFixture() (b []byte) {
	for i := range 24 {
		b = append(b, block(byte(i%4*(100+i)))...)
	}
	return b
}

// makeFixture makes a store with one of each, killed while a volume is open.
func makeFixture(t *testing.T, dir string) {
	o := testOptions()
	o.bootID, o.CommitInterval, o.Ballast = "the boot of the fixture", time.Hour, -1
	s, err := Open(dir, o)
	require.NoError(t, err)
	importBytes(t, s, "golden", goldenFixture())
	for _, name := range []string{"v", "gone"} {
		_, err = s.CreateVolume(ctx, CloneRequest{Name: name, Image: "golden", Size: 40 << 20, Quota: 16 << 20, Owner: "me"})
		require.NoError(t, err)
	}
	require.NoError(t, s.RetireVolume(ctx, "gone", 200*365*24*time.Hour, ""))
	d := openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	_, err = s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "s"})
	require.NoError(t, err)
	require.NoError(t, d.WriteAt(ctx, block(2), 0, true))
	require.NoError(t, d.WriteAt(ctx, block(3), 20<<20, true))
	require.NoError(t, d.Trim(ctx, BlockSize, BlockSize, true))
	require.NoError(t, d.WriteAt(ctx, block(4), 30<<20, false))
	s.kill()
}

func checkFixture(t *testing.T, dir string) {
	s := openStore(t, dir)
	golden := goldenFixture()
	report, err := s.VerifyImage(ctx, "golden", nil)
	require.NoError(t, err)
	require.Empty(t, report.Bad)
	img, err := s.OpenImage(ctx, "golden")
	require.NoError(t, err)
	require.True(t, bytes.Equal(golden, readAll(t, img)))
	info, err := s.Volume(ctx, "v")
	require.NoError(t, err)
	require.EqualValues(t, 1, info.Epoch)
	require.EqualValues(t, 40<<20, info.Size)
	require.EqualValues(t, 16<<20, info.Quota)
	require.Equal(t, "me", info.Owner)

	want := make([]byte, 40<<20)
	copy(want, golden)
	copy(want, block(1))
	sn, err := s.OpenSnapshot(ctx, "v", "s")
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, readAll(t, sn)))
	copy(want, block(2))
	clear(want[BlockSize : 2*BlockSize])
	copy(want[20<<20:], block(3))
	copy(want[30<<20:], block(4)) // by its intent
	d := openVolume(t, s, "v")
	require.True(t, bytes.Equal(want, readAll(t, d)))
	_, err = s.RestoreVolume(ctx, "gone", "", "")
	require.NoError(t, err)
	require.NoError(t, d.WriteAt(ctx, block(5), 0, true), "it goes on")
	finish(t, s, img, sn, d)
	s = openStore(t, dir)
	require.NoError(t, s.Close())
}

func packFixture(dir, archive string) error {
	var out bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	w := tar.NewWriter(zip)
	add := func(name string, b []byte) error {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(b))})
		_, err2 := w.Write(b)
		return errors.Join(err, err2)
	}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		if err != nil || e.IsDir() || name == "LOCK" || e.Name() == "LOCK" {
			return err
		}
		if !strings.HasPrefix(name, "layers/") {
			b, err := os.ReadFile(path)
			return errors.Join(err, add(name, b))
		}
		f, err := osFS{}.Open(path, false)
		if err != nil {
			return err
		}
		defer f.Close()
		for off := int64(0); ; {
			start, end, err := f.NextData(off)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			b := make([]byte, end-start)
			if err := errors.Join(f.ReadAt(b, start), add(fmt.Sprintf("%s@%d", name, start), b)); err != nil {
				return err
			}
			off = end
		}
	})
	if err := errors.Join(err, w.Close(), zip.Close()); err != nil {
		return err
	}
	return os.WriteFile(archive, out.Bytes(), 0o644)
}

func unpackFixture(archive, dir string) error {
	b, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	zip, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return err
	}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		name, at, sparse := strings.Cut(h.Name, "@")
		var off int64
		if sparse {
			if _, err := fmt.Sscan(at, &off); err != nil {
				return err
			}
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		if sparse {
			err = f.Truncate(segmentSize)
		}
		_, err2 := f.WriteAt(content, off)
		if err := errors.Join(err, err2, f.Close()); err != nil {
			return err
		}
	}
}
