package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"goldstream/blockstore"
)

// deletes removes a volume with many extents, and a snapshot whose blocks are
// all overwritten, while a neighbour writes and flushes. The store is one of
// its own, where nothing else is given back meanwhile.
func (b *bars) deletes(ctx context.Context) error {
	shared := b.s
	defer func() { b.s = shared }()
	s, err := b.open("deletes", blockstore.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	b.s = s
	rm, err := b.removePlain()
	if err != nil {
		return err
	}
	n, err := b.neighbour(ctx)
	if err != nil {
		return err
	}
	defer n.stop()
	for _, kind := range []struct {
		what   string
		make   func(context.Context) error
		delete func(context.Context) error
		gone   func(context.Context) bool
	}{
		{"a volume", b.makeDoomed, func(ctx context.Context) error { return b.s.DeleteVolume(ctx, "doomed", "") },
			func(ctx context.Context) bool {
				_, err := b.s.Volume(ctx, "doomed")
				return errors.Is(err, blockstore.ErrNotFound)
			}},
		{"a snapshot that is overwritten", b.makeShadowed, func(ctx context.Context) error { return b.s.DeleteSnapshot(ctx, "shadowed", "1", "") },
			func(ctx context.Context) bool {
				l, err := b.s.Snapshots(ctx, "shadowed")
				return err == nil && len(l) == 1
			}},
	} {
		before := b.layerUse()
		if err := kind.make(ctx); err != nil {
			return err
		}
		victim := firstNew(before, b.layerUse())
		quiet, err := n.during(func() error { time.Sleep(time.Duration(b.rounds(4, 2)) * time.Second); return nil })
		if err != nil {
			return err
		}
		start := time.Now()
		if err := kind.delete(ctx); err != nil {
			return err
		}
		if !kind.gone(ctx) {
			return fmt.Errorf("%s is still there", kind.what)
		}
		called := ms(time.Since(start))
		busy, err := n.during(func() error { return waitGone(ctx, victim) })
		if err != nil {
			return err
		}
		perMillion := time.Since(start).Seconds() * 1e6 / float64(b.extents)
		b.atMost(line{What: "delete " + kind.what + ": out of sight", Unit: "ms", Ours: called}, 10)
		b.atMost(line{What: fmt.Sprintf("delete %s of %d extents: bytes back, for a million", kind.what, b.extents), Unit: "s", Ours: perMillion,
			Peer: "unlink of a plain file with as many", Theirs: rm}, 10)
		b.within(line{What: "neighbour's write + flush meanwhile, p99", Unit: "ms", Ours: quantile(busy, 0.99), Peer: "before it", Theirs: quantile(quiet, 0.99)}, 3)
	}
	return nil
}

// removePlain unlinks a plain file with as many extents and returns how long
// that takes for a million, in s.
func (b *bars) removePlain() (float64, error) {
	f, err := newPlainFile(filepath.Join(b.dir, "extents"), int64(b.extents)*extentStride)
	if err != nil {
		return 0, err
	}
	p := make([]byte, blockstore.BlockSize)
	for i := range b.extents {
		pattern(p[:16], uint64(i))
		if err := f.write(p, extentOffset(i)); err != nil {
			return 0, err
		}
	}
	if err := f.flush(); err != nil {
		return 0, err
	}
	t, err := timed(f.remove)
	return t * 1000 / float64(b.extents), err
}

func (b *bars) makeDoomed(ctx context.Context) error {
	v, err := b.newVolume(ctx, "doomed", int64(b.extents)*extentStride)
	if err != nil {
		return err
	}
	return errors.Join(b.scatter(ctx, v.d, 2), v.d.Close())
}

// makeShadowed makes a volume whose snapshot 1 has all extents, and 2 too.
func (b *bars) makeShadowed(ctx context.Context) error {
	v, err := b.newVolume(ctx, "shadowed", int64(b.extents)*extentStride)
	if err != nil {
		return err
	}
	defer v.d.Close()
	for i := 1; i <= 2; i++ {
		if err := b.scatter(ctx, v.d, uint64(i)); err != nil {
			return err
		}
		if _, err := b.s.CreateSnapshot(ctx, v.name, blockstore.SnapshotRequest{Name: fmt.Sprint(i)}); err != nil {
			return err
		}
	}
	return nil
}

// layerUse returns what each data file takes, but for small ones.
func (b *bars) layerUse() map[string]int64 {
	files, _ := filepath.Glob(filepath.Join(b.dir, "deletes/layers/*/*"))
	use := map[string]int64{}
	for _, path := range files {
		if n := diskUse(path); n >= int64(b.extents)*blockstore.BlockSize {
			use[path] = n
		}
	}
	return use
}

// firstNew is the first file that came meanwhile; names count upwards.
func firstNew(before, after map[string]int64) string {
	best := ""
	for path := range after {
		if before[path] == 0 && (best == "" || path < best) {
			best = path
		}
	}
	return best
}

// waitGone waits until a file takes no room or is gone.
func waitGone(ctx context.Context, path string) error {
	if path == "" {
		return errors.New("the file to be removed was not found")
	}
	deadline := time.Now().Add(5 * time.Minute)
	for diskUse(path) > 0 {
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s still takes %d bytes", path, diskUse(path))
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := os.Stat(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// neighbour is a volume that is written and flushed all the time.
type neighbour struct {
	v    *volumeFile
	next int64
}

func (b *bars) neighbour(ctx context.Context) (*neighbour, error) {
	v, err := b.newVolume(ctx, "neighbour", writeSpan)
	return &neighbour{v: v}, err
}

func (n *neighbour) stop() { n.v.d.Close() }

// during returns how long the neighbour's writes with flushes took while fn
// ran, in ms.
func (n *neighbour) during(fn func() error) ([]float64, error) {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	p := make([]byte, blockstore.BlockSize)
	var times []float64
	for {
		select {
		case err := <-done:
			return times, err
		default:
		}
		n.next++
		pattern(p[:16], uint64(n.next))
		t, err := timed(func() error {
			return errors.Join(n.v.write(p, n.next*37%(writeSpan/blockstore.BlockSize)*blockstore.BlockSize), n.v.flush())
		})
		if err != nil {
			<-done
			return nil, err
		}
		times = append(times, t)
		time.Sleep(2 * time.Millisecond)
	}
}
