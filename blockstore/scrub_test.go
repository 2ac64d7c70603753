package blockstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// scrubbed starts a scrub and waits for its end.
func scrubbed(t *testing.T, s *Store) ScrubReport {
	t.Helper()
	_, err := s.StartScrub(ctx)
	require.NoError(t, err)
	return scrubEnds(t, s)
}

func scrubEnds(t *testing.T, s *Store) ScrubReport {
	t.Helper()
	ended := func() bool {
		r, err := s.Scrub(ctx)
		return err == nil && r.State != ScrubRunning
	}
	require.Eventually(t, ended, soon, time.Millisecond)
	r, err := s.Scrub(ctx)
	require.NoError(t, err)
	return r
}

// layerFile is the data file of the first layer of an image's lineage.
func layerFile(t *testing.T, s *Store, image string) string {
	t.Helper()
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	return filepath.Join(s.layersDir(), layerDir(layerID{s.cat.mu.images[image].lineage.id, 1}), "000000")
}

// readersHouse has an image "base" of three regions and disks that read its
// second one, or do not.
func readersHouse(t *testing.T, s *Store) {
	t.Helper()
	importBytes(t, s, "base", randomBytes(3*RegionSize))
	importBytes(t, s, "other", randomBytes(RegionSize))
	clone := func(name string) *Disk {
		_, err := s.CreateVolume(ctx, CloneRequest{Name: name, Image: "base"})
		require.NoError(t, err)
		return openVolume(t, s, name)
	}
	reads := clone("reads")
	writeAt(t, reads, block(1), RegionSize) // most of it is the image's
	snap(t, s, "reads", "then")
	_, err := s.CaptureImage(ctx, "reads", ImportRequest{Name: "child"})
	require.NoError(t, err)
	require.NoError(t, reads.Close())
	shadows := clone("shadows")
	writeAt(t, shadows, bytes.Repeat(block(2), regionBlocks), RegionSize)
	require.NoError(t, shadows.Close())
	require.NoError(t, clone("gone").Close())
	require.NoError(t, s.RetireVolume(ctx, "gone", time.Hour, ""))
	awaitSums(t, s, "child")
}

func TestScrubOfGoodData(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	r, err := s.Scrub(ctx)
	require.NoError(t, err)
	require.Equal(t, ScrubNone, r.State)
	readersHouse(t, s)
	r = scrubbed(t, s)
	require.Equal(t, ScrubDone, r.State)
	require.Empty(t, r.Findings)
	require.Empty(t, r.Error)
	// What "child" shares with "base" is read once; the region that it has
	// changed in part is read as it has it. The snapshot's own block has no sum.
	require.EqualValues(t, 5*RegionSize, r.Compared)
	require.EqualValues(t, 5*RegionSize+BlockSize, r.Done)
	require.Equal(t, r.Done, r.Total)
	require.NoError(t, s.Close())
	s = openStore(t, dir)
	after, err := s.Scrub(ctx)
	require.NoError(t, err)
	require.Equal(t, r, after, "kept")
}

// TestScrubNamesWhoReadsDamage and nobody else.
func TestScrubNamesWhoReadsDamage(t *testing.T) {
	s := openStore(t, t.TempDir())
	readersHouse(t, s)
	changeByte(t, layerFile(t, s, "base"), 2*RegionSize-BlockSize+99)
	r := scrubbed(t, s)
	require.Equal(t, ScrubDone, r.State)
	require.Len(t, r.Findings, 2, "the region as both images have it")
	readers := []string{"image base", "image child", "retired volume gone", "snapshot reads/then", "volume reads"}
	images := []string{}
	for _, f := range r.Findings {
		images = append(images, f.Images...)
		require.EqualValues(t, RegionSize, f.Offset)
		require.EqualValues(t, RegionSize, f.Length)
		require.Contains(t, f.Reason, "SHA-256")
		require.Equal(t, readers, f.Disks)
	}
	require.ElementsMatch(t, []string{"base", "child"}, images)
}

