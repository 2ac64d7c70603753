package blockstore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAFileWithoutARecordIsReportedAndKept(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	importBytes(t, s, "i", pattern(1, 1<<20))
	require.NoError(t, s.Close())
	stray := filepath.Join(dir, "layers", layerDir(layerID{7, 1}))
	require.NoError(t, os.Mkdir(stray, 0o700))
	ring := filepath.Join(dir, "rings", "0000000000000009")
	require.NoError(t, os.WriteFile(ring, nil, 0o600))
	o := testOptions()
	log := logTo(&o)
	s, err := Open(dir, o)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Contains(t, log.String(), stray)
	require.Contains(t, log.String(), ring)
	require.NotContains(t, log.String(), "damage")
	require.DirExists(t, stray)
	require.FileExists(t, ring)
}

func TestAFailedStoreCanStillBeRead(t *testing.T) {
	s, d, _ := hooked(t, &hookedFS{})
	require.NoError(t, d.WriteAt(ctx, block(5), 0, true))
	_ = s.fail(errors.New("test"))
	require.ErrorIs(t, d.Close(), ErrFailed)
	d = openVolume(t, s, "v") // the client connects again
	require.EqualValues(t, 5, firstByte(t, d, 0))
	require.ErrorIs(t, d.WriteAt(ctx, block(6), 0, false), ErrFailed)
	_ = d.Close()
	s.kill()
}

func TestZerosThatWereWrittenAreNoDamage(t *testing.T) {
	s, d, _ := hooked(t, &hookedFS{})
	require.NoError(t, d.WriteZeroes(ctx, 0, 1<<20, true, false))
	_, err := s.CaptureImage(ctx, "v", ImportRequest{Name: "c"})
	require.NoError(t, err)
	for range 2 { // the first one takes the digests
		report, err := s.VerifyImage(ctx, "c", nil)
		require.NoError(t, err)
		require.Empty(t, report.Bad)
	}
	finish(t, s, d)
}

func TestAContentIDIsOfTheImageThatWasRead(t *testing.T) {
	s, d, _ := hooked(t, &hookedFS{})
	s.keeper.stop()
	require.NoError(t, d.WriteAt(ctx, block(1), 0, false))
	_, err := s.CaptureImage(ctx, "v", ImportRequest{Name: "c"})
	require.NoError(t, err)
	old, err := s.OpenImage(ctx, "c")
	require.NoError(t, err)
	require.NoError(t, s.DeleteImage(ctx, "c", ""))
	require.NoError(t, d.WriteAt(ctx, block(2), 0, false))
	_, err = s.CaptureImage(ctx, "v", ImportRequest{Name: "c"})
	require.NoError(t, err)
	check := newVerifier(s, old.image, new(VerifyReport))
	require.NoError(t, check.learnRest())
	require.NoError(t, check.run(ctx))
	check.close()
	info, err := s.Image(ctx, "c")
	require.NoError(t, err)
	require.Empty(t, info.ContentID)
	require.NoError(t, old.Close())
	finish(t, s, d)
}

func TestFilesOfSealedLayersAreOpenedReadOnly(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	data := pattern(1, 1<<20)
	importBytes(t, s, "i", data)
	s = reopen(t, s)
	d, err := s.OpenImage(ctx, "i")
	require.NoError(t, err)
	requireContent(t, d, data)
	s.layers.Lock()
	require.NotEmpty(t, s.layers.m)
	for _, l := range s.layers.m {
		require.True(t, l.sealed.Load())
		require.Error(t, l.known()[0].handle.Load().file.WriteAt(data[:BlockSize], 0))
	}
	s.layers.Unlock()
	require.NoError(t, d.Close())
	require.NoError(t, s.Close())
}

func TestRecoveryOfAFullRingOfZeros(t *testing.T) {
	dir, o := t.TempDir(), testOptions()
	o.ringSize = 64 << 10 // 2,000 entries
	s, err := Open(dir, o)
	require.NoError(t, err)
	_, err = s.CreateVolume(ctx, CloneRequest{Name: "v", Size: RegionSize})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	_, err = s.GrowVolume(ctx, "v", 64<<30)
	require.NoError(t, err)
	require.NoError(t, d.WriteAt(ctx, block(1), 0, true))
	n := int64(0)
	for appended(t, d.v.ring, intentZero, n*regionBlocks, regionBlocks, nil) {
		n++
	}
	s.kill()
	s, err = Open(dir, o)
	require.NoError(t, err)
	d = openVolume(t, s, "v")
	require.Zero(t, firstByte(t, d, 0))
	end := int64(0)
	require.NoError(t, d.Extents(ctx, 0, d.Size(), func(n int64, zero, own bool) bool {
		require.True(t, zero)
		if own {
			end += n
		}
		return true
	}))
	require.Equal(t, n*RegionSize, end)
	finish(t, s, d)
}
