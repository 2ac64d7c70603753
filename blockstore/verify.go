package blockstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"
)

// VerifyImage reads a golden image from the disk, past the page cache, and
// compares every region with the SHA-256 that was taken when it was sealed.
// For an image that has none yet (a capture), it takes them.
//
// Damage is reported, not an error. Errors: ErrNotFound, ErrInUse, the
// context's, and what kept the data from being read that is no damage.
func (s *Store) VerifyImage(ctx context.Context, name string, progress func(Progress)) (VerifyReport, error) {
	report := VerifyReport{Image: name, Bad: []BadChunk{}}
	release, err := s.begin()
	if err != nil {
		return report, err
	}
	defer release()
	d, err := s.OpenImage(ctx, name)
	if err != nil {
		return report, err
	}
	defer d.Close()
	info, err := s.Image(ctx, name)
	if err != nil {
		return report, err
	}
	sums, err := s.regionSums(d.image)
	if err != nil {
		return report, err
	}
	check := verifier{s: s, view: d.image, known: sums, learn: info.ContentID == "", report: &report, progress: progress}
	if err := check.run(ctx); err != nil {
		return report, err
	}
	if check.learn && len(report.Bad) == 0 {
		return report, s.setContentID(name, info.ID, d.image, check.seen)
	}
	return report, nil
}

// regionSums reads the stored digests of a version.
func (s *Store) regionSums(v *view) (map[uint32][sha256.Size]byte, error) {
	lower, upper := versionSpan(prefixHash, layerID{v.lineage.id, v.version})
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return nil, err
	}
	defer it.Close()
	sums := map[uint32][sha256.Size]byte{}
	for ok := it.First(); ok; ok = it.Next() {
		if len(it.Value()) != sha256.Size {
			return nil, errf(ErrCorrupt, "digest record %x is damaged", it.Key())
		}
		sums[versionRegion(it.Key())] = [sha256.Size]byte(it.Value())
	}
	return sums, it.Error()
}

// setContentID stores the digests of an image that had none.
func (s *Store) setContentID(name, id string, v *view, sums map[uint32][sha256.Size]byte) error {
	c := s.cat
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.mu.images[name]
	if e == nil || e.rec.ID != id || e.lineage != v.lineage || e.rec.Version != v.version || c.reserveLocked("i"+name) != nil {
		return nil // deleted meanwhile, or being so, or another one of that name
	}
	defer c.unreserveLocked("i" + name)
	rec := e.rec
	rec.ContentID = contentID(v.size, sums)

	c.mu.Unlock()
	b := s.db.NewBatch()
	for region, sum := range sums {
		_ = b.Set(versionKey(prefixHash, layerID{v.lineage.id, v.version}, region), sum[:], nil)
	}
	putJSON(b, nameKey(prefixImage, name), rec)
	err := s.commit(b)
	c.mu.Lock()

	if err == nil {
		e.rec = rec
	}
	return err
}

// verifier reads a version region by region.
type verifier struct {
	s        *Store
	view     *view
	known    map[uint32][sha256.Size]byte
	seen     map[uint32][sha256.Size]byte
	learn    bool
	report   *VerifyReport
	progress func(Progress)
}

func (c *verifier) run(ctx context.Context) error {
	c.seen = map[uint32][sha256.Size]byte{}
	buf := alignedBuffer(RegionSize)
	r := reader{s: c.s, base: c.view}
	for off := int64(0); off < c.view.size; {
		if err := cancelled(ctx); err != nil {
			return err
		}
		region := uint32(off >> regionShift)
		n := int(min(RegionSize, c.view.size-off))
		p, err := c.view.page(region)
		if err != nil {
			return err
		}
		if !p.zero() || c.hasSum(region) {
			if err := c.region(region, p, buf[:n], off); err != nil {
				return err
			}
			c.report.Checked += int64(n)
		}
		if off += int64(n); p.zero() && !c.hasSum(region) && off < c.view.size {
			if off, err = r.skip(region, c.view.size); err != nil {
				return err
			}
		}
		if c.progress != nil {
			c.progress(Progress{Stage: "verify", Done: off, Total: c.view.size, Disk: off})
		}
	}
	return nil
}

func (c *verifier) hasSum(region uint32) bool {
	_, ok := c.known[region]
	return ok
}

// region checks or learns one region. An error says that the region could not
// be looked at.
func (c *verifier) region(region uint32, p *page, buf []byte, off int64) error {
	bad := func(reason string) {
		c.report.Bad = append(c.report.Bad, BadChunk{Offset: off, Length: int64(len(buf)), Reason: reason})
	}
	if err := c.readDirect(p, buf, off); err != nil {
		if !isDamage(err) {
			return fmt.Errorf("verify %s at byte %d: %w", c.report.Image, off, err)
		}
		bad(err.Error())
		return nil
	}
	sum := sha256.Sum256(buf)
	if !isZeroLong(buf) {
		c.seen[region] = sum
	}
	if c.learn {
		return nil
	}
	want, ok := c.known[region]
	switch {
	case !ok && isZeroLong(buf): // zeros that were written: no digest is kept of them
	case !ok:
		bad("the map names data that was not there when the image was sealed")
	case sum != want:
		bad(fmt.Sprintf("SHA-256 is %x, was %x when the image was sealed", sum[:8], want[:8]))
	}
	return nil
}

// isDamage tells what a disk answers that has lost data from everything else
// (no memory, no descriptors, no rights), which says nothing of the data. A
// file that is gone is the shortest of short files. The errnos beside EIO are
// what block devices (blk_errors in block/blk-core.c) and file systems with
// checksums answer.
func isDamage(err error) bool {
	for _, e := range []error{io.EOF, io.ErrUnexpectedEOF, fs.ErrNotExist,
		unix.EIO, unix.ENODATA, unix.EILSEQ, unix.EUCLEAN, unix.EBADMSG} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func isZeroLong(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !isZero(b[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// readDirect reads a region past the page cache, so that the disk is checked
// and not memory.
func (c *verifier) readDirect(p *page, buf []byte, off int64) error {
	whole := buf[:(len(buf)+BlockSize-1)&^(BlockSize-1)]
	for block := 0; block < len(whole)>>blockShift; {
		l, end := p.at(block, len(whole)>>blockShift)
		part := whole[block<<blockShift : end<<blockShift]
		if l == nil {
			clear(part)
		} else if err := l.readDirect(part, off+int64(block)<<blockShift); err != nil {
			return err
		}
		block = end
	}
	return nil
}

func (l *layer) readDirect(p []byte, off int64) error {
	s, at := l.segmentAt(off)
	f, err := l.files.fs.OpenDirect(s.path())
	if err != nil {
		return err
	}
	return errors.Join(f.ReadAt(p, at), f.Close())
}

// alignedBuffer returns memory that O_DIRECT accepts.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+BlockSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (BlockSize - 1)
	return b[skip:][:n:n]
}