// TestScrubFindsWhatIsGone: files that are missing or cut, of images and of
// snapshots, which have no checksums.
func TestScrubFindsWhatIsGone(t *testing.T) {
	s := openStore(t, t.TempDir())
	importBytes(t, s, "missing", randomBytes(RegionSize))
	importBytes(t, s, "cut", randomBytes(RegionSize))
	importBytes(t, s, "good", randomBytes(RegionSize))
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Image: "good"})
	require.NoError(t, err)
	d := openVolume(t, s, "v")
	writeAt(t, d, block(1), 0)
	snap(t, s, "v", "s")
	require.NoError(t, d.Close())
	require.NoError(t, os.Remove(layerFile(t, s, "missing")))
	require.NoError(t, os.Truncate(layerFile(t, s, "cut"), 4<<20))
	s.cat.mu.Lock()
	own := filepath.Join(s.layersDir(), layerDir(layerID{s.cat.mu.volumes["v"].lineage.id, 1}), "000000")
	s.cat.mu.Unlock()
	require.NoError(t, os.Truncate(own, 0))
	r := scrubbed(t, s)
	require.Equal(t, ScrubDone, r.State)
	var found [][]string
	for _, f := range r.Findings {
		found = append(found, f.Disks)
	}
	require.ElementsMatch(t, [][]string{{"image missing"}, {"image cut"}, {"snapshot v/s", "volume v"}}, found)
}

// TestScrubGoesOnAfterAKill from where its file says that it was.
func TestScrubGoesOnAfterAKill(t *testing.T) {
	dir := t.TempDir()
	s, h := openHeld(t, dir, 1000)
	data := make([]byte, 12*RegionSize)
	for i := range 12 {
		copy(data[i*RegionSize:], block(byte(i+1)))
	}
	importBytes(t, s, "img", data)
	changeByte(t, layerFile(t, s, "img"), 2*RegionSize+1)
	h.let.Store(6)
	s.scrub.saveEvery = BlockSize
	_, err := s.StartScrub(ctx)
	require.NoError(t, err)
	<-h.at
	_, err = s.StartScrub(ctx)
	require.ErrorIs(t, err, ErrInUse)
	file := filepath.Join(dir, "scrub")
	then, err := os.ReadFile(file)
	require.NoError(t, err)
	s.kill()
	require.NoError(t, os.WriteFile(file, then, 0o600)) // nobody wrote it at the end

	s, h = openHeld(t, dir, 1000)
	r := scrubEnds(t, s)
	require.Equal(t, ScrubDone, r.State)
	require.EqualValues(t, 12*BlockSize, r.Done)
	require.EqualValues(t, 12*BlockSize, r.Compared)
	require.Len(t, r.Findings, 1, "that of before")
	require.EqualValues(t, 2*RegionSize, r.Findings[0].Offset)
	require.EqualValues(t, 12-6-1, h.asked.Load(), "the other six are not read again; the first one does not wait")
}

func TestScrubIsCancelled(t *testing.T) {
	dir := t.TempDir()
	s, h := openHeld(t, dir, 1000)
	_, err := s.CancelScrub(ctx)
	require.ErrorIs(t, err, ErrNotFound)
	importBytes(t, s, "img", randomBytes(3*RegionSize))
	h.let.Store(1)
	_, err = s.StartScrub(ctx)
	require.NoError(t, err)
	<-h.at
	r, err := s.CancelScrub(ctx)
	require.NoError(t, err)
	require.Equal(t, ScrubCancelled, r.State)
	require.EqualValues(t, RegionSize, r.Done)
	require.NoError(t, s.Close())

	s = openStore(t, dir)
	r, err = s.Scrub(ctx)
	require.NoError(t, err)
	require.Equal(t, ScrubCancelled, r.State, "and does not go on")
	r = scrubbed(t, s)
	require.Equal(t, ScrubDone, r.State)
	require.EqualValues(t, 3*RegionSize, r.Done)
}

