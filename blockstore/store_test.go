package blockstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// testOptions log nothing, leave no space alone and wait for none.
func testOptions() Options {
	return Options{Logger: slog.New(slog.DiscardHandler), Reserve: 1, Ballast: -1, Watermark: 100, FullStall: -1}
}

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, testOptions())
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// memorySource is an image in memory; the size may be hidden.
type memorySource struct {
	data   []byte
	at     int
	hidden bool
	fail   error // after the data
}

func (m *memorySource) Size() int64 {
	if m.hidden {
		return -1
	}
	return int64(len(m.data))
}

func (m *memorySource) Next(_ context.Context, p []byte) (int, bool, error) {
	if m.at == len(m.data) {
		if m.fail != nil {
			return 0, false, m.fail
		}
		return 0, false, io.EOF
	}
	n := copy(p, m.data[m.at:])
	zero := isZeroLong(p[:n])
	m.at += n
	return n, zero, nil
}

func (m *memorySource) Consumed() (int64, int64) { return int64(m.at), int64(len(m.data)) }
func (m *memorySource) Format() string           { return "raw" }
func (m *memorySource) Close() error             { return nil }

// pattern makes size bytes in which most are zero and the rest is random.
func pattern(seed uint64, size int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	noise := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	b := make([]byte, size)
	for range 1 + size/(256<<10) {
		at := rng.IntN(size)
		_, _ = noise.Read(b[at:min(size, at+rng.IntN(128<<10))])
	}
	return b
}

func importBytes(t *testing.T, s *Store, name string, data []byte) ImageInfo {
	t.Helper()
	info, err := s.ImportImage(ctx, &memorySource{data: data}, ImportRequest{Name: name})
	require.NoError(t, err)
	return info
}

func readAll(t *testing.T, d *Disk) []byte {
	t.Helper()
	b := make([]byte, d.Size())
	require.NoError(t, d.ReadAt(ctx, b, 0))
	return b
}

func openVolume(t *testing.T, s *Store, name string) *Disk {
	t.Helper()
	d, err := s.OpenVolume(ctx, name)
	require.NoError(t, err)
	return d
}

func TestImportCloneReadWrite(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	golden := pattern(1, 40<<20+512*3)
	info := importBytes(t, s, "debian", golden)
	sum := sha256.Sum256(golden)
	require.Equal(t, hex.EncodeToString(sum[:]), info.SHA256)
	require.EqualValues(t, len(golden), info.Size)

	v, err := s.CreateVolume(ctx, CloneRequest{Name: "web-1", Image: "debian", Size: 1 << 40})
	require.NoError(t, err)
	require.EqualValues(t, 1<<40, v.Size)

	d := openVolume(t, s, "web-1")
	got := make([]byte, len(golden)+BlockSize)
	require.NoError(t, d.ReadAt(ctx, got, 0))
	require.True(t, bytes.Equal(golden, got[:len(golden)]))
	require.True(t, isZeroLong(got[len(golden):]))

	require.NoError(t, d.WriteAt(ctx, []byte("hello"), 12345, false))
	require.NoError(t, d.WriteAt(ctx, []byte("end"), 1<<40-3, true))
	want := bytes.Clone(golden)
	copy(want[12345:], "hello")
	require.NoError(t, d.ReadAt(ctx, got[:len(want)], 0))
	require.True(t, bytes.Equal(want, got[:len(want)]))
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())

	s = openStore(t, dir)
	d = openVolume(t, s, "web-1")
	require.NoError(t, d.ReadAt(ctx, got[:len(want)], 0))
	require.True(t, bytes.Equal(want, got[:len(want)]))
	tail := make([]byte, 3)
	require.NoError(t, d.ReadAt(ctx, tail, 1<<40-3))
	require.Equal(t, "end", string(tail))
	require.NoError(t, d.Close())

	img, err := s.OpenImage(ctx, "debian")
	require.NoError(t, err)
	require.True(t, bytes.Equal(golden, readAll(t, img)))
	require.ErrorIs(t, img.WriteAt(ctx, tail, 0, false), ErrReadOnly)
	require.NoError(t, img.Close())

	report, err := s.VerifyImage(ctx, "debian", nil)
	require.NoError(t, err)
	require.Empty(t, report.Bad)
}

func TestExtentsOfAHugeVolumeAreCheap(t *testing.T) {
	s := openStore(t, t.TempDir())
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "big", Size: 64 << 40})
	require.NoError(t, err)
	d := openVolume(t, s, "big")
	defer d.Close()
	require.NoError(t, d.WriteAt(ctx, make([]byte, BlockSize), 40<<40, false))
	var runs []int64
	calls := 0
	require.NoError(t, d.Extents(ctx, 0, 64<<40, func(n int64, zero, own bool) bool {
		calls++
		if !zero {
			runs = append(runs, n)
			require.True(t, own)
		}
		return true
	}))
	require.Equal(t, []int64{BlockSize}, runs)
	require.Less(t, calls, 10)
	require.NoError(t, d.Trim(ctx, 0, 64<<40, true))
	require.NoError(t, d.Extents(ctx, 0, 64<<40, func(_ int64, zero, _ bool) bool { require.True(t, zero); return true }))
}

