package blockstore

import (
	"bytes"
	"os"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func repaired(t *testing.T, s *Store, image string, source []byte) RepairReport {
	t.Helper()
	r, err := s.RepairImage(ctx, image, &memorySource{data: source}, nil)
	require.NoError(t, err)
	return r
}

func requireGood(t *testing.T, s *Store, image string) {
	t.Helper()
	report, err := s.VerifyImage(ctx, image, nil)
	require.NoError(t, err)
	require.Empty(t, report.Bad)
	require.NotZero(t, report.Compared)
}

// TestRepairWritesWhatHasTheRightChecksum: the disk rots under the file system,
// in two regions, and of the source only one of these is right, and another one
// wrong that is good in the image.
func TestRepairWritesWhatHasTheRightChecksum(t *testing.T) {
	onRottenDisks(t, func(t *testing.T, disk rottenDisk) {
		data := randomBytes(3*RegionSize + 512)
		s := disk.store(t, data)
		disk.rot(data[RegionSize+7*BlockSize:][:BlockSize])
		disk.rot(data[2*RegionSize+9*BlockSize:][:BlockSize])
		source := bytes.Clone(data)
		source[0] ^= 1
		source[2*RegionSize] ^= 1

		r := repaired(t, s, "img", source)
		require.Len(t, r.Repaired, 1)
		require.EqualValues(t, RegionSize, r.Repaired[0].Offset)
		require.Contains(t, r.Repaired[0].Reason, "SHA-256")
		require.Len(t, r.Unrepaired, 1)
		require.EqualValues(t, 2*RegionSize, r.Unrepaired[0].Offset)
		require.Contains(t, r.Unrepaired[0].Reason, "something else")
		report, err := s.VerifyImage(ctx, "img", nil)
		require.NoError(t, err)
		require.Len(t, report.Bad, 1)

		r = repaired(t, s, "img", data) // another copy
		require.Len(t, r.Repaired, 1)
		require.Empty(t, r.Unrepaired)
		requireGood(t, s, "img")
		require.Empty(t, scrubbed(t, s).Findings)
		d := openVolume(t, s, "v")
		require.True(t, bytes.Equal(data, readAll(t, d)))
		require.NoError(t, d.Close())
	})
}

func TestRepairOfAGoodImageReadsNoSource(t *testing.T) {
	s := openStore(t, t.TempDir())
	data := randomBytes(RegionSize)
	importBytes(t, s, "img", data)
	src := &memorySource{data: data}
	r, err := s.RepairImage(ctx, "img", src, nil)
	require.NoError(t, err)
	require.Empty(t, r.Repaired)
	require.Empty(t, r.Unrepaired)
	require.EqualValues(t, RegionSize, r.Checked)
	require.Zero(t, src.at)
}

// TestRepairMendsWhatIsShared: through a captured image, the block of the image
// below it.
func TestRepairMendsWhatIsShared(t *testing.T) {
	s := openStore(t, t.TempDir())
	base := pattern(5, 2*RegionSize)
	copy(base[RegionSize:], randomBytes(64<<10))
	importBytes(t, s, "base", base)
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Image: "base"})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	writeAt(t, d, block(1), 0)
	writeAt(t, d, block(2), RegionSize+128<<10)
	_, err = s.CaptureImage(ctx, "v", ImportRequest{Name: "child"})
	require.NoError(t, err)
	require.NoError(t, d.Close())
	awaitSums(t, s, "child")
	child := imageBytes(t, s, "child")
	changeByte(t, layerFile(t, s, "base"), RegionSize+5)
	r := repaired(t, s, "child", child)
	require.Len(t, r.Repaired, 1)
	require.Empty(t, r.Unrepaired)
	requireGood(t, s, "child")
	requireGood(t, s, "base")
}

// TestRepairWritesOnlyWhatDiffers: the blocks in between are as they should be.
func TestRepairWritesOnlyWhatDiffers(t *testing.T) {
	type written struct {
		off int64
		n   int
	}
	var wrote []written
	fs := &hookedFS{}
	s, d, _ := hooked(t, fs)
	defer finish(t, s, d)
	data := randomBytes(RegionSize + 3*BlockSize)
	importBytes(t, s, "img", data)
	for _, at := range []int64{5 * BlockSize, 6*BlockSize + 1, 100 * BlockSize, RegionSize + 2*BlockSize + 7} {
		changeByte(t, layerFile(t, s, "img"), at)
	}
	fs.wrote = func(off int64, n int) { wrote = append(wrote, written{off, n}) }
	r := repaired(t, s, "img", data)
	require.Len(t, r.Repaired, 2)
	require.Empty(t, r.Unrepaired)
	require.Equal(t, []written{{5 * BlockSize, 2 * BlockSize}, {100 * BlockSize, BlockSize}, {RegionSize + 2*BlockSize, BlockSize}}, wrote)
	requireGood(t, s, "img")
}

