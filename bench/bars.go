package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"goldstream/blockstore"

	"golang.org/x/sys/unix"
)

// bars measures what the block store has to reach: each line is a promise with
// its bar, and a control that does the same with plain files or a bare Pebble
// on the same file system in the same run.
//
// Most lines look at one store. Its fixture is a disk with many extents: blocks
// of 4 KiB, 1 MiB apart, so that each region of the map has sixteen.
type bars struct {
	*run
	s       *blockstore.Store
	disk    *loopDisk // nil: the scratch directory's file system
	extents int
}

// extentStride is the distance of the fixture's extents.
const extentStride = 1 << 20

func (r *run) bars(ctx context.Context) error {
	b := &bars{run: r, extents: 1_000_000}
	if r.short {
		b.extents = 20_000
	}
	if r.loop != "" {
		disk, err := newLoopDisk(r.dir, r.loop, 96<<30)
		if err != nil {
			note("blockstore: no loop device (%v): the figures are of the file system of %s", err, r.dir)
		} else {
			defer func(dir string) { r.dir = dir; disk.remove() }(r.dir)
			b.disk, r.dir = disk, disk.dir
		}
	}
	s, err := b.open("store", blockstore.Options{})
	if err != nil {
		return err
	}
	b.s = s
	defer func() { b.s.Close() }()
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"fixture", b.fixture},
		{"clones", b.clones},
		{"counts of clones", b.cloneCounts},
		{"many clones at a time", b.storm},
		{"first writes", b.firstWrites},
		{"bytes to disk", b.bytesToDisk},
		{"flushes of many volumes", b.flushes},
		{"opens", b.opens},
		{"cached reads", b.cachedReads},
		{"cold maps", b.cold},
		{"snapshots", b.snapshots},
		{"memory", b.memory},
		{"imports", b.imports},
		{"deletes", b.deletes},
	} {
		if b.part != "" && b.part != part.name && !(part.name == "fixture" && b.needsFixture()) {
			continue
		}
		start := time.Now()
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		note("blockstore: %s took %.1f s", part.name, time.Since(start).Seconds())
	}
	return nil
}

// needsFixture tells that the one part asked for looks at the fixture.
func (b *bars) needsFixture() bool {
	switch b.part {
	case "clones", "counts of clones", "many clones at a time", "opens", "cached reads":
		return true
	}
	return false
}

// open opens a store of its own in the scratch directory.
func (b *bars) open(name string, o blockstore.Options) (*blockstore.Store, error) {
	o.Logger = slog.New(slog.DiscardHandler)
	return blockstore.Open(filepath.Join(b.dir, name), o)
}

// rounds is how often something is done in a full run; a short one does a part.
func (b *bars) rounds(full, short int) int {
	if b.short {
		return short
	}
	return full
}

// atMost adds a line that is met if ours is at most limit.
func (b *bars) atMost(l line, limit float64) {
	l.Bar = fmt.Sprintf("≤ %s %s", figure(limit), l.Unit)
	l.Missed = !(l.Ours <= limit)
	b.report.add(l)
}

// within adds a line that is met if ours is at most limit times the control.
func (b *bars) within(l line, limit float64) {
	l.Bar = fmt.Sprintf("≤ %gx", limit)
	l.Missed = !(l.Ours <= limit*l.Theirs)
	b.report.add(l)
}

// atLeast adds a line that is met if ours is at least limit times the control.
func (b *bars) atLeast(l line, limit float64) {
	l.Bar = fmt.Sprintf("≥ %gx", limit)
	l.Missed = !(l.Ours >= limit*l.Theirs)
	b.report.add(l)
}

// parallel does n things, so many at a time, and returns how long each took,
// in ms.
func parallel(n, workers int, fn func(i int) error) ([]float64, error) {
	times, errs := make([]float64, n), make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += workers {
				times[i], errs[w] = timed(func() error { return fn(i) })
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return times, nil
}

// byTurns does the same with ours and the control by turns, so that what else
// goes on on the machine meets both, and swaps who comes first.
func byTurns(rounds int, ours, control func(round int) error) error {
	for i := range rounds {
		first, second := ours, control
		if i%2 == 1 {
			first, second = control, ours
		}
		if err := first(i); err != nil {
			return err
		}
		if err := second(i); err != nil {
			return err
		}
	}
	return nil
}

// threadTime is the processor time that this thread has used.
func threadTime() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return time.Duration(ts.Nano())
}

// pattern is a block that is not zero and differs from others.
func pattern(p []byte, seed uint64) {
	for i := range p {
		seed = seed*6364136223846793005 + 1442695040888963407
		p[i] = byte(seed >> 56)
	}
}