func TestCaptureSealsUnderTheVolume(t *testing.T) {
	s := openStore(t, t.TempDir())
	golden := pattern(2, 20<<20)
	importBytes(t, s, "base", golden)
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Image: "base"})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	defer d.Close()
	want := bytes.Clone(golden)
	var images [][]byte
	for i := range 12 { // past the point where full records are written
		part := pattern(uint64(100+i), 300<<10)
		off := i * 1 << 20
		require.NoError(t, d.WriteAt(ctx, part, int64(off), false))
		copy(want[off:], part)
		_, err := s.CaptureImage(ctx, "v", ImportRequest{Name: "snap-" + string(rune('a'+i))})
		require.NoError(t, err)
		images = append(images, bytes.Clone(want))
		require.NoError(t, d.WriteAt(ctx, []byte{byte(i)}, 5, false))
		want[5] = byte(i)
	}
	require.True(t, bytes.Equal(want, readAll(t, d)))
	for i, img := range images {
		name := "snap-" + string(rune('a'+i))
		h, err := s.OpenImage(ctx, name)
		require.NoError(t, err)
		require.True(t, bytes.Equal(img, readAll(t, h)), name)
		require.NoError(t, h.Close())
		_, err = s.CreateVolume(ctx, CloneRequest{Name: "of-" + name, Image: name})
		require.NoError(t, err)
		c := openVolume(t, s, "of-"+name)
		require.True(t, bytes.Equal(img, readAll(t, c)), name)
		require.NoError(t, c.Close())
		_, err = s.VerifyImage(ctx, name, nil)
		require.NoError(t, err)
		info, err := s.Image(ctx, name)
		require.NoError(t, err)
		require.NotEmpty(t, info.ContentID)
	}
}

func TestGrowShowsZerosAndKeepsData(t *testing.T) {
	s := openStore(t, t.TempDir())
	golden := bytes.Repeat([]byte{7}, 512*5)
	importBytes(t, s, "odd", golden)
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Image: "odd"})
	require.NoError(t, err)
	_, err = s.GrowVolume(ctx, "v", 64<<20)
	require.NoError(t, err)
	_, err = s.GrowVolume(ctx, "v", 1<<20)
	require.ErrorIs(t, err, ErrInvalid)
	d := openVolume(t, s, "v")
	defer d.Close()
	got := readAll(t, d)
	require.Equal(t, golden, got[:len(golden)])
	require.True(t, isZeroLong(got[len(golden):]))
	require.NoError(t, d.WriteAt(ctx, []byte{1}, 512*5, false))
	got = readAll(t, d)
	require.Equal(t, golden, got[:len(golden)])
	require.EqualValues(t, 1, got[len(golden)])
}

func TestFailedImportLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	_, err := s.ImportImage(ctx, &memorySource{data: pattern(3, 40<<20), fail: io.ErrUnexpectedEOF, hidden: true}, ImportRequest{Name: "x"})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, err = s.ImportImage(ctx, &memorySource{data: make([]byte, 1000), hidden: true}, ImportRequest{Name: "x"})
	require.ErrorIs(t, err, ErrInvalid)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = s.ImportImage(gone, &memorySource{data: pattern(3, 40<<20)}, ImportRequest{Name: "x"})
	require.ErrorIs(t, err, context.Canceled)
	images, err := s.Images(ctx)
	require.NoError(t, err)
	require.Empty(t, images)
	requireNoLayers(t, s, dir)
}

// requireNoLayers waits for the reclaimer to have removed everything.
func requireNoLayers(t *testing.T, s *Store, dir string) {
	t.Helper()
	require.Eventually(t, func() bool {
		names, err := os.ReadDir(filepath.Join(dir, "layers"))
		s.cat.mu.Lock()
		defer s.cat.mu.Unlock()
		return err == nil && len(names) == 0 && len(s.cat.mu.lineages) == 0
	}, waitLong, waitTick)
}

