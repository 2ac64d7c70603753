package blockstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"unsafe"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"
)

// VerifyImage reads a golden image from the disk, past the page cache, and
// compares every region with the SHA-256 that was taken when it was sealed. Of
// a captured image whose sums the keeper has not taken yet, it takes them; the
// report says how much was compared and how much only learnt.
//
// Damage is reported, not an error. Errors: ErrNotFound, the context's, and
// what kept the data from being read that is no damage.
func (s *Store) VerifyImage(ctx context.Context, name string, progress func(Progress)) (VerifyReport, error) {
	return s.verifyImage(ctx, name, false, progress)
}

// verifyImage is VerifyImage; with raw it stores the SHA-256 of the raw disk too.
func (s *Store) verifyImage(ctx context.Context, name string, raw bool, progress func(Progress)) (VerifyReport, error) {
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
	c := newVerifier(s, d.image, &report)
	defer c.close()
	c.progress = progress
	if raw {
		c.raw = sha256.New()
	}
	complete, err := s.sumsComplete(name)
	if err != nil {
		return report, err
	}
	if !complete {
		release, err := s.keeper.claim(ctx, c.id)
		if err != nil {
			return report, err
		}
		defer release()
		if err := c.learnRest(); err != nil {
			return report, err
		}
	}
	return report, c.run(ctx)
}

// sumsComplete tells that an image has all its sums.
func (s *Store) sumsComplete(name string) (bool, error) {
	s.cat.mu.Lock()
	defer s.cat.mu.Unlock()
	e, err := s.cat.imageLocked(name)
	return err == nil && e.info().ContentID != "", err
}

// sumBatch is how many regions are summed between two commits.
const sumBatch = 16

// verifier reads a version region by region. It compares the regions before
// unknown with their sums, and takes the sums of the others.
type verifier struct {
	s        *Store
	view     *view
	id       layerID
	files    *directFiles
	report   *VerifyReport
	progress func(Progress)
	raw      hash.Hash // of the raw disk; nil: not asked for

	unknown uint32 // the first region without a sum
	learn   bool   // there are such, and nothing was found before them
	batch   *pebble.Batch
	// yield, asked for after each region that was learnt, ends the run early.
	yield func() bool
}

func newVerifier(s *Store, v *view, report *VerifyReport) *verifier {
	return &verifier{s: s, view: v, id: layerID{v.lineage.id, v.version}, files: newDirectFiles(s.fs), report: report, unknown: ^uint32(0)}
}

func (c *verifier) close() {
	c.files.close()
	if c.batch != nil {
		c.batch.Close()
	}
}

// learnRest has the verifier take the sums that are missing. The caller has
// claimed the version.
func (c *verifier) learnRest() (err error) {
	if digests, err := c.s.loadDigests(c.id); err != nil || digests.content != "" {
		return err // the one who had the claim before has done it
	}
	c.unknown, err = c.s.summed(c.id)
	c.learn = !c.s.o.ReadOnly
	return err
}

var errYield = errors.New("somebody else wants to take these checksums")

func (c *verifier) run(ctx context.Context) error {
	err := c.each(ctx)
	c.report.Cached = c.files.cached
	if err != nil {
		return err
	}
	if c.learn {
		if err := c.finishSums(); err != nil {
			return err
		}
	}
	if c.raw != nil && len(c.report.Bad) == 0 {
		return c.putDigest(regionRaw, [sha256.Size]byte(c.raw.Sum(nil)), func(d *digests) *string { return &d.raw })
	}
	return nil
}

func (c *verifier) each(ctx context.Context) error {
	buf := alignedBuffer(RegionSize)
	r := reader{s: c.s, base: c.view}
	off := int64(0)
	if c.yield != nil { // only what is missing
		off = int64(c.unknown) << regionShift
	}
	for off < c.view.size {
		if err := cancelled(ctx); err != nil {
			return err
		}
		if c.yield != nil && !c.learn { // something was found: there is no more to take
			return nil
		}
		region := uint32(off >> regionShift)
		n := min(RegionSize, c.view.size-off)
		p, err := c.view.page(region)
		if err != nil {
			return err
		}
		want, has, err := c.s.sumOf(c.id, region)
		if err != nil {
			return err
		}
		if !p.zero() || has {
			if err := c.region(ctx, region, p, buf[:n], off, want, has); err != nil {
				return err
			}
			off += n
		} else {
			to, err := r.skip(region, c.view.size)
			if err != nil {
				return err
			}
			if err := c.rawZeros(ctx, to-off, off); err != nil {
				return err
			}
			off = to
		}
		c.tell(off)
	}
	return nil
}

func (c *verifier) tell(off int64) {
	if c.progress != nil {
		c.progress(Progress{Stage: "verify", Done: off, Total: c.view.size, Disk: off})
	}
}

