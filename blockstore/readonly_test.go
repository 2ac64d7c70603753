package blockstore

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
)

func readOnlyOptions() Options {
	o := testOptions()
	o.ReadOnly = true
	return o
}

func openReadOnly(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, readOnlyOptions())
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// killedStore leaves a store whose process was killed: an image "img", a
// captured one "c", a volume "v" with a snapshot "s" and writes of which some are
// in the intent ring only, and a retired volume. It returns what each reads as.
func killedStore(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	o := testOptions()
	o.CommitInterval = time.Hour
	s, err := Open(dir, o)
	require.NoError(t, err)
	want := map[string][]byte{"img": pattern(3, 20<<20+512)}
	importBytes(t, s, "img", want["img"])
	for _, name := range []string{"v", "gone"} {
		_, err := s.CreateVolume(ctx, CloneRequest{Name: name, Image: "img", Size: 64 << 20})
		require.NoError(t, err)
	}
	require.NoError(t, s.RetireVolume(ctx, "gone", time.Hour, ""))
	v := make([]byte, 64<<20)
	copy(v, want["img"])
	d := openVolume(t, s, "v")
	write := func(p []byte, off int64) {
		writeAt(t, d, p, off)
		copy(v[off:], p)
	}
	write(randomBytes(1<<20), 1<<20)
	snap(t, s, "v", "s")
	want["s"] = bytes.Clone(v)
	_, err = s.CaptureImage(ctx, "v", ImportRequest{Name: "c"})
	require.NoError(t, err)
	want["c"] = want["s"]
	awaitSums(t, s, "c")
	write(block(4), 8<<20)
	require.NoError(t, d.Flush(ctx))
	write(block(5), 8<<20+BlockSize) // in the ring only
	write(block(6), 40<<20+17)
	require.NoError(t, d.Trim(ctx, 1<<20, BlockSize, false))
	clear(v[1<<20 : 1<<20+BlockSize])
	want["v"] = v
	s.kill()
	require.NoError(t, d.v.ring.close()) // as the end of the process does
	return want
}

// requireAll reads all of a store, and has it refuse every change.
func requireAll(t *testing.T, s *Store, want map[string][]byte) {
	t.Helper()
	require.True(t, bytes.Equal(want["img"], imageBytes(t, s, "img")))
	require.True(t, bytes.Equal(want["c"], imageBytes(t, s, "c")))
	requireSnapshot(t, s, "v", "s", want["s"])
	d := openVolume(t, s, "v")
	require.True(t, d.ReadOnly())
	require.True(t, bytes.Equal(want["v"], readAll(t, d)))
	data := 0
	require.NoError(t, d.Extents(ctx, 0, d.Size(), func(n int64, zero, own bool) bool {
		if own && !zero {
			data += int(n)
		}
		return true
	}))
	require.Equal(t, 4*BlockSize, data, "what is in the ring counts: 17 bytes into a block is two")
	requireGood(t, s, "img")
	requireGood(t, s, "c")
	retired, err := s.RetiredVolumes(ctx)
	require.NoError(t, err)
	require.Len(t, retired, 1)
	usage, err := s.Usage(ctx)
	require.NoError(t, err)
	require.Len(t, usage.Disks, 4)
	digests, err := s.DigestImage(ctx, "c", true, nil)
	require.NoError(t, err)
	require.NotEmpty(t, digests.SHA256)

	require.ErrorIs(t, s.Changeable(), ErrReadOnly)
	for what, err := range map[string]error{
		"write":    d.WriteAt(ctx, block(1), 0, false),
		"trim":     d.Trim(ctx, 0, BlockSize, true),
		"zeroes":   d.WriteZeroes(ctx, 0, BlockSize, false, false),
		"delete":   s.DeleteImage(ctx, "img", ""),
		"retire":   s.RetireVolume(ctx, "v", time.Hour, ""),
		"snapshot": second(s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "n"})),
		"capture":  second(s.CaptureImage(ctx, "v", ImportRequest{Name: "n"})),
		"clone":    second(s.CreateVolume(ctx, CloneRequest{Name: "n", Image: "img"})),
		"import":   second(s.ImportImage(ctx, &memorySource{data: block(1)}, ImportRequest{Name: "n"})),
		"grow":     second(s.GrowVolume(ctx, "v", 1<<30)),
		"quota":    second(s.SetQuota(ctx, "v", 1<<30)),
		"restore":  second(s.RestoreVolume(ctx, "gone", "", "")),
		"repair":   second(s.RepairImage(ctx, "img", &memorySource{data: block(1)}, nil)),
		"scrub":    second(s.StartScrub(ctx)),
		"copy":     second(s.Checkpoint(ctx)),
	} {
		require.ErrorIs(t, err, ErrReadOnly, what)
	}
	require.NoError(t, d.Flush(ctx))
	require.NoError(t, d.Close())
}

