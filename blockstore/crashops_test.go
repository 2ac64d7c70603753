package blockstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
)

func (r *crashRun) step() {
	switch n := r.rng.IntN(100); {
	case n < 4:
		r.importImage()
	case n < 12:
		r.clone()
	case n < 50:
		r.write(r.rng, r.volume(), 0, 1)
	case n < 66:
		r.zero(r.rng, r.volume(), 0, 1)
	case n < 76:
		r.flush(r.volume())
	case n < 81:
		r.captureImage(r.volume())
	case n < 84:
		r.growVolume(r.volume())
	case n < 89:
		r.delete()
	case n < 91:
		if v := r.volume(); v != nil {
			r.say("close %s", v.name)
			r.closeVolume(v)
		}
	case n < 96:
		r.stormy(r.volume())
	case n < 98:
		r.s.reclaim.wake()
		runtime.Gosched()
	default:
		if v := r.volume(); v != nil {
			r.compareVolume(v)
		}
	}
}

func (r *crashRun) name(kind string) string {
	r.names++
	return fmt.Sprintf("%s-%d", kind, r.names)
}

// size picks a size in bytes: mostly small, in some seeds of two regions.
func (r *crashRun) size() int {
	switch n := r.rng.IntN(12); {
	case n < 3 && r.large:
		return SectorSize * (1 + r.rng.IntN(36000))
	case n == 3:
		return SectorSize * (1 + r.rng.IntN(4000))
	}
	return SectorSize * (1 + r.rng.IntN(400))
}