// rawZeros adds zeros to the digest of the raw disk.
func (c *verifier) rawZeros(ctx context.Context, n, off int64) error {
	if c.raw == nil {
		return nil
	}
	for done := int64(0); done < n; {
		if done&(1<<28-1) == 0 {
			if err := cancelled(ctx); err != nil {
				return err
			}
			c.tell(off + done)
		}
		step := min(n-done, int64(len(zeros)), 1<<28-done&(1<<28-1))
		c.raw.Write(zeros[:step])
		done += step
	}
	return nil
}

// region compares or learns one region. An error says that the region could
// not be looked at.
func (c *verifier) region(ctx context.Context, region uint32, p *page, buf []byte, off int64, want [sha256.Size]byte, has bool) error {
	bad := func(reason string) {
		c.report.Bad = append(c.report.Bad, BadChunk{Offset: off, Length: int64(len(buf)), Reason: reason})
		c.learn = false // what comes after would have a sum, and this not
	}
	if err := c.s.pacer.spend(ctx, p.dataBytes()); err != nil {
		return err
	}
	c.report.Checked += int64(len(buf))
	if err := c.files.readPage(p, buf, off); err != nil {
		if !isDamage(err) {
			return fmt.Errorf("verify %s at byte %d: %w", c.report.Image, off, err)
		}
		bad(err.Error())
		return nil
	}
	if c.raw != nil {
		c.raw.Write(buf)
	}
	sum := sha256.Sum256(buf)
	if region >= c.unknown {
		if !c.learn {
			return nil
		}
		c.report.Learnt += int64(len(buf))
		return c.learnt(region, sum, isZeroLong(buf))
	}
	c.report.Compared += int64(len(buf))
	switch {
	case !has && isZeroLong(buf): // zeros that were written: no digest is kept of them
	case !has:
		bad("the map names data that was not there when the image was sealed")
	case sum != want:
		bad(mismatch(sum, want))
	}
	return nil
}

// learnt notes the sum of a region.
func (c *verifier) learnt(region uint32, sum [sha256.Size]byte, zero bool) error {
	if c.batch == nil {
		c.batch = c.s.db.NewBatch()
	}
	if !zero {
		if err := c.batch.Set(versionKey(prefixHash, c.id, region), sum[:], nil); err != nil {
			return err
		}
	}
	stop := c.yield != nil && c.yield()
	if !stop && c.batch.Count() < sumBatch {
		return nil
	}
	if err := c.putSums(region + 1); err != nil || !stop {
		return err
	}
	return errYield
}

// putSums commits the sums that were taken, and that they go up to next.
func (c *verifier) putSums(next uint32) error {
	b := c.batch
	c.batch = nil
	if err := putSummed(b, c.id, next); err != nil {
		return errors.Join(err, b.Close())
	}
	return c.s.commit(b)
}

// finishSums commits the last sums and the content id.
func (c *verifier) finishSums() error {
	if c.batch != nil {
		if err := c.putSums(regionsOf(c.view.size)); err != nil {
			return err
		}
	}
	sum, err := c.s.storedContentID(c.view)
	if err != nil {
		return err
	}
	return c.putDigest(regionContentID, sum, func(d *digests) *string { return &d.content })
}

// putDigest stores a digest of the whole version.
func (c *verifier) putDigest(region uint32, sum [sha256.Size]byte, field func(*digests) *string) error {
	b := c.s.db.NewBatch()
	err := b.Set(versionKey(prefixHash, c.id, region), sum[:], nil)
	if region == regionContentID {
		err = errors.Join(err, b.Delete(versionKey(prefixHash, c.id, regionProgress), nil))
	}
	if err != nil {
		return errors.Join(err, b.Close())
	}
	if c.s.o.ReadOnly { // it is known as long as the store is open
		b.Close()
	} else if err := c.s.commit(b); err != nil {
		return err
	}
	c.s.cat.mu.Lock()
	defer c.s.cat.mu.Unlock()
	*field(&c.view.lineage.at(c.id.version).digests) = hex.EncodeToString(sum[:])
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

// readPage reads a region, as its page has it.
func (d *directFiles) readPage(p *page, buf []byte, off int64) error {
	whole := buf[:(len(buf)+BlockSize-1)&^(BlockSize-1)]
	for block := 0; block < len(whole)>>blockShift; {
		l, end := p.at(block, len(whole)>>blockShift)
		part := whole[block<<blockShift : end<<blockShift]
		if l == nil {
			clear(part)
		} else if err := d.read(l, part, off+int64(block)<<blockShift); err != nil {
			return err
		}
		block = end
	}
	return nil
}

// dataBytes is how much of a region is not known to be zero.
func (p *page) dataBytes() (n int64) {
	for block := 0; block < regionBlocks; {
		l, end := p.at(block, regionBlocks)
		if l != nil {
			n += int64(end-block) << blockShift
		}
		block = end
	}
	return n
}

// alignedBuffer returns memory that O_DIRECT accepts.
func alignedBuffer(n int) []byte {
	b := make([]byte, n+BlockSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (BlockSize - 1)
	return b[skip:][:n:n]
}