// TestRepairDoesNotTrustADamagedMap: one that names another image's data is not
// mended by overwriting that, nor one that has lost data.
func TestRepairDoesNotTrustADamagedMap(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, c *composer, a, b layerID)
		reason string
	}{
		"another image's": {func(t *testing.T, c *composer, a, b layerID) {
			theirs, err := c.source(b)
			require.NoError(t, err)
			c.fill(0, regionBlocks, theirs)
		}, `golden image "b" reads the same blocks`},
		"nothing": {func(t *testing.T, c *composer, a, b layerID) {
			ours, err := c.source(a)
			require.NoError(t, err)
			c.fill(0, regionBlocks/2, ours)
			c.fill(regionBlocks/2, regionBlocks, sourceZero)
		}, "the map names zeros"},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, t.TempDir())
			a, b := pattern(1, RegionSize), pattern(2, RegionSize)
			importBytes(t, s, "a", a)
			importBytes(t, s, "b", b)
			idOf := func(name string) layerID {
				e := s.cat.mu.images[name]
				return layerID{e.lineage.id, e.version.number}
			}
			id := idOf("a")
			comp := newComposer()
			defer comp.release()
			c.damage(t, comp, id, idOf("b"))
			require.NoError(t, s.db.Set(mapKey(id.lineage, 0, id.version), comp.encode(), pebble.Sync))
			s = reopen(t, s)
			r := repaired(t, s, "a", a)
			require.Empty(t, r.Repaired)
			require.Len(t, r.Unrepaired, 1)
			require.Contains(t, r.Unrepaired[0].Reason, c.reason)
			requireGood(t, s, "b")
			require.NoError(t, s.Close())
		})
	}
}

func TestRepairRefusesAnotherImage(t *testing.T) {
	s := openStore(t, t.TempDir())
	data := randomBytes(2 * RegionSize)
	importBytes(t, s, "img", data)
	path := layerFile(t, s, "img")
	changeByte(t, path, RegionSize+5)
	_, err := s.RepairImage(ctx, "img", &memorySource{data: data[:RegionSize]}, nil)
	require.ErrorIs(t, err, ErrInvalid)
	r, err := s.RepairImage(ctx, "img", &memorySource{data: data[:RegionSize], hidden: true}, nil)
	require.NoError(t, err)
	require.Len(t, r.Unrepaired, 1)
	require.Contains(t, r.Unrepaired[0].Reason, "ends before")
}

// TestRepairWritesNothingWhereAFileIsGone: others may read what was in it.
func TestRepairWritesNothingWhereAFileIsGone(t *testing.T) {
	s := openStore(t, t.TempDir())
	data := randomBytes(2 * RegionSize)
	importBytes(t, s, "cut", data)
	importBytes(t, s, "gone", data)
	require.NoError(t, os.Truncate(layerFile(t, s, "cut"), RegionSize))
	require.NoError(t, os.Remove(layerFile(t, s, "gone")))
	r := repaired(t, s, "cut", data)
	require.Empty(t, r.Repaired)
	require.Len(t, r.Unrepaired, 1)
	require.Contains(t, r.Unrepaired[0].Reason, "cut short")
	r = repaired(t, s, "gone", data)
	require.Empty(t, r.Repaired)
	require.Len(t, r.Unrepaired, 2)
	require.NoFileExists(t, layerFile(t, s, "gone"))
	st, err := os.Stat(layerFile(t, s, "cut"))
	require.NoError(t, err)
	require.EqualValues(t, RegionSize, st.Size())
}

func TestRepairNeedsChecksums(t *testing.T) {
	s := openStore(t, t.TempDir())
	s.keeper.stop()
	captured(t, s, 2)
	_, err := s.RepairImage(ctx, "c", &memorySource{data: imageBytes(t, s, "c")}, nil)
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "no checksums yet")
}

// TestRepairThatIsNotSyncedIsNone: the error of the disk ends it.
func TestRepairThatIsNotSyncedIsNone(t *testing.T) {
	var broken atomic.Bool
	s, d, _ := hooked(t, &hookedFS{datasync: func() error {
		if broken.Load() {
			return unix.EIO
		}
		return nil
	}})
	defer finish(t, s, d)
	data := randomBytes(RegionSize)
	importBytes(t, s, "img", data)
	changeByte(t, layerFile(t, s, "img"), 5)
	broken.Store(true)
	_, err := s.RepairImage(ctx, "img", &memorySource{data: data}, nil)
	require.ErrorIs(t, err, ErrFailed)
	broken.Store(false)
}