func second[T any](_ T, err error) error { return err }

// TestReadOnlyReadsAllAndChangesNothing, also what only the ring of a volume
// that was not closed has.
func TestReadOnlyReadsAllAndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	want := killedStore(t, dir)
	before := treeHash(t, dir)
	for range 2 {
		s := openReadOnly(t, dir)
		requireAll(t, s, want)
		require.NoError(t, s.Close())
		require.Equal(t, before, treeHash(t, dir))
	}
	s := openStore(t, dir) // it has lost nothing by that
	d := openVolume(t, s, "v")
	require.True(t, bytes.Equal(want["v"], readAll(t, d)))
	require.NoError(t, d.Close())
}

// TestReadOnlyOnAReadOnlyMount: the kernel sees to it that nothing is changed.
func TestReadOnlyOnAReadOnlyMount(t *testing.T) {
	mount := loopDisk(t, []string{"mkfs.ext4", "-q", "-F", "-m", "0"})
	dir := filepath.Join(mount, "blocks")
	want := killedStore(t, dir)
	command(t, "mount", "-o", "remount,ro", mount)
	_, err := Open(dir, testOptions())
	require.Error(t, err)
	s := openReadOnly(t, dir)
	requireAll(t, s, want)
	require.NoError(t, s.Close())
}

// TestReadOnlyOnAFullDisk on which not a byte is left.
func TestReadOnlyOnAFullDisk(t *testing.T) {
	mount := smallDisk(t, "64m")
	dir := filepath.Join(mount, "blocks")
	want := killedStore(t, dir)
	out, _ := exec.Command("dd", "if=/dev/zero", "of="+filepath.Join(mount, "hog"), "bs=64k").CombinedOutput()
	require.Contains(t, string(out), "No space left")
	s := openReadOnly(t, dir)
	requireAll(t, s, want)
	require.NoError(t, s.Close())
}

func TestReadOnlySharesWithReadersOnly(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir, readOnlyOptions())
	require.ErrorIs(t, err, ErrNotFound)
	require.NoDirExists(t, filepath.Join(dir, "meta"))
	_, err = Open(filepath.Join(dir, "none"), readOnlyOptions())
	require.ErrorIs(t, err, ErrNotFound)

	s := openStore(t, dir)
	_, err = Open(dir, readOnlyOptions())
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorContains(t, err, "process")
	require.NoError(t, s.Close())
	one, two := openReadOnly(t, dir), openReadOnly(t, dir)
	_, err = Open(dir, testOptions())
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, one.Close())
	require.NoError(t, two.Close())
	require.NoError(t, openStore(t, dir).Close())
}

