package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"

	"goldstream/blockstore"
)

const mapBudget = 64 << 20 // the default

// live returns the memory that is in use, in bytes.
func live() float64 {
	runtime.GC()
	runtime.GC() // what had finalizers, and pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

const mib = 1 << 20

// memory opens a store of 10,000 volumes and 100 images, idle clones in it, and
// has a volume of 1 TiB written at random.
func (b *bars) memory(ctx context.Context) error {
	s, err := b.open("memory", blockstore.Options{})
	if err != nil {
		return err
	}
	images, volumes := b.rounds(100, 10), b.rounds(10_000, 1000)
	err = b.populate(ctx, s, images, volumes)
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	before := live()
	if s, err = b.open("memory", blockstore.Options{}); err != nil {
		return err
	}
	defer func() { s.Close() }()
	b.atMost(line{What: fmt.Sprintf("memory of a store with %d volumes and %d images", volumes, images), Unit: "MiB", Ours: (live() - before) / mib}, 64)
	if err := b.idleClones(ctx, s, min(volumes, 1000)); err != nil {
		return err
	}
	return b.budget(ctx, s)
}

func (b *bars) populate(ctx context.Context, s *blockstore.Store, images, volumes int) error {
	p := make([]byte, blockstore.BlockSize)
	pattern(p, 1)
	for i := range images {
		name := fmt.Sprintf("image-%d", i)
		if _, err := s.CreateVolume(ctx, blockstore.CloneRequest{Name: name, Size: 1 << 40}); err != nil {
			return err
		}
		d, err := s.OpenVolume(ctx, name)
		if err != nil {
			return err
		}
		err = d.WriteAt(ctx, p, int64(i)*blockstore.BlockSize, false)
		if err == nil {
			_, err = s.CaptureImage(ctx, name, blockstore.ImportRequest{Name: name})
		}
		if err := errors.Join(err, d.Close()); err != nil {
			return err
		}
	}
	_, err := parallel(volumes, 16, func(i int) error {
		_, err := s.CreateVolume(ctx, blockstore.CloneRequest{Name: fmt.Sprintf("v%d", i), Image: fmt.Sprintf("image-%d", i%images)})
		return err
	})
	return err
}

// idleClones opens clones of 1 TiB: some were only read, some written and
// flushed.
func (b *bars) idleClones(ctx context.Context, s *blockstore.Store, n int) error {
	for _, kind := range []struct {
		what string
		use  func(d *blockstore.Disk, p []byte) error
	}{
		{"idle open clone", func(d *blockstore.Disk, p []byte) error { return d.ReadAt(ctx, p, 0) }},
		{"idle open clone, once written and flushed", func(d *blockstore.Disk, p []byte) error { return d.WriteAt(ctx, p, 0, true) }},
	} {
		before := live()
		disks := make([]*blockstore.Disk, n)
		p := make([]byte, blockstore.BlockSize)
		for i := range disks {
			d, err := s.OpenVolume(ctx, fmt.Sprintf("v%d", i))
			if err != nil {
				return err
			}
			defer d.Close()
			disks[i] = d
			if err := kind.use(d, p); err != nil {
				return err
			}
		}
		b.atMost(line{What: kind.what, Unit: "KiB", Ours: (live() - before) / float64(n) / 1024}, 64)
		for _, d := range disks {
			if err := d.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// budget writes volumes of 1 TiB at random, so that each write is in another
// region, and looks how much memory that takes.
func (b *bars) budget(ctx context.Context, s *blockstore.Store) error {
	const volumes = 8
	before := live()
	var disks [volumes]*blockstore.Disk
	for i := range disks {
		d, err := s.OpenVolume(ctx, fmt.Sprintf("v%d", i))
		if err != nil {
			return err
		}
		defer d.Close()
		disks[i] = d
	}
	p := make([]byte, blockstore.BlockSize)
	pattern(p, 1)
	most := 0.0
	for range 10 {
		_, err := parallel(b.rounds(24_000, 4_000), volumes, func(i int) error {
			return disks[i%volumes].WriteAt(ctx, p, rand.Int64N((1<<40)/blockstore.BlockSize)*blockstore.BlockSize, false)
		})
		if err != nil {
			return err
		}
		most = max(most, live()-before)
	}
	b.atMost(line{What: fmt.Sprintf("memory under 4 KiB random first writes over 1 TiB, %d volumes", volumes), Unit: "MiB", Ours: most / mib}, (mapBudget+64*mib)/mib)
	return nil
}
