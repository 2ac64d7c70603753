package blockstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// RepairReport is the outcome of RepairImage.
type RepairReport struct {
	Image string `json:"image"`
	// Checked bytes of the image were compared with its checksums first.
	Checked int64 `json:"checked"`
	// Repaired were damaged, were written anew and read back from the disk.
	// Unrepaired are still damaged; each has the reason why.
	Repaired   []BadChunk `json:"repaired"`
	Unrepaired []BadChunk `json:"unrepaired"`
	// Cached says that the file system refuses to be read past the page cache,
	// so that memory may have been checked in the place of the disk.
	Cached bool `json:"cached,omitempty"`
}

// RepairImage finds what of an image is damaged, and writes it anew from a
// source, region by region: only what has the checksum that was taken when the
// image was sealed, whatever else the source holds, and of that only the blocks
// in which the disk has something else. It is synced, and read back from the
// disk. All that share this data have it back. A source that is not needed is not
// read; it is not closed.
//
// Nothing is written where a data file is gone or cut short: others may read
// what else was in it, and would find zeros. Nor where another image has the right
// checksum with a block as it stands: then the map is what is wrong.
//
// Errors: ErrNotFound, ErrInvalid (a source of another size; an image that has
// no checksums yet), ErrFailed (the disk takes nothing), the context's, and
// those of src. What was repaired before stays so.
func (s *Store) RepairImage(ctx context.Context, name string, src Source, progress func(Progress)) (RepairReport, error) {
	report := RepairReport{Image: name, Repaired: []BadChunk{}, Unrepaired: []BadChunk{}}
	release, err := s.begin()
	if err != nil {
		return report, err
	}
	defer release()
	if s.o.ReadOnly {
		return report, s.usable()
	}
	d, err := s.OpenImage(ctx, name)
	if err != nil {
		return report, err
	}
	defer d.Close()
	if complete, err := s.sumsComplete(name); err != nil {
		return report, err
	} else if !complete {
		return report, errf(ErrInvalid, "golden image %q has no checksums yet, and nothing else could tell what is right: they are being taken in the background", name)
	}
	if size := src.Size(); size >= 0 && size != d.image.size {
		return report, errf(ErrInvalid, "the source has %d bytes and golden image %q has %d: it is another image", size, name, d.image.size)
	}
	var found VerifyReport
	c := newVerifier(s, d.image, &found)
	defer c.close()
	c.progress = progress
	if err := c.run(ctx); err != nil {
		return report, err
	}
	report.Checked, report.Cached = found.Checked, found.Cached
	r := repairer{verifier: c, src: src, progress: progress, out: &report, bad: found.Bad, disk: alignedBuffer(RegionSize)}
	return report, r.run(ctx)
}

// repairer writes damaged regions anew.
type repairer struct {
	*verifier
	src      Source
	progress func(Progress)
	out      *RepairReport
	bad      []BadChunk // what is left to repair, by offset
	read     int64      // bytes of the source's disk
	disk     []byte     // what the disk has of a region
}

func (r *repairer) run(ctx context.Context) error {
	buf := alignedBuffer(RegionSize)
	for len(r.bad) > 0 {
		n, err := r.next(ctx, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			r.rest("the source ends before it")
			return nil
		}
		off := r.read - int64(n)
		if off != r.bad[0].Offset {
			continue
		}
		chunk := r.bad[0]
		if chunk.Reason, err = r.region(ctx, buf, n, off); err != nil {
			return err
		}
		if chunk.Reason == "" {
			chunk.Reason = r.bad[0].Reason
			r.out.Repaired = append(r.out.Repaired, chunk)
			r.s.o.Logger.Info("part of an image repaired", "image", r.out.Image, "offset", off, "was", chunk.Reason)
		} else {
			r.out.Unrepaired = append(r.out.Unrepaired, chunk)
		}
		r.bad = r.bad[1:]
	}
	return nil
}

// rest gives up all that is left.
func (r *repairer) rest(reason string) {
	for _, chunk := range r.bad {
		chunk.Reason = reason
		r.out.Unrepaired = append(r.out.Unrepaired, chunk)
	}
	r.bad = nil
}