// TestScrubTellsWhatItCannotLookAt from damage.
func TestScrubTellsWhatItCannotLookAt(t *testing.T) {
	var refuse error
	s, d, _ := hooked(t, &hookedFS{direct: func() error { return refuse }})
	defer finish(t, s, d)
	importBytes(t, s, "img", randomBytes(RegionSize))
	refuse = unix.EMFILE
	r := scrubbed(t, s)
	require.Equal(t, ScrubFailed, r.State)
	require.Empty(t, r.Findings)
	require.Contains(t, r.Error, "too many open files")
	refuse = nil
	require.Equal(t, ScrubDone, scrubbed(t, s).State)
}

func TestScrubForgetsADamagedState(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	importBytes(t, s, "img", randomBytes(RegionSize))
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "scrub"), []byte("{"), 0o600))
	s = openStore(t, dir)
	r, err := s.Scrub(ctx)
	require.NoError(t, err)
	require.Equal(t, ScrubNone, r.State)
	require.Equal(t, ScrubDone, scrubbed(t, s).State)
}

// rottenDisk is a file system in an image, bytes of which can be changed under
// it, as a disk does that rots.
type rottenDisk struct {
	t     *testing.T
	image string
	dir   string
}

func onRottenDisks(t *testing.T, test func(t *testing.T, r rottenDisk)) {
	for name, mkfs := range map[string][]string{
		"ext4": {"mkfs.ext4", "-q", "-F", "-m", "0"},
		"xfs":  {"mkfs.xfs", "-q", "-f"},
	} {
		t.Run(name, func(t *testing.T) {
			image, dir := loopDiskImage(t, mkfs)
			test(t, rottenDisk{t, image, dir})
		})
	}
}

// rot changes a byte of the only place in the image where content stands.
func (r rottenDisk) rot(content []byte) {
	r.t.Helper()
	unix.Sync()
	f, err := os.OpenFile(r.image, os.O_RDWR, 0)
	require.NoError(r.t, err)
	defer f.Close()
	at, buf := int64(-1), make([]byte, 4<<20)
	for off := int64(0); off < loopSize; off += int64(len(buf)) {
		_, err := f.ReadAt(buf, off)
		require.NoError(r.t, err)
		if i := bytes.Index(buf, content); i >= 0 { // a block does not straddle
			require.Negative(r.t, at, "it stands there twice")
			at = off + int64(i)
		}
	}
	require.GreaterOrEqual(r.t, at, int64(0))
	_, err = f.WriteAt([]byte{^content[100]}, at+100)
	require.NoError(r.t, errors.Join(err, f.Sync()))
}

// store makes a store on the disk, with an image "img" of data and a volume "v" on it.
func (r rottenDisk) store(t *testing.T, data []byte) *Store {
	t.Helper()
	s := openStore(t, filepath.Join(r.dir, "blocks"))
	importBytes(t, s, "img", data)
	_, err := s.CreateVolume(ctx, CloneRequest{Name: "v", Image: "img"})
	require.NoError(t, err)
	return s
}

// TestRotUnderThePageCache: the disk has lost a byte, and memory has not. A
// verification and a scrub find it nevertheless.
func TestRotUnderThePageCache(t *testing.T) {
	onRottenDisks(t, func(t *testing.T, disk rottenDisk) {
		data := randomBytes(2*RegionSize + 512)
		s := disk.store(t, data)
		require.True(t, bytes.Equal(data, imageBytes(t, s, "img")))
		disk.rot(data[RegionSize+7*BlockSize:][:BlockSize])
		require.True(t, bytes.Equal(data, imageBytes(t, s, "img")), "the page cache has the good bytes")

		r := scrubbed(t, s)
		require.Equal(t, ScrubDone, r.State)
		require.False(t, r.Cached)
		require.Len(t, r.Findings, 1)
		require.Equal(t, []string{"img"}, r.Findings[0].Images)
		require.EqualValues(t, RegionSize, r.Findings[0].Offset)
		require.Equal(t, []string{"image img", "volume v"}, r.Findings[0].Disks)
		report, err := s.VerifyImage(ctx, "img", nil)
		require.NoError(t, err)
		require.Len(t, report.Bad, 1)
		require.EqualValues(t, RegionSize, report.Bad[0].Offset)
	})
}

