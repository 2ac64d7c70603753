package blockstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/errgroup"
)

const (
	// minHole is the shortest run of zero blocks that is left out of an
	// image: shorter ones cost more in the map than they save on the disk.
	minHole = 64 << 10

	// inlineDigest is the largest disk whose SHA-256 is made at import:
	// zeros cannot be passed over.
	inlineDigest = 1 << 40

	// importBuffers of one region each are in flight.
	importBuffers = 4

	// importBatch bounds the map records that are written at a time, in bytes.
	importBatch = 2 << 20
)

// ImportImage makes a golden image of what src reads, and seals it. Zeros are
// found and take no room. Until it returns, nothing is visible; a failed,
// cancelled or killed import gives its room back. src is not closed.
//
// Errors: ErrExists, ErrInvalid (name; a size that is no multiple of 512),
// ErrNoSpace, the context's, and those of src.
func (s *Store) ImportImage(ctx context.Context, src Source, req ImportRequest) (ImageInfo, error) {
	var info ImageInfo
	if err := checkName("a golden image", req.Name); err != nil {
		return info, err
	}
	if size := src.Size(); size >= 0 {
		if err := checkSize(size); err != nil {
			return info, err
		}
	}
	end, done, err := s.reserveImage(req, &info)
	if done || err != nil {
		return info, err
	}
	defer end()
	if err := s.space.admit("golden image"); err != nil {
		return info, err
	}
	im, err := s.beginImport(src, req)
	if err != nil {
		return info, err
	}
	if err := im.run(ctx); err != nil {
		return info, errors.Join(err, im.abandon())
	}
	return im.finish()
}

// importer makes one image.
type importer struct {
	s       *Store
	src     Source
	req     ImportRequest
	lineage *lineage
	layer   *layer

	size      atomic.Int64                 // bytes of the disk so far
	allocated int64                        // bytes stored
	sums      map[uint32][sha256.Size]byte // of regions that are not all zero
	batch     *pebble.Batch                // map records
	raw       hash.Hash                    // nil for disks too large
}

// chunk is one region on its way into the image.
type chunk struct {
	region uint32
	data   []byte // whole blocks; nil if all zero
	length int    // bytes of the disk

	buf   []byte
	users atomic.Int32
}

// release gives the buffer back with the last user.
func (ck *chunk) release(free chan<- []byte) {
	if ck.users.Add(-1) == 0 {
		free <- ck.buf // has room for all
	}
}

// beginImport records durably that there will be data without a name.
func (s *Store) beginImport(src Source, req ImportRequest) (*importer, error) {
	c := s.cat
	c.mu.Lock()
	l := c.addLineageLocked(nil, nil, 0, lineageImporting)
	c.mu.Unlock()
	b := s.db.NewBatch()
	putLineage(b, l)
	if err := s.commit(b); err != nil {
		c.mu.Lock()
		c.dropLineageLocked(l)
		c.mu.Unlock()
		return nil, err
	}
	im := &importer{s: s, src: src, req: req, lineage: l, layer: s.layer(layerID{l.id, 1}), sums: map[uint32][sha256.Size]byte{}, batch: s.db.NewBatch()}
	if src.Size() <= inlineDigest {
		im.raw = sha256.New()
	}
	return im, nil
}

// abandon dooms what was written.
func (im *importer) abandon() error {
	im.batch.Close()
	if err := im.s.usable(); err != nil {
		return err // the commit may have made the image: keep its data
	}
	d := doom{s: im.s}
	im.s.cat.mu.Lock()
	d.addLocked(im.lineage, im.lineage.tip())
	im.s.cat.mu.Unlock()
	// If this fails, the next open dooms it.
	return d.commit("", "", "", func(*pebble.Batch) {}, func() {})
}

