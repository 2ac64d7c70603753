package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"goldstream/blockstore"
)

// coldRegions is how many regions are loaded by turns.
const coldRegions = 64

// cold loads map regions of which nothing is in memory: below a thousand
// snapshots, each of which has changed every region, and at the end of a chain
// of a thousand clones of clones.
func (b *bars) cold(ctx context.Context) error {
	s, err := b.open("cold", blockstore.Options{MapBudget: 1}) // which keeps no page
	if err != nil {
		return err
	}
	defer s.Close()
	depth := b.rounds(1000, 50)
	name, err := deepVolume(ctx, s, depth)
	if err != nil {
		return err
	}
	loads, err := coldLoads(ctx, s, name, b.rounds(5000, 2000), 1)
	if err != nil {
		return err
	}
	b.atMost(line{What: fmt.Sprintf("cold region load and read, %d snapshots, p99", depth), Unit: "us", Ours: quantile(loads, 0.99) * 1000}, 200)
	for i := range depth {
		if name, err = hop(ctx, s, name, i); err != nil {
			return err
		}
	}
	loads, err = coldLoads(ctx, s, name, b.rounds(500, 100), 2)
	if err != nil {
		return err
	}
	b.atMost(line{What: fmt.Sprintf("cold region load and read, %d clones of clones, p99", depth), Unit: "ms", Ours: quantile(loads, 0.99)}, 10)
	return nil
}

// deepVolume makes a volume with a snapshot after each round of writes to all
// regions.
func deepVolume(ctx context.Context, s *blockstore.Store, snapshots int) (string, error) {
	const name = "deep"
	if _, err := s.CreateVolume(ctx, blockstore.CloneRequest{Name: name, Size: coldRegions * blockstore.RegionSize}); err != nil {
		return "", err
	}
	d, err := s.OpenVolume(ctx, name)
	if err != nil {
		return "", err
	}
	defer d.Close()
	p := make([]byte, blockstore.BlockSize)
	for i := range snapshots {
		for region := range coldRegions {
			pattern(p[:16], uint64(i))
			if err := d.WriteAt(ctx, p, int64(region)*blockstore.RegionSize+int64(i*2)*blockstore.BlockSize, false); err != nil {
				return "", err
			}
		}
		if _, err := s.CreateSnapshot(ctx, name, blockstore.SnapshotRequest{Name: fmt.Sprint(i)}); err != nil {
			return "", err
		}
	}
	return name, nil
}

// hop clones a volume's state and writes a block of the clone's last region.
func hop(ctx context.Context, s *blockstore.Store, from string, i int) (string, error) {
	if _, err := s.CreateSnapshot(ctx, from, blockstore.SnapshotRequest{Name: "hop"}); err != nil {
		return "", err
	}
	name := fmt.Sprintf("hop-%d", i)
	if _, err := s.CreateVolume(ctx, blockstore.CloneRequest{Name: name, Volume: from, Snapshot: "hop"}); err != nil {
		return "", err
	}
	d, err := s.OpenVolume(ctx, name)
	if err != nil {
		return "", err
	}
	p := make([]byte, blockstore.BlockSize)
	pattern(p, uint64(i))
	err = d.WriteAt(ctx, p, (coldRegions-1)*blockstore.RegionSize+int64(i*2+1)*blockstore.BlockSize, false)
	return name, errors.Join(err, d.Close())
}

// coldLoads reads blocks of random regions and returns the times, in ms.
func coldLoads(ctx context.Context, s *blockstore.Store, volume string, n int, blocks int) ([]float64, error) {
	d, err := s.OpenVolume(ctx, volume)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	p := make([]byte, blockstore.BlockSize)
	var times []float64
	last := -1
	for len(times) < n {
		region := rand.IntN(coldRegions - 1)
		if region == last { // a page that is just loaded is spared
			continue
		}
		last = region
		t, err := timed(func() error {
			return d.ReadAt(ctx, p, int64(region)*blockstore.RegionSize+int64(rand.IntN(blocks))*2*blockstore.BlockSize)
		})
		if err != nil {
			return nil, err
		}
		times = append(times, t)
	}
	return times, nil
}