func TestDeleteGivesSpaceBackWhenTheLastCloneGoes(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	importBytes(t, s, "base", pattern(4, 20<<20))
	for _, v := range []string{"a", "b"} {
		_, err := s.CreateVolume(ctx, CloneRequest{Name: v, Image: "base"})
		require.NoError(t, err)
		d := openVolume(t, s, v)
		require.NoError(t, d.WriteAt(ctx, pattern(5, 3<<20), 0, false))
		require.ErrorIs(t, s.DeleteVolume(ctx, v, ""), ErrInUse)
		require.NoError(t, d.Close())
	}
	_, err := s.CaptureImage(ctx, "b", ImportRequest{Name: "cap"})
	require.NoError(t, err)
	require.NoError(t, s.DeleteImage(ctx, "base", ""))
	require.NoError(t, s.DeleteVolume(ctx, "a", ""))
	require.NoError(t, s.DeleteVolume(ctx, "b", ""))
	require.ErrorIs(t, s.DeleteVolume(ctx, "b", ""), ErrNotFound)
	img, err := s.OpenImage(ctx, "cap")
	require.NoError(t, err)
	require.NoError(t, s.DeleteImage(ctx, "cap", ""))
	readAll(t, img) // still readable while open
	require.NoError(t, img.Close())
	requireNoLayers(t, s, dir)
	require.NoError(t, s.Close())
	requireOnlyKeys(t, dir, 'S')
}

// requireOnlyKeys checks that the metadata has no other prefixes than these.
func requireOnlyKeys(t *testing.T, dir string, prefixes ...byte) {
	t.Helper()
	s := openStore(t, dir)
	it, err := s.db.NewIter(nil)
	require.NoError(t, err)
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		require.Contains(t, prefixes, it.Key()[0], "%q", it.Key())
	}
}

func TestRequestIDsReturnTheFirstResult(t *testing.T) {
	s := openStore(t, t.TempDir())
	a, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20, RequestID: "r1"})
	require.NoError(t, err)
	b, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20, RequestID: "r1"})
	require.NoError(t, err)
	require.Equal(t, a.ID, b.ID)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "w", Size: 1 << 20, RequestID: "r1"})
	require.ErrorIs(t, err, ErrExists)
	require.NoError(t, s.DeleteVolume(ctx, "v", "r2"))
	require.NoError(t, s.DeleteVolume(ctx, "v", "r2"))
	src := func() Source { return &memorySource{data: pattern(1, 1<<20)} }
	i, err := s.ImportImage(ctx, src(), ImportRequest{Name: "i", RequestID: "r3"})
	require.NoError(t, err)
	j, err := s.ImportImage(ctx, src(), ImportRequest{Name: "i", RequestID: "r3"})
	require.NoError(t, err)
	require.Equal(t, i.ID, j.ID)
}

func TestWrongInput(t *testing.T) {
	s := openStore(t, t.TempDir())
	importBytes(t, s, "img", pattern(1, 1<<20))
	for name, tc := range map[string]struct {
		req  CloneRequest
		want error
	}{
		"no image":    {CloneRequest{Name: "v", Image: "nope"}, ErrNotFound},
		"too small":   {CloneRequest{Name: "v", Image: "img", Size: 512}, ErrInvalid},
		"odd size":    {CloneRequest{Name: "v", Size: 513}, ErrInvalid},
		"too large":   {CloneRequest{Name: "v", Size: MaxSize + 512}, ErrInvalid},
		"nothing":     {CloneRequest{Name: "v"}, ErrInvalid},
		"bad name":    {CloneRequest{Name: "../v", Size: 512}, ErrInvalid},
		"slash":       {CloneRequest{Name: "a/b", Size: 512}, ErrInvalid},
		"empty name":  {CloneRequest{Size: 512}, ErrInvalid},
		"name length": {CloneRequest{Name: string(bytes.Repeat([]byte("a"), 129)), Size: 512}, ErrInvalid},
	} {
		_, err := s.CreateVolume(ctx, tc.req)
		require.ErrorIs(t, err, tc.want, name)
	}
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 1 << 20})
	require.ErrorIs(t, err, ErrExists)
	d := openVolume(t, s, "v")
	defer d.Close()
	b := make([]byte, 100)
	require.ErrorIs(t, d.ReadAt(ctx, b, 1<<20-99), ErrRange)
	require.ErrorIs(t, d.WriteAt(ctx, b, 1<<20-99, false), ErrRange)
	require.ErrorIs(t, d.WriteAt(ctx, b, -1, false), ErrRange)
	require.ErrorIs(t, d.Trim(ctx, 1<<62, 1<<62, false), ErrRange)
}

func TestOneOwner(t *testing.T) {
	dir := t.TempDir()
	openStore(t, dir)
	_, err := Open(dir, testOptions())
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, "process")
}

func TestNewerFormatIsRefusedUnchanged(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, openStore(t, dir).Close())
	path := filepath.Join(dir, "FORMAT")
	newer := []byte(formatMagic + "2\n")
	require.NoError(t, os.WriteFile(path, newer, 0o600))
	_, err := Open(dir, testOptions())
	require.ErrorIs(t, err, ErrFormat)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, newer, b)
}