// next reads the next region of the source; 0: there is none.
func (r *repairer) next(ctx context.Context, buf []byte) (n int, err error) {
	for n < len(buf) {
		if err := cancelled(ctx); err != nil {
			return 0, err
		}
		part := buf[n:min(n+readStep, len(buf))]
		got, zero, err := r.src.Next(ctx, part)
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, err
		}
		if got <= 0 || got > len(part) {
			return 0, fmt.Errorf("the reader of the source returned %d bytes of %d", got, len(part))
		}
		if zero {
			clear(part[:got])
		}
		n += got
	}
	r.read += int64(n)
	if r.progress != nil {
		done, total := r.src.Consumed()
		r.progress(Progress{Stage: "repair", Done: done, Total: total, Disk: r.read})
	}
	return n, nil
}

// region writes what differs of one region anew if the source has the right one,
// and reads it back. It returns why that was not done, or not to any avail.
func (r *repairer) region(ctx context.Context, buf []byte, n int, off int64) (why string, err error) {
	region := uint32(off >> regionShift)
	want, has, err := r.s.sumOf(r.id, region)
	if err != nil {
		return "", err
	}
	length := int(min(RegionSize, r.view.size-off))
	switch {
	case !has:
		return "the map names data that was not there when the image was sealed: the metadata is damaged, see goldstream check", nil
	case n != length || sha256.Sum256(buf[:n]) != want:
		return "the source holds something else there: its checksum is not the image's", nil
	}
	p, err := r.view.page(region)
	if err != nil {
		return "", err
	}
	whole := buf[:(n+BlockSize-1)&^(BlockSize-1)]
	clear(whole[n:])
	if err := r.s.pacer.spend(ctx, p.dataBytes()); err != nil {
		return "", err
	}
	differ, why, err := r.compare(p, whole, off)
	if why != "" || err != nil {
		return why, err
	}
	if why, err := r.neededAsItIs(ctx, p, region, differ); why != "" || err != nil {
		return why, err
	}
	if why, err := r.write(p, differ, whole, off); why != "" || err != nil {
		return why, err
	}
	if err := r.files.readPage(p, buf[:n], off); err != nil {
		if isDamage(err) {
			return "written, but it cannot be read back: " + err.Error(), nil
		}
		return "", err
	}
	if sha256.Sum256(buf[:n]) != want {
		return "written, but the disk gives back something else", nil
	}
	return "", nil
}

// write writes the blocks of a region that differ where its page has them, and
// syncs that.
func (r *repairer) write(p *page, differ *blockSet, whole []byte, off int64) (why string, err error) {
	files := map[string]file{}
	defer func() {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
	}()
	for block := 0; block < len(whole)>>blockShift; {
		l, end := p.at(block, len(whole)>>blockShift)
		if block, end = differ.next(block, end); block < end {
			part := whole[block<<blockShift : end<<blockShift]
			if why, err := r.writePiece(files, l, part, off+int64(block)<<blockShift); why != "" || err != nil {
				return why, err
			}
		}
		block = end
	}
	for _, f := range files {
		if err := f.Datasync(); err != nil { // a second one would lie
			return "", errf(ErrFailed, "repair of golden image %q: the disk did not take what was written: %v; replace it before you try again", r.out.Image, err)
		}
	}
	return "", nil
}

func (r *repairer) writePiece(files map[string]file, l *layer, part []byte, off int64) (why string, err error) {
	seg, at := l.segmentAt(off)
	f := files[seg.path()]
	if f == nil {
		if f, err = r.s.fs.Open(seg.path(), true); err == nil {
			files[seg.path()] = f
			var size int64
			if size, err = f.Size(); err == nil && size != segmentSize {
				return fmt.Sprintf("data file %s is cut short; put it back from a copy", seg.path()), nil
			}
		}
		if isDamage(err) {
			return fmt.Sprintf("data file %s cannot be opened (%v); put it back from a copy", seg.path(), err), nil
		}
		if err != nil {
			return "", err
		}
	}
	if err := f.WriteAt(part, at); err != nil {
		if isFull(err) {
			return "", errf(ErrNoSpace, "no space left to repair golden image %q: free some", r.out.Image)
		}
		return fmt.Sprintf("the disk does not take it: %v", err), nil
	}
	return "", nil
}