// TestReadOnlyPassesOverDamage: what is not damaged can be read.
func TestReadOnlyPassesOverDamage(t *testing.T) {
	broken := []byte("\xff{is broken")
	for name, test := range map[string]struct {
		edit func(h *checkHouse, b *pebble.Batch) error
		gone []string // of image i, volume w
	}{
		"volume":         {func(h *checkHouse, b *pebble.Batch) error { return b.Set(nameKey(prefixVolume, "v"), broken, nil) }, nil},
		"another volume": {func(h *checkHouse, b *pebble.Batch) error { return b.Set(nameKey(prefixVolume, "w"), broken, nil) }, []string{"w"}},
		"lineage":        {func(h *checkHouse, b *pebble.Batch) error { return b.Delete(lineageKey(prefixLineage, h.v), nil) }, nil},
		"lineage broken": {func(h *checkHouse, b *pebble.Batch) error { return b.Set(lineageKey(prefixLineage, h.v), broken, nil) }, nil},
		"versions": {func(h *checkHouse, b *pebble.Batch) error {
			lower, upper := lineageSpan(prefixVersion, h.v)
			return b.DeleteRange(lower, upper, nil)
		}, nil},
		"parent of all": {func(h *checkHouse, b *pebble.Batch) error { return b.Delete(lineageKey(prefixLineage, h.image), nil) }, []string{"i", "w"}},
		"image":         {func(h *checkHouse, b *pebble.Batch) error { return b.Set(nameKey(prefixImage, "i"), broken, nil) }, []string{"i"}},
		"open mark":     {func(h *checkHouse, b *pebble.Batch) error { return b.Set(lineageKey(prefixOpen, h.v), broken, nil) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newCheckHouse(t)
			h.edit(func(b *pebble.Batch) { require.NoError(t, test.edit(h, b)) })
			_, err := Open(h.dir, testOptions())
			require.ErrorIs(t, err, ErrCorrupt)
			before := treeHash(t, h.dir)
			s := openReadOnly(t, h.dir)
			want := bytes.Repeat(block(9), 256)
			read := map[string]bool{}
			if d, err := s.OpenImage(ctx, "i"); err == nil {
				read["i"] = bytes.Equal(want, readAll(t, d))
				require.NoError(t, d.Close())
			}
			if d, err := s.OpenVolume(ctx, "w"); err == nil {
				read["w"] = bytes.Equal(want, readAll(t, d))
				require.NoError(t, d.Close())
			}
			expect := map[string]bool{"i": true, "w": true}
			for _, name := range test.gone {
				delete(expect, name)
			}
			require.Equal(t, expect, read)
			require.NoError(t, s.Close())
			require.Equal(t, before, treeHash(t, h.dir))
		})
	}
}

func TestReadOnlyWithoutTheTail(t *testing.T) {
	h := newCheckHouse(t)
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "seq"), binary.LittleEndian.AppendUint64(nil, 1<<40), 0o600))
	o := readOnlyOptions()
	log := logTo(&o)
	s, err := Open(h.dir, o)
	require.NoError(t, err)
	require.Contains(t, log.String(), "lost its tail")
	d := openVolume(t, s, "v")
	require.EqualValues(t, 2, firstByte(t, d, BlockSize))
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())
}

// TestReadOnlyWithoutAFile: what it held is an error, and the rest is read.
func TestReadOnlyWithoutAFile(t *testing.T) {
	h := newCheckHouse(t)
	require.NoError(t, os.Remove(h.tip))
	s := openReadOnly(t, h.dir)
	d := openVolume(t, s, "v")
	require.EqualValues(t, 1, firstByte(t, d, 0), "of the snapshot")
	require.ErrorIs(t, d.ReadAt(ctx, make([]byte, 1), BlockSize), ErrCorrupt)
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())
}

// TestReadOnlyWithAnEmptyFile: a power loss has left the name of a data file
// that was never committed, and nothing of its length.
func TestReadOnlyWithAnEmptyFile(t *testing.T) {
	dir := t.TempDir()
	o := testOptions()
	o.CommitInterval = time.Hour
	s, err := Open(dir, o)
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: 64 << 20})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	writeAt(t, d, block(5), 0) // in the ring only
	file := filepath.Join(s.layersDir(), layerDir(d.v.top.Load().layer.id), "000000")
	s.kill()
	require.NoError(t, d.v.ring.close())
	require.NoError(t, os.Truncate(file, 0))
	before := treeHash(t, dir)

	s = openReadOnly(t, dir)
	d = openVolume(t, s, "v")
	require.Zero(t, firstByte(t, d, 0))
	require.Zero(t, firstByte(t, d, 40<<20))
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())
	require.Equal(t, before, treeHash(t, dir))
}
