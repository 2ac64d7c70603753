package blockstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
)

// compare finds the blocks of a region in which the disk has something else than
// whole, or nothing at all. It returns why the region cannot be mended by writing.
func (r *repairer) compare(p *page, whole []byte, off int64) (differ *blockSet, why string, err error) {
	differ = new(blockSet)
	for block := 0; block < len(whole)>>blockShift; {
		l, end := p.at(block, len(whole)>>blockShift)
		if l == nil {
			if !isZeroLong(whole[block<<blockShift : end<<blockShift]) {
				return nil, "the map names zeros where the image had data when it was sealed: the metadata is damaged, see goldstream check", nil
			}
		} else if err := r.comparePiece(l, whole, block, end, off, differ); err != nil {
			return nil, "", err
		}
		block = end
	}
	return differ, "", nil
}

// comparePiece compares blocks that are in one layer. What cannot be read as a
// whole is read block by block.
func (r *repairer) comparePiece(l *layer, whole []byte, block, end int, off int64, differ *blockSet) error {
	at := func(b []byte, block, end int) []byte { return b[block<<blockShift : end<<blockShift] }
	step := end - block
	for block < end {
		to := min(block+step, end)
		err := r.files.read(l, at(r.disk, block, to), off+int64(block)<<blockShift)
		switch {
		case err != nil && !isDamage(err):
			return err
		case err != nil && step > 1:
			step = 1
			continue
		case err != nil:
			differ.add(block)
		default:
			for b := block; b < to; b++ {
				if !bytes.Equal(at(r.disk, b, b+1), at(whole, b, b+1)) {
					differ.add(b)
				}
			}
		}
		block = to
	}
	return nil
}

// neededAsItIs names another version, if there is one, whose checksum is right
// with a block as it stands that would be changed.
func (r *repairer) neededAsItIs(ctx context.Context, p *page, region uint32, differ *blockSet) (why string, err error) {
	for _, id := range r.s.cat.sealed() {
		if err := cancelled(ctx); err != nil {
			return "", err
		}
		if id == r.id {
			continue
		}
		needs, err := r.needs(ctx, id, p, region, differ)
		if err != nil {
			return "", err
		}
		if needs {
			name := "layer " + layerDir(id)
			if images := r.s.cat.imagesOf(id); len(images) > 0 {
				name = fmt.Sprintf("golden image %q", images[0])
			}
			return fmt.Sprintf("%s reads the same blocks, and by its checksum they are right as they are: the metadata is damaged, see goldstream check", name), nil
		}
	}
	return "", nil
}

// needs tells that a version reads one of the blocks where p has it, and has the
// right checksum with it.
func (r *repairer) needs(ctx context.Context, id layerID, p *page, region uint32, differ *blockSet) (bool, error) {
	want, has, err := r.s.sumOf(id, region)
	if !has || err != nil {
		return false, notCorrupt(err) // that is found when it is verified itself
	}
	d := r.s.holdSealed(id, "repair of golden image "+r.out.Image)
	if d == nil {
		return false, nil
	}
	defer d.Close()
	off := int64(region) << regionShift
	c := newComposer()
	defer c.release()
	if _, err := r.s.compose(c, d.image.lineage, region, id.version); err != nil || off >= d.image.size {
		return false, notCorrupt(err)
	}
	theirs := newPage(c, 0, r.s.sealedLayer)
	if !alike(p, theirs, differ) {
		return false, nil
	}
	if err := r.s.pacer.spend(ctx, theirs.dataBytes()); err != nil {
		return false, err
	}
	buf := r.disk[:min(RegionSize, d.image.size-off)]
	if err := r.files.readPage(theirs, buf, off); err != nil {
		if isDamage(err) {
			err = nil
		}
		return false, err
	}
	return sha256.Sum256(buf) == want, nil
}

// alike tells that two pages have one of the blocks in the same place.
func alike(a, b *page, blocks *blockSet) bool {
	for block := 0; block < regionBlocks; {
		ours, end := a.at(block, regionBlocks)
		theirs, end := b.at(block, end)
		if ours != nil && theirs != nil && ours.id == theirs.id && blocks.any(block, end) {
			return true
		}
		block = end
	}
	return false
}

func notCorrupt(err error) error {
	if errors.Is(err, ErrCorrupt) {
		return nil
	}
	return err
}
