package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"goldstream/blockstore"

	"github.com/cockroachdb/pebble/v2"
)

// fixture makes the images that the lines look at: a small one, one of 64 TiB,
// one with a million extents and one with a thousand snapshots below it.
func (b *bars) fixture(ctx context.Context) error {
	if err := b.cloneImages(ctx, b.s); err != nil {
		return err
	}
	if err := b.fragmented(ctx, "fragmented", "many"); err != nil {
		return err
	}
	return b.deep(ctx, "deep", b.rounds(1000, 50))
}

// fragmented makes a volume with many extents and captures it as an image.
func (b *bars) fragmented(ctx context.Context, volume, image string) error {
	if _, err := b.s.CreateVolume(ctx, blockstore.CloneRequest{Name: volume, Size: int64(b.extents) * extentStride}); err != nil {
		return err
	}
	d, err := b.s.OpenVolume(ctx, volume)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := b.scatter(ctx, d, 1); err != nil {
		return err
	}
	_, err = b.s.CaptureImage(ctx, volume, blockstore.ImportRequest{Name: image})
	return err
}

// scatter writes each extent of the fixture.
func (b *bars) scatter(ctx context.Context, d *blockstore.Disk, seed uint64) error {
	p := make([]byte, blockstore.BlockSize)
	for i := range b.extents {
		pattern(p[:16], seed+uint64(i))
		if err := d.WriteAt(ctx, p, extentOffset(i), false); err != nil {
			return err
		}
	}
	return d.Flush(ctx)
}

// extentOffset is where an extent of the fixture stands: not always at the same
// place of its MiB, which would have all of them meet in few cache sets.
func extentOffset(i int) int64 {
	return int64(i)*extentStride + int64(i*7%256)*blockstore.BlockSize
}

// deep makes a volume with many snapshots and captures it.
func (b *bars) deep(ctx context.Context, name string, snapshots int) error {
	if _, err := b.s.CreateVolume(ctx, blockstore.CloneRequest{Name: name, Image: "small"}); err != nil {
		return err
	}
	d, err := b.s.OpenVolume(ctx, name)
	if err != nil {
		return err
	}
	defer d.Close()
	p := make([]byte, blockstore.BlockSize)
	for i := range snapshots {
		pattern(p, uint64(i))
		if err := d.WriteAt(ctx, p, int64(i)*blockstore.BlockSize, false); err != nil {
			return err
		}
		if _, err := b.s.CreateSnapshot(ctx, name, blockstore.SnapshotRequest{Name: fmt.Sprint(i)}); err != nil {
			return err
		}
	}
	_, err = b.s.CaptureImage(ctx, name, blockstore.ImportRequest{Name: name})
	return err
}

// clones measures durable clones of all kinds of images beside a synced append.
func (b *bars) clones(ctx context.Context) error {
	control, err := os.Create(filepath.Join(b.dir, "append"))
	if err != nil {
		return err
	}
	defer control.Close()
	kinds := []*cloneSamples{
		{what: "1 GiB image", once: cloner(ctx, b.s, "small")},
		{what: "64 TiB image", once: cloner(ctx, b.s, "huge")},
		{what: fmt.Sprintf("image of %d extents", b.extents), once: cloner(ctx, b.s, "many")},
		{what: fmt.Sprintf("image %d snapshots deep", b.rounds(1000, 50)), once: cloner(ctx, b.s, "deep")},
		{what: "4 KiB append + fdatasync", once: appender(control)},
	}
	sealed := &cloneSamples{what: "right after a seal"}
	for i := range b.rounds(1000, 200) {
		for _, k := range kinds {
			t, err := timed(func() error { return k.once(i) })
			if err != nil {
				return err
			}
			k.times = append(k.times, t)
		}
		if i%5 == 0 {
			t, err := b.cloneSealed(ctx, i)
			if err != nil {
				return err
			}
			sealed.times = append(sealed.times, t)
		}
	}
	base := kinds[4]
	for _, k := range append(kinds[:4:4], sealed) {
		l := line{What: "clone, " + k.what + ", p50", Unit: "ms", Ours: median(k.times), Peer: base.what, Theirs: median(base.times)}
		l.Bar, l.Missed = "≤ 1 ms, ≤ 2x", !(l.Ours <= 1 && l.Ours <= 2*l.Theirs)
		b.report.add(l)
		b.within(line{What: "clone, " + k.what + ", p99", Unit: "ms", Ours: quantile(k.times, 0.99), Peer: base.what + ", p99", Theirs: quantile(base.times, 0.99)}, 10)
	}
	return nil
}

// cloneSealed captures the fragmented volume and clones that at once.
func (b *bars) cloneSealed(ctx context.Context, i int) (float64, error) {
	name := fmt.Sprintf("sealed-%d", i)
	if _, err := b.s.CreateSnapshot(ctx, "fragmented", blockstore.SnapshotRequest{Name: name}); err != nil {
		return 0, err
	}
	return timed(func() error {
		_, err := b.s.CreateVolume(ctx, blockstore.CloneRequest{Name: name, Volume: "fragmented", Snapshot: name})
		return err
	})
}

// storm makes 1,000 clones, 16 at a time, beside synced batches of one record
// in a Pebble of its own.
func (b *bars) storm(ctx context.Context) error {
	db, err := pebble.Open(filepath.Join(b.dir, "pebble"), &pebble.Options{Logger: silent{}})
	if err != nil {
		return err
	}
	defer db.Close()
	const n, writers = 1000, 16
	var ours, theirs []float64
	value := make([]byte, 256)
	err = byTurns(b.rounds(9, 3), func(round int) error {
		t, err := timed(func() error {
			_, err := parallel(n, writers, func(i int) error {
				_, err := b.s.CreateVolume(ctx, blockstore.CloneRequest{Name: fmt.Sprintf("storm-%d-%d", round, i), Image: "small"})
				return err
			})
			return err
		})
		ours = append(ours, t)
		return err
	}, func(round int) error {
		t, err := timed(func() error {
			_, err := parallel(n, writers, func(i int) error {
				batch := db.NewBatch()
				defer batch.Close()
				_ = batch.Set(fmt.Appendf(nil, "storm-%d-%d", round, i), value, nil)
				return batch.Commit(pebble.Sync)
			})
			return err
		})
		theirs = append(theirs, t)
		return err
	})
	b.within(line{What: "1,000 clones, 16 at a time", Unit: "ms", Ours: median(ours), Peer: "1,000 synced Pebble batches, 16 writers", Theirs: median(theirs)}, 1.5)
	return err
}

// silent is a Pebble logger that says nothing and never ends the process.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}
