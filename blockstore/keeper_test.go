package blockstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// soon is how long what must happen may take on a busy machine.
const soon = time.Minute

func contentOf(t *testing.T, s *Store, name string) string {
	t.Helper()
	info, err := s.Image(ctx, name)
	require.NoError(t, err)
	return info.ContentID
}

// awaitSums waits until the keeper has taken the sums of an image.
func awaitSums(t *testing.T, s *Store, name string) string {
	t.Helper()
	require.Eventually(t, func() bool { return contentOf(t, s, name) != "" }, soon, time.Millisecond)
	return contentOf(t, s, name)
}

// heldPacer lets n regions through and holds whoever comes after them, until
// open is closed. At tells of the first one that is held.
type heldPacer struct {
	*pacer
	let    atomic.Int64
	asked  atomic.Int64
	at     chan struct{}
	open   chan struct{}
	behind atomic.Bool
}

func newHeldPacer(n int64) *heldPacer {
	h := &heldPacer{pacer: newPacer(1), at: make(chan struct{}), open: make(chan struct{})}
	h.let.Store(n)
	now := time.Unix(1e9, 0)
	h.pacer.now = func() time.Time { return now } // so that all but the first one wait
	h.pacer.wait = func(ctx context.Context, _ time.Duration) error {
		h.asked.Add(1)
		if h.let.Add(-1) >= 0 {
			return nil
		}
		if !h.behind.Swap(true) {
			close(h.at)
		}
		select {
		case <-h.open:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return h
}

// captured makes a volume with a block in each of some regions, and an image of it.
func captured(t *testing.T, s *Store, regions int) {
	t.Helper()
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Size: int64(regions)<<regionShift + 512})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	for i := range regions {
		writeAt(t, d, block(byte(i+1)), int64(i)<<regionShift+int64(i)*BlockSize)
	}
	_, err = s.CaptureImage(ctx, "v", ImportRequest{Name: "c"})
	require.NoError(t, err)
	require.NoError(t, d.Close())
}

func imageBytes(t *testing.T, s *Store, name string) []byte {
	t.Helper()
	d, err := s.OpenImage(ctx, name)
	require.NoError(t, err)
	defer d.Close()
	return readAll(t, d)
}

func TestKeeperSumsACapture(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	captured(t, s, 3)
	id := awaitSums(t, s, "c")
	require.Equal(t, importBytes(t, s, "same", imageBytes(t, s, "c")).ContentID, id)
	_, err := s.CreateSnapshot(ctx, "v", SnapshotRequest{Name: "s"})
	require.NoError(t, err)
	_, err = s.CaptureSnapshot(ctx, "v", "s", ImportRequest{Name: "of-s"})
	require.NoError(t, err)
	require.Equal(t, id, awaitSums(t, s, "of-s"))

	report, err := s.VerifyImage(ctx, "c", nil)
	require.NoError(t, err)
	require.Empty(t, report.Bad)
	require.Zero(t, report.Learnt)
	require.EqualValues(t, 3*RegionSize, report.Compared)

	require.NoError(t, s.Close())
	s = openStore(t, dir)
	require.Equal(t, id, contentOf(t, s, "c"))
}

// TestKeeperFindsLaterDamage: what rots after the sums were taken is found by
// the first verification.
func TestKeeperFindsLaterDamage(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	captured(t, s, 3)
	awaitSums(t, s, "c")
	damageFile(t, dir, RegionSize+BlockSize+17)
	report, err := s.VerifyImage(ctx, "c", nil)
	require.NoError(t, err)
	require.Len(t, report.Bad, 1)
	require.EqualValues(t, RegionSize, report.Bad[0].Offset)
	require.Zero(t, report.Learnt)
}

// damageFile changes a byte of the only data file of a store.
func damageFile(t *testing.T, dir string, off int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "layers", "*", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	changeByte(t, files[0], off)
}

func changeByte(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, off)
	require.NoError(t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b, off)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// openHeld opens a store in a directory whose background work is let through for
// n regions.
func openHeld(t *testing.T, dir string, n int64) (*Store, *heldPacer) {
	t.Helper()
	h := newHeldPacer(n)
	o := testOptions()
	o.pacer = h.pacer
	s, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s, h
}

// TestKeeperGoesOnAfterAKill: what was summed before is not read again.
func TestKeeperGoesOnAfterAKill(t *testing.T) {
	const regions = 2*sumBatch + 8
	dir := t.TempDir()
	s, h := openHeld(t, dir, sumBatch+4)
	captured(t, s, regions)
	<-h.at
	require.Empty(t, contentOf(t, s, "c"))
	s.kill()

	s, h = openHeld(t, dir, 1000)
	id := awaitSums(t, s, "c")
	require.EqualValues(t, regions-sumBatch-1, h.asked.Load(), "the first one does not wait")
	require.Equal(t, capturedContentID(regions), id)
}