// buffer returns memory to read a disk into, until the next call.
func (r *crashRun) buffer(n int64) []byte {
	if int64(len(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	return r.buf[:n]
}

// fill writes contents that are told apart.
func (r *crashRun) fill(p []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := 0; at < len(p); at += SectorSize {
		r.stamp++
		s := p[at:min(at+SectorSize, len(p))]
		if len(s) < 8 {
			for i := range s {
				s[i] = byte(r.stamp) | 1
			}
			continue
		}
		binary.BigEndian.PutUint64(s, r.stamp)
		for i := 8; i < len(s); i *= 2 {
			copy(s[i:], s[:i])
		}
	}
}

// content makes a disk in which much is zero.
func (r *crashRun) content(size int) []byte {
	b := make([]byte, size)
	for range 1 + r.rng.IntN(4) {
		at := r.rng.IntN(size)
		r.fill(b[at:min(size, at+r.rng.IntN(256<<10))])
	}
	return b
}

func (r *crashRun) importImage() {
	if len(r.images) > 4 {
		return
	}
	img := &crashImage{name: r.name("image"), doubt: beingMade, content: r.content(r.size())}
	r.say("import %s, %d bytes", img.name, len(img.content))
	r.images[img.name] = img
	_, err := r.s.ImportImage(ctx, &memorySource{data: img.content}, ImportRequest{Name: img.name})
	if r.check(err, "import") {
		img.doubt = noDoubt
	} else if r.undone(err) {
		delete(r.images, img.name)
	}
}

func (r *crashRun) clone() {
	if len(r.volumes) > 3 {
		return
	}
	name, image, size := r.name("volume"), "", r.size()
	var content []byte
	if images := r.sortedImages(); len(images) > 0 && r.rng.IntN(4) > 0 {
		img := images[r.rng.IntN(len(images))]
		if img.doubt != noDoubt {
			return
		}
		image, content = img.name, bytes.Clone(img.content)
		size = len(content) + r.rng.IntN(2)*size
	}
	v := newCrashVolume(name, append(content, make([]byte, size-len(content))...))
	v.doubt = beingMade
	r.say("create %s of %q, %d bytes", name, image, size)
	r.volumes[name] = v
	_, err := r.s.CreateVolume(ctx, CloneRequest{Name: name, Image: image, Size: int64(size)})
	if r.check(err, "create %s", name) {
		v.doubt = noDoubt
	}
}

// volume picks a volume and opens it.
func (r *crashRun) volume() *crashVolume {
	volumes := r.sortedVolumes()
	if len(volumes) == 0 {
		r.clone()
		if volumes = r.sortedVolumes(); len(volumes) == 0 || r.died() {
			return nil
		}
	}
	v := volumes[r.rng.IntN(len(volumes))]
	if v.doubt != noDoubt {
		return nil
	}
	if v.disk == nil {
		r.reopenVolume(v)
	}
	if v.disk == nil || r.died() {
		return nil
	}
	return v
}

// span picks a range of a part of a disk: often aligned, often small, often
// where others were.
func span(rng *rand.Rand, size int, part, parts int) (off, length int) {
	low := size / parts * part &^ (BlockSize - 1)
	high := size
	if part+1 < parts {
		high = size / parts * (part + 1) &^ (BlockSize - 1)
	}
	if high <= low {
		return 0, 0
	}
	length = 1 + rng.IntN(3*BlockSize)
	switch rng.IntN(24) {
	case 0:
		length = 1 + rng.IntN(2<<20)
	case 1, 2, 3, 4:
		length = 1 + rng.IntN(128<<10)
	}
	length = min(length, high-low)
	off = rng.IntN(high - low - length + 1)
	if rng.IntN(3) > 0 {
		off = rng.IntN(min(high-low-length, 48<<10) + 1)
	}
	off += low
	if rng.IntN(2) == 0 {
		off &^= BlockSize - 1
		length = min(high-off, (length+BlockSize-1)&^(BlockSize-1))
	}
	return off, length
}

// change makes a change of a volume known, does it, and takes the outcome.
func (r *crashRun) change(v *crashVolume, off int, data []byte, fua bool, do func() error) {
	if len(data) == 0 {
		return
	}
	r.begin(v, int64(off), data)
	err := do()
	if r.check(err, "change of %s", v.name) {
		r.ack(v, int64(off), int64(len(data)), fua)
		return
	}
	if err == nil || r.died() || r.storm > 0 {
		return
	}
	r.compareVolume(v) // each block is as before or as written
}

func (r *crashRun) write(rng *rand.Rand, v *crashVolume, part, parts int) {
	if v == nil {
		return
	}
	off, n := span(rng, len(v.content), part, parts)
	data := make([]byte, n)
	r.fill(data)
	fua := rng.IntN(10) == 0
	r.say("write %s %d+%d fua=%v", v.name, off, n, fua)
	r.change(v, off, data, fua, func() error { return v.disk.WriteAt(ctx, data, int64(off), fua) })
}

func (r *crashRun) zero(rng *rand.Rand, v *crashVolume, part, parts int) {
	if v == nil {
		return
	}
	off, n := span(rng, len(v.content), part, parts)
	fua, noHole := rng.IntN(10) == 0, rng.IntN(2) == 0
	if rng.IntN(2) == 0 {
		r.say("write zeroes %s %d+%d nohole=%v fua=%v", v.name, off, n, noHole, fua)
		r.change(v, off, make([]byte, n), fua, func() error {
			return v.disk.WriteZeroes(ctx, int64(off), int64(n), noHole, fua)
		})
		return
	}
	start, end := (off+BlockSize-1)&^(BlockSize-1), off+n
	if end != len(v.content) {
		end &^= BlockSize - 1
	}
	r.say("trim %s %d+%d fua=%v", v.name, off, n, fua)
	r.change(v, start, make([]byte, max(0, end-start)), fua, func() error { return v.disk.Trim(ctx, int64(off), int64(n), fua) })
}

func (r *crashRun) flush(v *crashVolume) {
	if v == nil {
		return
	}
	r.say("flush %s", v.name)
	at := r.now()
	if r.check(v.disk.Flush(ctx), "flush %s", v.name) {
		r.flushed(v, at)
	}
}

func (r *crashRun) captureImage(v *crashVolume) {
	if v == nil || len(r.images) > 5 {
		return
	}
	img := &crashImage{name: r.name("capture"), doubt: beingMade, from: v, at: r.now()}
	r.say("capture %s of %s", img.name, v.name)
	r.images[img.name] = img
	_, err := r.s.CaptureImage(ctx, v.name, ImportRequest{Name: img.name})
	r.capture(img, v, img.at)
	switch {
	case r.check(err, "capture %s", v.name):
		img.doubt, img.from = noDoubt, nil
		r.flushed(v, img.at)
		r.compareImage(img)
	case r.undone(err):
		delete(r.images, img.name)
	}
}

func (r *crashRun) growVolume(v *crashVolume) {
	if v == nil || len(v.content) > 20<<20 || v.larger != 0 { // it may have grown
		return
	}
	v.larger = int64(len(v.content) + r.size())
	r.say("grow %s to %d", v.name, v.larger)
	_, err := r.s.GrowVolume(ctx, v.name, v.larger)
	if r.check(err, "grow %s", v.name) {
		v.grow(v.larger)
	} else if r.undone(err) {
		r.compareVolume(v) // it may have grown
	}
}

func (r *crashRun) delete() {
	if volumes := r.sortedVolumes(); len(volumes) > 0 && r.rng.IntN(2) == 0 {
		r.deleteVolume(volumes[r.rng.IntN(len(volumes))])
	} else if images := r.sortedImages(); len(images) > 0 {
		r.deleteImage(images[r.rng.IntN(len(images))])
	}
}

func (r *crashRun) deleteVolume(v *crashVolume) {
	if v.doubt != noDoubt {
		return
	}
	r.say("delete %s", v.name)
	r.closeVolume(v)
	if r.died() || r.failed != nil {
		return
	}
	v.doubt = beingDeleted
	err := r.s.DeleteVolume(ctx, v.name, "")
	if r.check(err, "delete %s", v.name) {
		delete(r.volumes, v.name)
	} else if r.undone(err) {
		v.doubt = noDoubt
	}
}

func (r *crashRun) deleteImage(img *crashImage) {
	if img.doubt != noDoubt {
		return
	}
	r.say("delete %s", img.name)
	img.doubt = beingDeleted
	err := r.s.DeleteImage(ctx, img.name, "")
	if r.check(err, "delete %s", img.name) {
		delete(r.images, img.name)
	} else if r.undone(err) {
		img.doubt = noDoubt
	}
}

// stormy has several writers at work on parts of a volume that do not meet,
// while it is flushed or captured.
func (r *crashRun) stormy(v *crashVolume) {
	const writers = 3
	if v == nil || len(v.content) < 8*writers*BlockSize {
		return
	}
	r.mu.Lock()
	r.storm++
	r.mu.Unlock()
	var wg sync.WaitGroup
	for w := range writers {
		rng := rand.New(rand.NewPCG(r.rng.Uint64(), uint64(w)))
		wg.Go(func() {
			for steps := 1 + rng.IntN(6); steps > 0 && !r.died() && !r.disk.faulty(); steps-- {
				switch rng.IntN(8) {
				case 0, 1:
					r.zero(rng, v, w, writers)
				case 2:
					r.flush(v)
				default:
					r.write(rng, v, w, writers)
				}
			}
		})
	}
	switch r.rng.IntN(3) {
	case 0:
		r.flush(v)
	case 1:
		r.captureImage(v)
	}
	wg.Wait()
	r.calm()
	if r.failed == nil && !r.died() {
		r.compareVolume(v)
	}
}