// TestScrubGoesOnAfterDamagedMetadata: a record that is damaged is found, and
// keeps the scrub from nothing but what it describes.
func TestScrubGoesOnAfterDamagedMetadata(t *testing.T) {
	s := openStore(t, t.TempDir())
	readersHouse(t, s)
	importBytes(t, s, "sums", randomBytes(RegionSize))
	s.cat.mu.Lock()
	base, child := s.cat.mu.images["base"].lineage.id, s.cat.mu.images["child"]
	own := layerID{child.lineage.id, child.version.number}
	other, sums := s.cat.mu.images["other"].lineage.id, s.cat.mu.images["sums"].lineage.id
	s.cat.mu.Unlock()
	before, err := s.touched(layerID{own.lineage, 1}, 0, 9)
	require.NoError(t, err)
	require.Equal(t, []uint32{1}, before)
	damage := func(key []byte) { require.NoError(t, s.db.Set(key, []byte{0xff}, pebble.Sync)) }
	damage(versionKey(prefixHash, layerID{base, 1}, 2))
	damage(mapKey(other, 0, 1))
	damage(mapKey(own.lineage, 1, 1)) // of the snapshot, which the image stands on
	damage(versionKey(prefixHash, layerID{sums, 1}, regionProgress))
	r := scrubbed(t, s)
	require.Equal(t, ScrubDone, r.State, r.Error)
	type place struct {
		layer  layerID
		offset int64
	}
	found := map[place][]string{}
	for _, f := range r.Findings {
		require.NotEmpty(t, f.Reason)
		var id layerID
		_, err := fmt.Sscanf(f.Layer, "%016x-%08x", &id.lineage, &id.version)
		require.NoError(t, err)
		found[place{id, f.Offset}] = f.Disks
	}
	want := map[place][]string{
		{layerID{base, 1}, 2 * RegionSize}:    {"image base"},
		{layerID{other, 1}, 0}:                {"image other"},
		{layerID{own.lineage, 1}, RegionSize}: {"image child", "snapshot reads/then", "volume reads"},
		{own, RegionSize}:                     {"image child", "volume reads"},
		{layerID{sums, 1}, 0}:                 {"image sums"},
	}
	require.Equal(t, want, found)
	require.EqualValues(t, 3*RegionSize, r.Compared, "two of base, and the last one of it as child has it")
	require.EqualValues(t, 4*RegionSize, r.Done, "and what has lost its sums is read")
}

// TestScrubLetsADeletedImageGo: it reads no more of it, and holds it no longer.
func TestScrubLetsADeletedImageGo(t *testing.T) {
	s, h := openHeld(t, t.TempDir(), 1000)
	defer finish(t, s)
	data := make([]byte, 12*RegionSize)
	for i := range 12 {
		copy(data[i*RegionSize:], block(byte(i+1)))
	}
	importBytes(t, s, "img", data)
	h.let.Store(1)
	_, err := s.StartScrub(ctx)
	require.NoError(t, err)
	<-h.at
	require.NoError(t, s.DeleteImage(ctx, "img", ""))
	close(h.open)
	r := scrubEnds(t, s)
	require.Equal(t, ScrubDone, r.State, r.Error)
	require.LessOrEqual(t, r.Done, int64(3*BlockSize), "what was under way")
	require.Equal(t, r.Done, r.Total)
	require.Empty(t, r.Findings)
}

// TestAScrubThatEndsIsWaitedFor: by who closes the store, although it does not
// run any more.
func TestAScrubThatEndsIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &scrubber{done: make(chan struct{})}
		stopped := false
		go func() {
			c.stop()
			stopped = true
		}()
		synctest.Wait()
		require.False(t, stopped, "it keeps how it has ended")
		close(c.done)
		synctest.Wait()
		require.True(t, stopped)
	})
}