// capturedContentID is the content id of what captured makes, from its words.
func capturedContentID(regions int) string {
	sums := map[uint32][sha256.Size]byte{}
	buf := make([]byte, RegionSize)
	for i := range regions {
		clear(buf)
		copy(buf[i*BlockSize:], block(byte(i+1)))
		sums[uint32(i)] = sha256.Sum256(buf)
	}
	return contentID(int64(regions)<<regionShift+512, sums)
}

// TestKeeperHoldsWhatItReads: the image goes, its data stays under the keeper,
// which then stops.
func TestKeeperHoldsWhatItReads(t *testing.T) {
	dir := t.TempDir()
	s, h := openHeld(t, dir, 2)
	captured(t, s, 8)
	<-h.at
	require.NoError(t, s.DeleteImage(ctx, "c", ""))
	require.NoError(t, s.DeleteVolume(ctx, "v", ""))
	require.NotZero(t, layerBytes(t, s))
	asked := h.asked.Load()
	close(h.open)
	requireNoLayers(t, s, dir)
	require.LessOrEqual(t, h.asked.Load(), asked+1, "nobody wants the rest")
}

func TestVerifyLearnsWhatTheKeeperHasNot(t *testing.T) {
	s := openStore(t, t.TempDir())
	s.keeper.stop()
	captured(t, s, 3)
	report, err := s.VerifyImage(ctx, "c", nil)
	require.NoError(t, err)
	require.Empty(t, report.Bad)
	require.Zero(t, report.Compared, "nothing was known")
	require.EqualValues(t, 3*RegionSize, report.Learnt)
	report, err = s.VerifyImage(ctx, "c", nil)
	require.NoError(t, err)
	require.Zero(t, report.Learnt)
	require.EqualValues(t, 3*RegionSize, report.Compared)
}

// TestVerifyTakesOverFromTheKeeper in the middle of an image.
func TestVerifyTakesOverFromTheKeeper(t *testing.T) {
	const regions = sumBatch + 8
	s, h := openHeld(t, t.TempDir(), sumBatch+4)
	captured(t, s, regions)
	<-h.at
	reports := make(chan VerifyReport, 1)
	go func() {
		report, _ := s.VerifyImage(ctx, "c", nil)
		reports <- report
	}()
	wanted := func() bool {
		s.keeper.mu.Lock()
		defer s.keeper.mu.Unlock()
		for _, cl := range s.keeper.mu.claims {
			return cl.wanted
		}
		return false
	}
	require.Eventually(t, wanted, soon, time.Millisecond)
	close(h.open)
	report := <-reports
	require.Empty(t, report.Bad)
	require.EqualValues(t, (sumBatch+6)*RegionSize, report.Compared, "the keeper let go after the region that it was at")
	require.EqualValues(t, 2*RegionSize, report.Learnt)
	require.NotEmpty(t, contentOf(t, s, "c"))
}

func TestDigestOfARawDisk(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	captured(t, s, 3)
	want := sha256.Sum256(imageBytes(t, s, "c"))
	for range 2 {
		d, err := s.DigestImage(ctx, "c", true, nil)
		require.NoError(t, err)
		require.Equal(t, hex.EncodeToString(want[:]), d.SHA256)
		require.Equal(t, contentOf(t, s, "c"), d.ContentID)
		require.NoError(t, s.Close())
		s = openStore(t, dir)
	}
	_, err := s.DigestImage(ctx, "none", true, nil)
	require.ErrorIs(t, err, ErrNotFound)
}

func TestDamageHasNoDigest(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	captured(t, s, 3)
	awaitSums(t, s, "c")
	damageFile(t, dir, 7)
	_, err := s.DigestImage(ctx, "c", true, nil)
	require.ErrorIs(t, err, ErrCorrupt)
	info, err := s.Image(ctx, "c")
	require.NoError(t, err)
	require.Empty(t, info.SHA256)
}

// TestReadingWhereODirectIsRefused: the report says that memory may have been
// looked at.
func TestReadingWhereODirectIsRefused(t *testing.T) {
	for name, fs := range map[string]hostFS{"open": refusingFS{}, "read": refusingFS{reads: true}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			o := testOptions()
			o.fs = fs
			s, err := Open(dir, o)
			require.NoError(t, err)
			t.Cleanup(func() { _ = s.Close() })
			importBytes(t, s, "img", randomBytes(RegionSize+BlockSize))
			report, err := s.VerifyImage(ctx, "img", nil)
			require.NoError(t, err)
			require.Empty(t, report.Bad)
			require.True(t, report.Cached)
			damageFile(t, dir, 5)
			report, err = s.VerifyImage(ctx, "img", nil)
			require.NoError(t, err)
			require.Len(t, report.Bad, 1)
		})
	}
}

// refusingFS is a file system without O_DIRECT: it refuses the open, or the read.
type refusingFS struct {
	osFS
	reads bool
}

func (fs refusingFS) OpenDirect(path string) (file, error) {
	if !fs.reads {
		return nil, unix.EINVAL
	}
	f, err := fs.osFS.Open(path, false)
	return refusingFile{f}, err
}

type refusingFile struct{ file }

func (refusingFile) ReadAt([]byte, int64) error { return unix.EINVAL }
