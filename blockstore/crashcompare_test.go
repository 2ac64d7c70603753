package blockstore

import (
	"errors"
	"maps"
	"slices"
	"strings"
)

// compareNames finds out what became of names in doubt.
func (r *crashRun) compareNames() {
	have := map[string]bool{}
	images, err1 := r.s.Images(ctx)
	r.disk.pause(true)
	volumes, err2 := r.s.Volumes(ctx)
	r.disk.pause(false)
	if err := errors.Join(err1, err2); err != nil {
		r.fail("list: %w", err)
		return
	}
	for _, i := range images {
		have[i.Name] = true
	}
	for _, v := range volumes {
		have[v.Name] = true
	}
	if r.died() {
		return // what is listed may be younger than the crash
	}
	for _, v := range r.sortedVolumes() {
		if !r.settleName(have, v.name, &v.doubt) {
			delete(r.volumes, v.name)
		}
	}
	for _, img := range r.sortedImages() {
		if !r.settleName(have, img.name, &img.doubt) {
			delete(r.images, img.name)
		} else if img.from != nil {
			img.from.flushedAt(img.at) // one commit made both durable
		}
		img.from = nil
	}
	for name := range have {
		r.fail("%s was deleted, or never made", name)
	}
}

func (r *crashRun) settleName(have map[string]bool, name string, d *doubt) bool {
	if !have[name] && *d == noDoubt {
		r.fail("%s is gone", name)
	}
	there := have[name]
	delete(have, name)
	*d = noDoubt
	return there
}

// reopenVolume opens a volume, which recovers it, and compares it.
func (r *crashRun) reopenVolume(v *crashVolume) {
	d, err := r.s.OpenVolume(ctx, v.name)
	if r.died() {
		return
	}
	if err != nil && (r.unsure() || r.disk.faulty()) {
		r.say("  %v", err)
		if errors.Is(err, ErrFailed) {
			r.uncertain.Store(true)
		}
		return
	}
	if err != nil {
		r.fail("open %s: %w", v.name, err)
		return
	}
	v.disk = d
	if r.acceptLoss(v) {
		r.compareVolume(v)
	}
}

func (r *crashRun) compareVolume(v *crashVolume) {
	got := r.buffer(v.disk.Size())
	r.disk.pause(true)
	err := v.disk.ReadAt(ctx, got, 0)
	info, infoErr := r.s.Volume(ctx, v.name)
	r.disk.pause(false)
	if r.died() || r.unsure() && errors.Is(err, ErrFailed) {
		return
	}
	if err := errors.Join(err, infoErr); err != nil {
		r.fail("read %s: %w", v.name, err)
		return
	}
	powerLoss, larger := v.powerLoss, v.larger
	lost, err := r.settle(v, got, r.unsure(), v.newlyAccepted(info.Failure))
	if err != nil {
		r.fail("%w", err)
	}
	if r.noMetadata && int64(len(got)) != larger {
		v.larger = larger // what memory says may not be what the disk says
	}
	if info.Epoch < v.epoch || lost && powerLoss && info.Epoch == v.epoch {
		r.fail("%s: acknowledged writes are lost, and its epoch went from %d to %d", v.name, v.epoch, info.Epoch)
	}
	v.epoch = info.Epoch
}

func (r *crashRun) compareImage(img *crashImage) {
	d, err := r.s.OpenImage(ctx, img.name)
	if err != nil {
		r.fail("open image %s: %w", img.name, err)
		return
	}
	defer d.Close()
	got := r.buffer(d.Size())
	r.disk.pause(true)
	err = d.ReadAt(ctx, got, 0)
	r.disk.pause(false)
	if err != nil {
		r.fail("read image %s: %w", img.name, err)
		return
	}
	if r.died() {
		return
	}
	if err := r.settleImage(img, got); err != nil {
		r.fail("%w", err)
	}
}

func (r *crashRun) sortedVolumes() []*crashVolume {
	return slices.SortedFunc(maps.Values(r.volumes), func(a, b *crashVolume) int { return strings.Compare(a.name, b.name) })
}

func (r *crashRun) sortedImages() []*crashImage {
	return slices.SortedFunc(maps.Values(r.images), func(a, b *crashImage) int { return strings.Compare(a.name, b.name) })
}