// run reads the source and stores it: one goroutine reads, one makes the
// digest of the raw disk, one finds zeros, digests regions and writes.
func (im *importer) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	free := im.buffers()
	toDigest, toStore := make(chan *chunk, importBuffers), make(chan *chunk, importBuffers)
	g.Go(func() error {
		defer close(toDigest)
		defer close(toStore)
		return im.read(ctx, free, toDigest, toStore)
	})
	g.Go(func() error {
		for ck := range toDigest {
			im.digest(ck)
			ck.release(free)
		}
		return nil
	})
	g.Go(func() error {
		for ck := range toStore {
			if err := im.store(ctx, ck); err != nil {
				return err
			}
			ck.release(free)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	size := im.size.Load()
	if want := im.src.Size(); want >= 0 && size != want {
		return errf(ErrInvalid, "the image ended after %d of %d bytes: it is cut short", size, want)
	}
	return checkSize(size)
}

// buffers returns the memory that the import works in: no more than the disk
// can fill.
func (im *importer) buffers() chan []byte {
	n, size := importBuffers, int64(RegionSize)
	if disk := im.src.Size(); disk >= 0 {
		n = min(n, int(regionsOf(disk)))
		size = min(size, blocksOf(disk)<<blockShift)
	}
	free := make(chan []byte, n)
	for range n {
		free <- make([]byte, size)
	}
	return free
}

// read cuts the source into regions.
func (im *importer) read(ctx context.Context, free chan []byte, out ...chan *chunk) error {
	for region := uint32(0); ; region++ {
		var buf []byte
		select {
		case buf = <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		ck, last, err := im.readRegion(ctx, region, buf)
		if err != nil {
			return err
		}
		ck.users.Store(int32(len(out)))
		for _, ch := range out {
			select {
			case ch <- ck:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if im.size.Add(int64(ck.length)) > MaxSize {
			return errf(ErrInvalid, "the disk is larger than %d bytes (1 PiB)", int64(MaxSize))
		}
		im.progress("read")
		if last {
			return nil
		}
	}
}

// readStep is what is asked of the source at a time, in bytes.
const readStep = 1 << 20

// readRegion reads the next region into buf. Parts known to be zero are only
// cleared once something else is read.
func (im *importer) readRegion(ctx context.Context, region uint32, buf []byte) (ck *chunk, last bool, err error) {
	ck = &chunk{region: region, buf: buf}
	for ck.length < len(buf) && !last {
		if err := cancelled(ctx); err != nil {
			return nil, false, err
		}
		part := buf[ck.length:min(ck.length+readStep, len(buf))]
		n, zero, err := im.src.Next(ctx, part)
		if err == io.EOF {
			last = true
			break
		}
		if err != nil {
			return nil, false, err
		}
		if n <= 0 || n > len(part) {
			return nil, false, fmt.Errorf("the reader of the image returned %d bytes of %d", n, len(part))
		}
		if zero && ck.data != nil {
			clear(part[:n])
		}
		if !zero && ck.data == nil {
			clear(buf[:ck.length])
			ck.data = buf
		}
		ck.length += n
	}
	if ck.data != nil {
		whole := (ck.length + BlockSize - 1) &^ (BlockSize - 1)
		clear(buf[ck.length:whole])
		ck.data = buf[:whole]
	}
	return ck, last, nil
}

func (im *importer) progress(stage string) {
	if im.req.Progress == nil {
		return
	}
	done, total := im.src.Consumed()
	im.req.Progress(Progress{Stage: stage, Done: done, Total: total, Disk: im.size.Load()})
}

// digest adds a region to the digest of the raw disk.
func (im *importer) digest(ck *chunk) {
	if im.raw == nil {
		return
	}
	if ck.data != nil {
		im.raw.Write(ck.data[:ck.length])
		return
	}
	for n := ck.length; n > 0; n -= min(n, len(zeros)) {
		im.raw.Write(zeros[:min(n, len(zeros))])
	}
}

// store writes a region's data, its digest and its map record.
func (im *importer) store(ctx context.Context, ck *chunk) error {
	if ck.data == nil {
		return nil
	}
	runs := dataRuns(ck.data)
	if len(runs) == 0 {
		return nil
	}
	if err := im.s.pacer.spend(ctx, runBytes(runs)); err != nil {
		return err
	}
	c := newComposer()
	defer c.release()
	self, err := c.source(im.layer.id)
	if err != nil {
		return err
	}
	c.full = true
	off := int64(ck.region) << regionShift
	for _, r := range runs {
		n := int64(r.end - r.start)
		if err := im.s.space.takeImport(n); err != nil {
			return err
		}
		err := im.layer.write(ck.data[r.start:r.end], off+int64(r.start))
		im.s.space.gave(n)
		if err != nil {
			return im.explain(err)
		}
		c.fill(r.start>>blockShift, r.end>>blockShift, self)
		im.allocated += int64(r.end - r.start)
	}
	for i, src := range c.cells {
		if src == sourceUnset {
			c.cells[i] = sourceZero
		}
	}
	sum := sha256.Sum256(ck.data[:ck.length])
	im.sums[ck.region] = sum
	id := im.layer.id
	err = errors.Join(
		im.startWriteback(off),
		im.batch.Merge(mapKey(id.lineage, ck.region, id.version), c.encode(), nil),
		im.batch.Set(versionKey(prefixTouched, id, ck.region), nil, nil),
		im.batch.Set(versionKey(prefixHash, id, ck.region), sum[:], nil))
	if err != nil || im.batch.Len() < importBatch {
		return err
	}
	return im.writeRecords()
}

// writeRecords writes map records ahead of the commit that gives them a name.
func (im *importer) writeRecords() error {
	b := im.batch
	im.batch = im.s.db.NewBatch()
	return im.s.commit(b)
}

// startWriteback has the kernel write a region now, so that the sync at the
// end finds little to do and the page cache of others stays.
func (im *importer) startWriteback(off int64) error {
	return im.layer.with(off, func(f file, at int64) error { return f.StartWriteback(at, RegionSize) })
}

func (im *importer) explain(err error) error {
	if errors.Is(err, ErrNoSpace) {
		return errf(ErrNoSpace, "no space left for the image in %s: free space or add a disk; nothing was imported", im.s.dir)
	}
	return err
}

// byteRun is a run of whole blocks in a region.
type byteRun struct{ start, end int }

// dataRuns finds what of whole blocks must be stored: all but zero runs of at
// least minHole bytes.
func dataRuns(data []byte) []byteRun {
	var runs []byteRun
	for at := 0; at < len(data); {
		if isZero(data[at : at+BlockSize]) {
			at += BlockSize
			continue
		}
		start := at
		for at < len(data) && !isZero(data[at:at+BlockSize]) {
			at += BlockSize
		}
		if n := len(runs); n > 0 && start-runs[n-1].end < minHole {
			runs[n-1].end = at
		} else {
			runs = append(runs, byteRun{start, at})
		}
	}
	return runs
}

func runBytes(runs []byteRun) (n int64) {
	for _, r := range runs {
		n += int64(r.end - r.start)
	}
	return n
}

func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

// finish makes the data durable and then, in one commit, the image.
func (im *importer) finish() (ImageInfo, error) {
	fail := func(err error) (ImageInfo, error) {
		return ImageInfo{}, errors.Join(im.explain(err), im.abandon())
	}
	im.progress("sync")
	pins, err := im.layer.takeUnsynced()
	if err == nil {
		err = syncPins(pins)
	}
	if err != nil {
		return fail(fmt.Errorf("sync of the image's data: %w", err))
	}
	im.progress("seal")
	size, c := im.size.Load(), im.s.cat
	e := &imageEntry{name: im.req.Name, lineage: im.lineage, rec: imageRecord{
		ID: newID(), Lineage: im.lineage.id, Version: 1, Size: size, Created: time.Now().UTC(),
		ContentID: contentID(size, im.sums), Format: im.src.Format(), Allocated: im.allocated, Owner: im.req.Owner,
	}}
	if im.raw != nil && size <= inlineDigest {
		e.rec.SHA256 = hex.EncodeToString(im.raw.Sum(nil))
	}
	rec, sealed := im.lineage.rec, versionRecord{Size: size}
	rec.State = lineageLive
	info := ImageInfo{Name: e.name, ID: e.rec.ID, Size: size, Created: e.rec.Created, ContentID: e.rec.ContentID,
		SHA256: e.rec.SHA256, Format: e.rec.Format, Allocated: e.rec.Allocated, Owner: e.rec.Owner}
	putJSON(im.batch, nameKey(prefixImage, e.name), e.rec)
	putJSON(im.batch, lineageKey(prefixLineage, im.lineage.id), rec)
	putJSON(im.batch, entryKey(im.layer.id), sealed)
	putRequest(im.batch, im.req.RequestID, "image", e.name, info)
	if err := im.writeRecords(); err != nil {
		return fail(err)
	}
	im.layer.sealed.Store(true)
	if err := im.s.files.forget(im.layer); err != nil { // opened read-only from now on
		im.s.o.Logger.Debug("image's files stay open for write", "err", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	im.lineage.rec = rec
	e.version = im.lineage.tip()
	e.version.rec = sealed
	e.version.names++
	c.mu.images[e.name] = e
	return info, nil
}

// contentID works out the content id of a disk; sums has its regions that are
// not all zero.
func contentID(size int64, sums map[uint32][sha256.Size]byte) string {
	h := newContentHash(size)
	for region := range regionsOf(size) {
		if sum, ok := sums[region]; ok {
			addRegion(h, region, sum[:])
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