func TestDamagedStoreIsRefused(t *testing.T) {
	make := func(t *testing.T) string {
		dir := t.TempDir()
		s := openStore(t, dir)
		importBytes(t, s, "img", pattern(1, 1<<20))
		require.NoError(t, s.Close())
		return dir
	}
	for name, damage := range map[string]func(dir string) error{
		"no metadata": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "meta")) },
		"no format":   func(dir string) error { return os.Remove(filepath.Join(dir, "FORMAT")) },
		"no witness":  func(dir string) error { return os.Remove(filepath.Join(dir, "seq")) },
		"lost tail": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "seq"), []byte{255, 255, 0, 0, 0, 0, 0, 0}, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := make(t)
			require.NoError(t, damage(dir))
			_, err := Open(dir, testOptions())
			require.ErrorIs(t, err, ErrCorrupt)
		})
	}
}

func TestVerifyNamesDamage(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	data := pattern(9, 40<<20)
	for i := range data[20<<20 : 21<<20] {
		data[20<<20+i] = 1
	}
	importBytes(t, s, "img", data)
	files, err := filepath.Glob(filepath.Join(dir, "layers", "*", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	f, err := os.OpenFile(files[0], os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{2}, 20<<20+4097)
	require.NoError(t, errors.Join(err, f.Sync(), f.Close()))
	report, err := s.VerifyImage(ctx, "img", nil)
	require.NoError(t, err)
	require.Len(t, report.Bad, 1)
	require.EqualValues(t, 16<<20, report.Bad[0].Offset)
}

// TestFailedSyncIsFinal: a second sync would lie, so none is tried; the
// volume takes no more writes, opened again or not, until the loss is accepted.
func TestFailedSyncIsFinal(t *testing.T) {
	dir := t.TempDir()
	var broken atomic.Bool
	fs := &hookedFS{datasync: func() error {
		if broken.Load() {
			return unix.EIO
		}
		return nil
	}}
	open := func(boot string) *Store {
		o := testOptions()
		o.fs, o.bootID = fs, boot
		s, err := Open(dir, o)
		require.NoError(t, err)
		return s
	}
	s := open("boot-1")
	for _, name := range []string{"v", "other"} {
		_, err := s.CreateVolume(ctx, CloneRequest{Name: name, Size: 1 << 20})
		require.NoError(t, err)
	}
	b := bytes.Repeat([]byte{1}, BlockSize)
	d := openVolume(t, s, "v")
	require.NoError(t, d.WriteAt(ctx, b, 0, true))
	require.NoError(t, d.WriteAt(ctx, b, BlockSize, false))
	broken.Store(true)
	require.ErrorIs(t, d.Flush(ctx), ErrFailed)
	broken.Store(false)
	require.ErrorIs(t, d.Flush(ctx), ErrFailed)
	require.ErrorIs(t, d.WriteAt(ctx, b, 0, false), ErrFailed)
	require.ErrorIs(t, d.Close(), ErrFailed)
	d = openVolume(t, s, "v")
	require.ErrorIs(t, d.WriteAt(ctx, b, 0, false), ErrFailed)
	require.ErrorIs(t, d.ReadAt(ctx, b, BlockSize), ErrFailed, "it may not be on the disk")
	require.False(t, d.TryReadAt(b, BlockSize))
	require.NoError(t, d.ReadAt(ctx, b, 2*BlockSize), "what was never written reads as before")
	require.ErrorIs(t, d.Close(), ErrFailed)

	d = openVolume(t, s, "other")
	require.NoError(t, d.WriteAt(ctx, b, 0, true), "neighbours go on")
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())

	for _, boot := range []string{"boot-1", "boot-2"} {
		s = open(boot)
		d = openVolume(t, s, "v")
		require.ErrorIs(t, d.WriteAt(ctx, b, 0, false), ErrFailed)
		require.NoError(t, d.Close())
		require.NoError(t, s.Close())
	}

	s = open("boot-2")
	_, err := s.AcceptLoss(ctx, "v", "")
	require.NoError(t, err)
	d = openVolume(t, s, "v")
	require.EqualValues(t, 1, firstByte(t, d, 0))
	require.NoError(t, d.WriteAt(ctx, b, 2*BlockSize, true))
	info, err := s.Volume(ctx, "v")
	require.NoError(t, err)
	require.EqualValues(t, 2, info.Epoch, "one for the restart of the host, one for the loss")
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())
}

func TestErrorsCarryTheErrnoOfADisk(t *testing.T) {
	for err, errno := range map[error]unix.Errno{ErrNoSpace: unix.ENOSPC, ErrReadOnly: unix.EPERM, ErrRange: unix.EINVAL} {
		var got unix.Errno
		require.ErrorAs(t, errf(err, "wrapped"), &got)
		require.Equal(t, errno, got)
	}
}
